"""Normalizing whole batches of images."""

import numpy as np
import pytest

import flownn as flow
from flowdata.stages.normalize import CropMirrorNormalize
from flownn.ops import image
from tests.helpers.op_cases import OpCase, asked, integers
from tests.helpers.records import picture, sample_of

MEAN, STD = (123.68, 116.779, 103.939), (58.393, 57.12, 57.375)
SINGLE = {"float64": 1e-6}  # the op computes in float32


def slow(images, mirror=None, *, window, mean, std, channels_first=True):
    top, left, height, width = window
    out = np.empty((len(images), height, width, images.shape[-1]))
    for n, y, x in np.ndindex(*out.shape[:3]):
        column = width - 1 - x if mirror is not None and mirror[n] else x
        out[n, y, x] = (images[n, top + y, left + column].astype(np.float64) - mean) / std
    return out.transpose(0, 3, 1, 2) if channels_first else out


def pixels(rng, shape):
    return rng.integers(0, 256, shape).astype(np.uint8)


CASES = [
    OpCase(image.crop_mirror_normalize, [(3, 6, 7, 3), (3,)] if mirrored else [(3, 6, 7, 3)],
           {"window": (1, 2, 4, 3), "mean": MEAN, "std": STD, "channels_first": first}, slow,
           (pixels, integers(2, -1)) if mirrored else pixels, rtol=SINGLE, differentiable=False)
    for mirrored in (False, True) for first in (False, True)
] + [
    OpCase(image.crop_mirror_normalize, [(2, 5, 5, 1), (2,)], {"window": (0, 0, 5, 5), "mean": (3.0,), "std": (-2.0,)},
           slow, (pixels, integers(2)), rtol=SINGLE, differentiable=False),
    OpCase(image.crop_mirror_normalize, [(0, 5, 5, 3), (0,)], {"window": (0, 0, 5, 4), "mean": (3.0,), "std": (2.0,)},
           slow, (pixels, integers(2)), rtol=SINGLE, differentiable=False),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case, question, rng):
    question(case, rng)


@pytest.mark.parametrize("channels_first", [True, False])
def test_it_gives_what_the_stage_gives_up_to_rounding(channels_first):
    images = np.stack([picture(20, 24, seed) for seed in range(3)])
    mirror = np.array([1, 0, 1], np.int8)
    stage = CropMirrorNormalize(crop=(9, 8), mean=MEAN, std=STD, layout="NCHW" if channels_first else "NHWC")
    window = stage.window(20, 24)
    found = image.crop_mirror_normalize(
        flow.from_numpy(images),
        flow.from_numpy(mirror),
        window=window,
        mean=MEAN,
        std=STD,
        channels_first=channels_first,
    )
    assert found.dtype is flow.float32
    assert found.is_contiguous()
    for row in range(3):
        one = stage(sample_of(image=images[row], mirror=mirror[row]), np.random.default_rng(0))["image"]
        np.testing.assert_allclose(found.numpy()[row], one, rtol=0, atol=2e-6)
