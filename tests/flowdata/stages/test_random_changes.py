"""What augmentation stages draw: distributions, orders, and that a draw does what it says."""

import math

import numpy as np
import pytest
from scipy import stats

from flowdata.seeding import sample_rng
from flowdata.stages import affine, augment, pixels
from flowdata.stages.affine import Affine, Rotate
from flowdata.stages.augment import RAND_AUGMENT, TRIVIAL_AUGMENT_WIDE, RandAugment, TrivialAugment
from flowdata.stages.color import ColorJitter, GaussianBlur, Grayscale, Posterize
from flowdata.stages.erase import RandomErasing
from tests.helpers.records import picture, sample_of

FALSE_ALARM = 1e-6  # how often a correct draw would fail one test, if the seed were drawn: it is not, so never
IMAGE = picture(24, 20)


def run(stage, image=IMAGE, index=0):
    return stage(sample_of(image=image), sample_rng(0, 0, index, stage.stage_name))["image"]


def uniform(values, low, high):
    return stats.kstest(values, "uniform", (low, high - low)).pvalue > FALSE_ALARM


@pytest.fixture
def jitters(monkeypatch):
    """Names and factors of the changes that colour jitter makes, per image."""
    seen = []
    for name in ("brightness", "contrast", "saturation", "hue"):

        def record(image, factor, out, name=name):
            seen[-1].append((name, factor))
            out[...] = image
            return out

        monkeypatch.setattr(pixels, name, record)

    def collect(stage, count):
        seen.clear()
        for index in range(count):
            seen.append([])
            run(stage, index=index)
        return seen

    return collect


def test_colour_jitter_draws_uniform_factors_in_any_order(jitters):
    seen = jitters(ColorJitter(brightness=0.4, contrast=1.5, saturation=(0.5, 0.7), hue=0.1), 3000)
    for name, low, high in (
        ("brightness", 0.6, 1.4),
        ("contrast", 0, 2.5),
        ("saturation", 0.5, 0.7),
        ("hue", -0.1, 0.1),
    ):
        assert uniform([dict(each)[name] for each in seen], low, high)
    orders = [tuple(name for name, _ in each) for each in seen]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == math.factorial(4)
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_colour_jitter_leaves_alone_what_is_not_asked_for(jitters):
    assert all([name for name, _ in each] == ["contrast"] for each in jitters(ColorJitter(contrast=0.5), 20))
    assert run(ColorJitter()) is IMAGE


def test_colour_jitter_is_the_four_changes_in_the_drawn_order():
    stage = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    steps = (pixels.brightness, pixels.contrast, pixels.saturation, pixels.hue)
    for index in range(10):
        rng = sample_rng(0, 0, index, "color_jitter")
        order = rng.permutation(4)
        factors = [rng.uniform(0.6, 1.4) for _ in range(3)] + [rng.uniform(-0.1, 0.1)]
        expected = IMAGE
        for number in order:
            expected = steps[number](expected, factors[number], np.empty_like(IMAGE))
        np.testing.assert_array_equal(run(stage, index=index), expected)


@pytest.mark.parametrize("stage", [Grayscale(probability=0.2), Posterize(bits=1, probability=0.2)], ids=repr)
def test_chance_has_the_stated_probability(stage):
    changed = sum((run(stage, index=index) != IMAGE).any() for index in range(3000))
    assert stats.binomtest(changed, 3000, 0.2).pvalue > FALSE_ALARM


def test_gray_has_one_or_three_equal_channels():
    found = run(Grayscale())
    np.testing.assert_array_equal(found, pixels.gray(IMAGE)[..., None].repeat(3, axis=2))
    np.testing.assert_array_equal(run(Grayscale(channels=1))[..., 0], found[..., 0])


def test_blur_draws_its_sigma(monkeypatch):
    seen = []
    monkeypatch.setattr(pixels, "blur", lambda image, window, sigma, out: (seen.append((window, sigma)), image)[1])
    for index in range(2000):
        run(GaussianBlur(kernel_size=(3, 5), sigma=(0.5, 2)), index=index)
    assert {window for window, _ in seen} == {(3, 5)}
    assert uniform([sigma for _, sigma in seen], 0.5, 2)
    seen.clear()
    run(GaussianBlur(kernel_size=3, sigma=1.5))
    assert seen == [((3, 3), 1.5)]


@pytest.fixture
def matrices(monkeypatch):
    """Arguments of the affine maps that a stage asks for."""
    seen = []
    real = pixels.affine_matrix

    def record(angle, translate=(0, 0), scale=1.0, shear=(0, 0), centre=(0, 0)):
        seen.append({"angle": angle, "translate": tuple(translate), "scale": scale, "shear": tuple(shear),
                     "centre": tuple(centre)})  # fmt: skip
        return real(angle, translate, scale, shear, centre)

    monkeypatch.setattr(affine, "affine_matrix", record)
    return seen


def test_affine_draws_all_it_needs(matrices):
    stage = Affine(degrees=30, translate=(0.25, 0.5), scale=(0.5, 2), shear=(-10, 5, 2, 3), center=(0, 3))
    for index in range(2000):
        run(stage, index=index)
    assert uniform([each["angle"] for each in matrices], -30, 30)
    assert uniform([each["scale"] for each in matrices], 0.5, 2)
    assert uniform([each["shear"][0] for each in matrices], -10, 5)
    assert uniform([each["shear"][1] for each in matrices], 2, 3)
    for axis, most in ((0, 20 * 0.25), (1, 24 * 0.5)):
        shifts = [each["translate"][axis] for each in matrices]
        values = np.arange(-most, most + 1)
        share = np.where(np.abs(values) == most, 0.5, 1) / (2 * most)  # the outermost are half as likely
        counts = [shifts.count(value) for value in values]
        assert stats.chisquare(counts, share * len(shifts)).pvalue > FALSE_ALARM
    assert {each["centre"] for each in matrices} == {(-10.0, -9.0)}


def test_affine_with_a_single_shear_is_along_x(matrices):
    run(Affine(degrees=0, shear=7))
    assert abs(matrices[0]["shear"][0]) <= 7
    assert matrices[0]["shear"][1] == 0
    assert matrices[0]["angle"] == 0
    assert matrices[0]["scale"] == 1


def test_rotate_turns_counter_clockwise():
    square = picture(20, 20)
    np.testing.assert_array_equal(run(Rotate(degrees=(90, 90)), square), np.rot90(square))
    np.testing.assert_array_equal(run(Affine(degrees=(90, 90)), square), np.rot90(square, -1))


def test_erased_rectangles_have_the_stated_areas_and_places():
    image = np.full((100, 80, 3), 200, np.uint8)
    shares, tops, erased = [], [], 0
    for index in range(3000):
        gone = (run(RandomErasing(probability=0.6, scale=(0.02, 0.2), ratio=(0.5, 2)), image, index) == 0).all(axis=2)
        if gone.any():
            erased += 1
            rows, columns = np.flatnonzero(gone.any(axis=1)), np.flatnonzero(gone.any(axis=0))
            assert gone.sum() == len(rows) * len(columns) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            shares.append(gone.mean())
            tops.append((rows[0] + 0.5) / (100 - len(rows) + 1))
            assert 0.5 * 0.85 < len(rows) / len(columns) < 2 * 1.15  # sides are whole pixels
    assert stats.binomtest(erased, 3000, 0.6).pvalue > FALSE_ALARM
    assert uniform(np.array(shares), 0.02, 0.2)
    assert uniform(np.array(tops), 0, 1)


def test_erased_content():
    image = np.full((30, 30, 3), 200, np.uint8)
    found = run(RandomErasing(probability=1, value=(1, 2, 3)), image)
    assert {tuple(pixel) for pixel in found.reshape(-1, 3).tolist()} == {(200, 200, 200), (1, 2, 3)}
    noise = run(RandomErasing(probability=1, value="random", scale=(0.3, 0.33)), image)
    changed = noise[(noise != 200).any(axis=2)]
    assert len(np.unique(changed)) > 200
    planes = np.full((3, 30, 40), 9, np.float32)
    stage = RandomErasing(probability=1, value="random", scale=(0.3, 0.33), layout="CHW")
    values = np.concatenate([(each := run(stage, planes, index))[each != 9] for index in range(20)])
    assert stats.kstest(values, "norm").pvalue > FALSE_ALARM
    assert (run(RandomErasing(probability=1, value=(1, 2, 3), layout="CHW"), planes)[1] == 2).any()


def test_a_rectangle_that_never_fits_is_not_erased():
    assert run(RandomErasing(probability=1, scale=(1, 1), ratio=(1, 1))) is IMAGE


# -- RandAugment and TrivialAugment ----------------------------------------------------------------------------------

# Name there, largest magnitude (or all of them) there, in the order of the reference.
REFERENCE = {
    "rand": [("Identity", None), ("ShearX", 0.3), ("ShearY", 0.3), ("TranslateX", 150 / 331 * 20),
             ("TranslateY", 150 / 331 * 24), ("Rotate", 30), ("Brightness", 0.9), ("Color", 0.9), ("Contrast", 0.9),
             ("Sharpness", 0.9), ("Posterize", 4), ("Solarize", 255), ("AutoContrast", None), ("Equalize", None)],
    "trivial": [("Identity", None), ("ShearX", 0.99), ("ShearY", 0.99), ("TranslateX", 32), ("TranslateY", 32),
                ("Rotate", 135), ("Brightness", 0.99), ("Color", 0.99), ("Contrast", 0.99), ("Sharpness", 0.99),
                ("Posterize", 6), ("Solarize", 255), ("AutoContrast", None), ("Equalize", None)],
}  # fmt: skip
SIGNED = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"}


@pytest.mark.parametrize(("changes", "reference"), [(RAND_AUGMENT, "rand"), (TRIVIAL_AUGMENT_WIDE, "trivial")])
def test_magnitudes_are_those_of_the_reference(changes, reference):
    for (name, most), (ours, change) in zip(REFERENCE[reference], changes.items(), strict=True):
        assert ours.replace("_", "") == name.lower()
        assert change.signed == (name in SIGNED)
        assert (change.magnitude is None) == (most is None)
        if most is not None:
            found = [change.magnitude(number / 30, 24, 20) for number in range(31)]
            expected = np.linspace(0, most, 31)
            if name == "Posterize":
                expected = np.rint(8 - np.arange(31) / (30 / most))
            if name == "Solarize":
                expected = expected[::-1]
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.fixture
def drawn(monkeypatch):
    """The changes and magnitudes that a stage applies."""
    seen = []

    def recording(changes):
        return {
            name: augment.Change(
                lambda image, magnitude, out, *_, name=name: (seen.append((name, magnitude)), image)[1],
                change.magnitude, change.signed,
            )
            for name, change in changes.items()
        }  # fmt: skip

    monkeypatch.setattr(augment, "RAND_AUGMENT", recording(RAND_AUGMENT))
    monkeypatch.setattr(augment, "TRIVIAL_AUGMENT_WIDE", recording(TRIVIAL_AUGMENT_WIDE))
    return seen


def test_rand_augment_draws_each_change_alike_and_always_one_strength(drawn):
    for index in range(3000):
        run(RandAugment(num_ops=3, magnitude=6), index=index)
    assert len(drawn) == 9000
    names = [name for name, _ in drawn]
    assert stats.chisquare([names.count(name) for name in RAND_AUGMENT]).pvalue > FALSE_ALARM
    pairs = [names[start] + names[start + 1] for start in range(0, 9000, 3)]
    assert len(set(pairs)) == 14 * 14  # independent of each other
    turns = [value for name, value in drawn if name == "rotate"]
    assert set(np.round(turns, 9)) == {-6.0, 6.0}
    assert stats.binomtest(sum(value > 0 for value in turns), len(turns)).pvalue > FALSE_ALARM


def test_trivial_augment_draws_each_change_and_strength_alike(drawn):
    for index in range(9000):
        run(TrivialAugment(), index=index)
    names = [name for name, _ in drawn]
    assert stats.chisquare([names.count(name) for name in TRIVIAL_AUGMENT_WIDE]).pvalue > FALSE_ALARM
    strengths = [round(30 * abs(value) / 135) for name, value in drawn if name == "rotate"]
    assert stats.chisquare([strengths.count(number) for number in range(31)]).pvalue > FALSE_ALARM


@pytest.mark.torch
@pytest.mark.parametrize("reference", REFERENCE)
def test_every_change_as_torchvision(reference):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    from torchvision.transforms.v2 import functional as tv

    angle = lambda value: math.degrees(math.atan(value))  # noqa: E731
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    expected = {
        "identity": lambda image, value: image,
        "shear_x": lambda image, value: tv.affine(image, **still | {"shear": [angle(value), 0.0]}, center=[0, 0]),
        "shear_y": lambda image, value: tv.affine(image, **still | {"shear": [0.0, angle(value)]}, center=[0, 0]),
        "translate_x": lambda image, value: tv.affine(image, **still | {"translate": [int(value), 0]}),
        "translate_y": lambda image, value: tv.affine(image, **still | {"translate": [0, int(value)]}),
        "rotate": lambda image, value: tv.rotate(image, value),
        "brightness": lambda image, value: tv.adjust_brightness(image, 1 + value),
        "color": lambda image, value: tv.adjust_saturation(image, 1 + value),
        "contrast": lambda image, value: tv.adjust_contrast(image, 1 + value),
        "sharpness": lambda image, value: tv.adjust_sharpness(image, 1 + value),
        "posterize": lambda image, value: tv.posterize(image, int(value)),
        "solarize": lambda image, value: tv.solarize(image, value),
        "autocontrast": lambda image, value: tv.autocontrast(image),
        "equalize": lambda image, value: tv.equalize(image),
    }
    changes = {"rand": RAND_AUGMENT, "trivial": TRIVIAL_AUGMENT_WIDE}[reference]
    image = picture(36, 41)
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for name, change in changes.items():
        for number in (0, 9, 16, 30):
            magnitude = 0.0 if change.magnitude is None else change.magnitude(number / 30, *image.shape[:2])
            for value in {magnitude, -magnitude if change.signed else magnitude}:
                found = change.apply(image, value, np.empty_like(image), "nearest", (0, 0, 0)).astype(int)
                differ = np.abs(found - expected[name](tensor, value).permute(1, 2, 0).numpy()).max(axis=2)
                if name in ("shear_x", "shear_y", "rotate"):
                    assert (differ > 0).mean() <= 0.003, (name, value)  # places half-way between pixels
                else:
                    assert differ.max() <= 1, (name, value)
