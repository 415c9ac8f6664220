"""The random window against the algorithm written out with NumPy float32 numbers."""

import numpy as np
import pytest

from flowdata.stages.window import random_crop_window


def reference_window(rng, height, width, area, aspect_ratio, attempts):
    """The algorithm as the specification states it, every number a NumPy float32."""
    f = np.float32
    a0, a1, r0, r1 = f(area[0]), f(area[1]), f(aspect_ratio[0]), f(aspect_ratio[1])
    max_w = max(1, int(f(height) * r1))
    max_h = max(1, int(f(width) / r0))
    min_area = f(width * height) * a0
    if f(height * max_w) < min_area:
        h, w = height, max_w
    elif f(width * max_h) < min_area:
        h, w = max_h, width
    else:
        for _ in range(attempts):
            s = a0 + (a1 - a0) * rng.random(dtype=np.float32)
            target = s * f(height) * f(width)
            low, high = np.log(r0.astype(np.float64)).astype(f), np.log(r1.astype(np.float64)).astype(f)
            log_ratio = low + (high - low) * rng.random(dtype=np.float32)
            ratio = np.exp(log_ratio.astype(np.float64)).astype(f)
            w = max(1, int(np.floor(np.float64(np.sqrt(target * ratio)) + 0.5)))
            h = max(1, int(np.floor(np.float64(np.sqrt(target / ratio)) + 0.5)))
            if w <= width and h <= height and r0 <= f(w) / f(h) <= r1:
                break
        else:
            ratio = f(width) / f(height)
            if ratio > r1:
                h, w = height, max_w
            elif ratio < r0:
                h, w = max_h, width
            else:
                h, w = height, width
            k = min(f(1), a1 * f(width) * f(height) / f(h * w))
            h, w = max(1, int(f(h) * np.sqrt(k))), max(1, int(f(w) * np.sqrt(k)))
    y = int(rng.integers(0, height - h + 1))
    x = int(rng.integers(0, width - w + 1))
    return y, x, h, w


SIZES = [(1, 1), (1, 50), (50, 1), (3, 4), (100, 100), (100, 1000), (100, 2000), (2000, 100), (375, 500), (40, 300)]
RANGES = [((0.08, 1.0), (0.75, 1.333333)), ((0.25, 0.25), (1.0, 1.0)), ((0.5, 0.9), (0.2, 0.4)), ((1.0, 1.0), (2, 3))]


@pytest.mark.parametrize("ranges", RANGES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_window_is_that_of_the_reference_and_lies_inside(size, ranges):
    for seed in range(40):
        attempts = 1 + seed % 10
        found = random_crop_window(np.random.default_rng(seed), *size, *ranges, attempts)
        assert found == reference_window(np.random.default_rng(seed), *size, *ranges, attempts)
        top, left, height, width = found
        assert height >= 1
        assert width >= 1
        assert 0 <= top <= size[0] - height
        assert 0 <= left <= size[1] - width


def test_a_very_wide_image_gives_a_fixed_size_at_any_position():
    windows = [random_crop_window(np.random.default_rng(seed), 100, 2000) for seed in range(400)]
    assert {(top, height, width) for top, _, height, width in windows} == {(0, 100, 133)}
    lefts = [left for _, left, _, _ in windows]
    assert min(lefts) >= 0
    assert max(lefts) <= 1867
    assert np.histogram(lefts, 4, (0, 1868))[0].min() > 60


def test_an_image_that_is_only_rather_wide_draws_attempts():
    sizes = {random_crop_window(np.random.default_rng(seed), 100, 1000)[2:] for seed in range(50)}
    assert len(sizes) > 5


class NeverFits:
    """A generator whose attempts are all too tall, so that the fallback is taken."""

    def __init__(self):
        self.drawn = []

    def random(self, dtype):
        self.drawn.append("size")
        return np.float32([0.999, 0.0][len(self.drawn) % 2 == 0])

    def integers(self, low, high, endpoint):
        self.drawn.append((low, high))
        return high


def test_the_fallback_keeps_the_area_limit():
    rng = NeverFits()
    top, left, height, width = random_crop_window(rng, 100, 300, (0.25, 0.25), (0.01, 1.333333), 10)
    # Start from 100 x 133 and shrink both by sqrt(7500 / 13300).
    assert (height, width) == (75, 99)
    assert rng.drawn == ["size"] * 20 + [(0, 25), (0, 201)]
    assert (top, left) == (25, 201)


def test_area_and_aspect_have_the_stated_distribution():
    windows = [random_crop_window(np.random.default_rng(seed), 1000, 1000)[2:] for seed in range(2000)]
    h, w = np.array(windows, float).T
    aspects = np.log(w / h)
    assert aspects.min() >= np.log(0.7499)
    assert aspects.max() <= np.log(1.3334)
    # Small windows always fit, so among them area is uniform and log-aspect too.
    small = (h * w) / 1e6 < 0.5
    shares = np.histogram((h * w / 1e6)[small], 4, (0.08, 0.5))[0]
    assert shares.min() > 0.8 * shares.mean()
    logs = np.histogram(aspects[small], 4, (np.log(0.75), np.log(1.333333)))[0]
    assert logs.min() > 0.8 * logs.mean()
