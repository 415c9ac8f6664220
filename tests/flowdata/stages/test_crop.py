"""Mirror images, borders and windows, against NumPy and torchvision; where random windows lie."""

import numpy as np
import pytest
from scipy import stats

from flowdata.seeding import NO_STREAM, sample_rng
from flowdata.stages.crop import CenterCrop, Flip, Pad, RandomCrop
from tests.helpers.records import picture, sample_of

FALSE_ALARM = 1e-6  # how often a correct draw would fail one of the tests of statistics, if the seed were drawn
IMAGE = picture(13, 10)
NUMPY_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}
PADDINGS = [2, (3, 1), (1, 2, 3, 4), 0]


def run(stage, image=IMAGE, index=0, **values):
    rng = sample_rng(0, 0, index, stage.stage_name) if getattr(stage, "draws", True) else NO_STREAM
    return stage(sample_of(image=image, **values), rng)["image"]


def test_a_flip_is_the_mirror_image():
    np.testing.assert_array_equal(run(Flip(probability=1)), IMAGE[:, ::-1])
    np.testing.assert_array_equal(run(Flip(probability=1, direction="vertical")), IMAGE[::-1])
    single = IMAGE.astype(np.float32)
    np.testing.assert_array_equal(run(Flip(probability=1), single), single[:, ::-1])
    assert run(Flip(probability=0)) is IMAGE


def test_a_flip_by_a_value_draws_nothing():
    stage = Flip(flag="mirror", probability=0.5)
    assert not stage.draws
    np.testing.assert_array_equal(run(stage, mirror=np.int8(1)), IMAGE[:, ::-1])
    np.testing.assert_array_equal(run(stage, mirror=np.int8(0)), IMAGE)


def test_flips_have_the_stated_probability():
    flipped = sum((run(Flip(probability=0.3), index=index) != IMAGE).any() for index in range(4000))
    assert stats.binomtest(flipped, 4000, 0.3).pvalue > FALSE_ALARM


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("padding", PADDINGS, ids=str)
def test_pad_as_numpy(padding, mode):
    left, top, right, bottom = {int: lambda p: (p,) * 4, tuple: lambda p: p * (4 // len(p))}[type(padding)](padding)
    options = {"constant_values": 7} if mode == "constant" else {}
    expected = np.pad(IMAGE, ((top, bottom), (left, right), (0, 0)), mode=NUMPY_MODES[mode], **options)
    np.testing.assert_array_equal(run(Pad(padding=padding, mode=mode, fill=7)), expected)


def test_a_fill_per_channel():
    found = run(Pad(padding=1, fill=(1, 2, 3)))
    assert found[0, 0].tolist() == [1, 2, 3]
    assert run(Pad(padding=1, fill=(1, 2, 3, 4)), picture(5, 5, channels=4))[0, 0].tolist() == [1, 2, 3, 4]


def test_a_random_crop_is_a_window():
    for index in range(50):
        found = run(RandomCrop(size=(5, 4)), index=index)
        assert any((found == IMAGE[top : top + 5, left : left + 4]).all() for top in range(9) for left in range(7))
    np.testing.assert_array_equal(run(RandomCrop(size=(13, 10))), IMAGE)


def test_pad_if_needed():
    found = run(RandomCrop(size=(20, 8), pad_if_needed=True, fill=5))
    assert found.shape == (20, 8, 3)
    assert (found[0] == 5).all() or (found[-1] == 5).all()


def test_random_crops_lie_everywhere_with_equal_probability():
    places = np.stack(np.broadcast_arrays(*np.ogrid[:9, :7], np.array(0)[None, None]), axis=-1).astype(np.uint8)
    counts = np.zeros((5, 4), int)
    for index in range(4000):
        counts[tuple(run(RandomCrop(size=(5, 4)), places, index)[0, 0, :2])] += 1
    assert stats.chisquare(counts.ravel()).pvalue > FALSE_ALARM


@pytest.fixture(scope="module")
def tv():
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    from torchvision.transforms.v2 import functional

    def call(name, image, *arguments, **options):
        tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
        return getattr(functional, name)(tensor, *arguments, **options).permute(1, 2, 0).numpy()

    return call


@pytest.mark.torch
@pytest.mark.parametrize("size", [(5, 4), (6, 5), (13, 10), (20, 20), (14, 3), (3, 15)])
def test_center_crop_as_torchvision(size, tv):
    np.testing.assert_array_equal(run(CenterCrop(size=size)), tv("center_crop", IMAGE, list(size)))


@pytest.mark.torch
@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("padding", PADDINGS[:3], ids=str)
def test_pad_as_torchvision(padding, mode, tv):
    expected = tv("pad", IMAGE, list(padding) if isinstance(padding, tuple) else padding, fill=7, padding_mode=mode)
    np.testing.assert_array_equal(run(Pad(padding=padding, mode=mode, fill=7)), expected)


@pytest.mark.parametrize(("size", "top", "left"), [((5, 4), 4, 3), ((6, 5), 4, 2), ((12, 9), 0, 0)])
def test_where_the_middle_is(size, top, left):
    np.testing.assert_array_equal(run(CenterCrop(size=size)), IMAGE[top : top + size[0], left : left + size[1]])
