"""CoinFlip and CropMirrorNormalize as modules."""

import numpy as np
import pytest

import flownn as flow
from flowdata import codec
from flowdata.errors import RecordError
from flowdata.records.writer import write_parts
from flowdata.sharding import ShardSpec
from flownn.errors import DtypeError, ShapeError
from tests.helpers.records import picture

nn = flow.nn

# ---------------------------------------------------------------- CoinFlip


def flips(calls=4, size=64, **arguments):
    flip = nn.CoinFlip(size, **arguments)
    return np.stack([flip().numpy() for _ in range(calls)])


def test_the_output():
    found = nn.CoinFlip(5)()
    assert (found.shape, found.dtype, found.requires_grad) == ((5,), flow.int8, False)
    assert nn.CoinFlip()().shape == (1,)
    assert set(np.unique(flips())) == {0, 1}


def test_extreme_probabilities():
    assert (flips(probability=0) == 0).all()
    assert (flips(probability=1) == 1).all()


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_the_share_of_ones_is_the_probability(probability):
    count = 200 * 500
    spread = np.sqrt(probability * (1 - probability) / count)
    assert abs(flips(200, 500, probability=probability, random_seed=1).mean() - probability) < 4 * spread


def test_a_seed_repeats_the_calls_and_each_call_differs():
    first = flips(random_seed=-1)
    np.testing.assert_array_equal(first, flips(random_seed=-1))
    assert (first != flips(random_seed=2)).any()
    assert (flips() != flips()).any()
    assert len({row.tobytes() for row in first}) == 4


def test_ranks_with_the_same_seed_draw_differently():
    ranks = [flips(random_seed=3, shard=ShardSpec(rank, 4)).tobytes() for rank in range(4)]
    assert len(set(ranks)) == 4
    assert ranks[0] == flips(random_seed=3).tobytes()


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_is_one(probability):
    with pytest.raises(ValueError, match="CoinFlip: expected a probability from 0 to 1"):
        nn.CoinFlip(probability=probability)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0])
def test_a_batch_size_is_a_count(batch_size):
    with pytest.raises(ValueError, match="CoinFlip: expected batch_size to be an int of at least 1"):
        nn.CoinFlip(batch_size)


# ---------------------------------------------------------------- CropMirrorNormalize

MEAN, STD = [123.68, 116.779, 103.939], [58.393, 57.12, 57.375]


def slow(images, flips, crop, position, mean, std):
    """Pixel by pixel, in float64."""
    rows = []
    for image, flip in zip(images, flips, strict=True):
        height, width, channels = image.shape
        top, left = int((height - crop[0]) * position[0]), int((width - crop[1]) * position[1])
        out = np.empty((channels, *crop))
        for y in range(crop[0]):
            for x in range(crop[1]):
                source = image[top + y, left + (crop[1] - 1 - x if flip else x)]
                out[:, y, x] = (source.astype(np.float64) - mean) / std
        rows.append(out)
    return np.stack(rows)


def batch(count=3, height=9, width=11, channels=3):
    return np.stack([picture(height, width, seed, channels) for seed in range(count)])


def buffers(tmp_path, images):
    """Images of any size as the tensor that a decoder makes."""
    write_parts(tmp_path / "images", [{"x": codec.encode_png(image)} for image in images], 1, suffix_length=-1)
    return nn.OFRecordImageDecoder("x", "RGB")(nn.OFRecordReader(tmp_path / "images", len(images))())


@pytest.mark.parametrize("position", [(0.5, 0.5), (0.0, 1.0), (1.0, 0.25)])
@pytest.mark.parametrize("mirror", [None, [1, 0, 1], [0, -3, 0]])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_an_array_and_a_buffer_give_what_the_formula_gives(tmp_path, position, mirror, layout):
    images = batch()
    module = nn.CropMirrorNormalize(
        "RGB", layout, crop_h=5, crop_w=6, crop_pos_y=position[0], crop_pos_x=position[1], mean=MEAN, std=STD
    )
    flip = None if mirror is None else flow.tensor(mirror, dtype=flow.int8)
    expected = slow(images, mirror or [0, 0, 0], (5, 6), position, np.array(MEAN), np.array(STD))
    expected = expected if layout == "NCHW" else expected.transpose(0, 2, 3, 1)
    before = images.copy()
    for tensor in (flow.from_numpy(images), buffers(tmp_path, images)):
        found = module(tensor, flip)
        assert (found.dtype, found.shape, found.requires_grad) == (flow.float32, expected.shape, False)
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("crop", [(0, 0), (0, 5), (5, 0)])
def test_no_crop_means_the_whole_image(tmp_path, crop):
    module = nn.CropMirrorNormalize("RGB", crop_h=crop[0], crop_w=crop[1])
    images = batch()
    np.testing.assert_array_equal(module(flow.from_numpy(images)).numpy(), images.transpose(0, 3, 1, 2))
    with pytest.raises(ShapeError, match="crop_h and crop_w are needed for images of different sizes"):
        module(buffers(tmp_path, images))


@pytest.mark.parametrize(("crop", "size"), [((20, 6), (9, 6)), ((5, 20), (5, 11)), ((20, 20), (9, 11))])
def test_a_window_larger_than_an_array_is_cut_to_it_and_than_an_image_is_an_error(tmp_path, crop, size):
    module = nn.CropMirrorNormalize("RGB", crop_h=crop[0], crop_w=crop[1], mean=MEAN, std=STD)
    images = batch()
    expected = slow(images, [0, 0, 0], size, (0.5, 0.5), np.array(MEAN), np.array(STD))
    np.testing.assert_allclose(module(flow.from_numpy(images)).numpy(), expected, rtol=0, atol=2e-6)
    with pytest.raises(
        RecordError, match=r"CropMirrorNormalize: record 0 \(.*part-0 at byte 0\).* is larger than the im"
    ):
        module(buffers(tmp_path, images))


def test_images_of_different_sizes(tmp_path):
    images = [picture(9, 11), picture(30, 8), picture(7, 7)]
    found = nn.CropMirrorNormalize("RGB", crop_h=7, crop_w=7, mean=MEAN, std=STD)(buffers(tmp_path, images))
    expected = slow(images, [0, 0, 0], (7, 7), (0.5, 0.5), np.array(MEAN), np.array(STD))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-6)


def test_the_color_space_only_states_the_channels():
    images = flow.from_numpy(batch())
    np.testing.assert_array_equal(
        nn.CropMirrorNormalize("RGB")(images).numpy(), nn.CropMirrorNormalize("BGR")(images).numpy()
    )
    gray = batch(channels=1)
    found = nn.CropMirrorNormalize("GRAY", mean=[10.0], std=[4.0])(flow.from_numpy(gray))
    np.testing.assert_array_equal(found.numpy()[:, 0], (gray[..., 0].astype(np.float32) - 10) / 4)


def test_one_value_stands_for_all_channels():
    images = flow.from_numpy(batch())
    np.testing.assert_array_equal(
        nn.CropMirrorNormalize("RGB", mean=[9.0], std=[3.0])(images).numpy(),
        nn.CropMirrorNormalize("RGB", mean=[9.0] * 3, std=[3.0] * 3)(images).numpy(),
    )


def test_an_environment_variable_does_not_decide_the_layout(monkeypatch):
    monkeypatch.setenv("ONEFLOW_ENABLE_NHWC", "1")
    assert nn.CropMirrorNormalize()(flow.from_numpy(batch())).shape == (3, 3, 9, 11)


def test_non_contiguous_and_empty_batches():
    images = batch(4, 12, 14)[::2, ::2, 1::3]
    found = nn.CropMirrorNormalize("RGB")(flow.from_numpy(images))
    np.testing.assert_array_equal(found.numpy(), images.transpose(0, 3, 1, 2))
    empty = nn.CropMirrorNormalize("RGB")(flow.from_numpy(images[:0]), flow.zeros(0, dtype=flow.int8))
    assert empty.shape == (0, 3, 6, 5)


def test_flips_of_coins_are_taken(tmp_path):
    images = buffers(tmp_path, batch(6))
    flip = nn.CoinFlip(6, random_seed=1)()
    module = nn.CropMirrorNormalize("RGB", crop_h=9, crop_w=11)
    plain, flipped = module(images).numpy(), module(images, flip).numpy()
    assert set(flip.tolist()) == {0, 1}
    for row, coin in enumerate(flip.tolist()):
        np.testing.assert_array_equal(flipped[row], plain[row][:, :, ::-1] if coin else plain[row])


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"color_space": "rgb"}, ValueError, "expected color_space to be RGB, BGR or GRAY, got 'rgb'"),
    ({"output_layout": "CHW"}, ValueError, "expected layout to be NCHW or NHWC, got 'CHW'"),
    ({"output_dtype": flow.float16}, DtypeError, r"expected output_dtype float32, got flownn\.float16"),
    ({"crop_h": -1}, ValueError, "expected crop_h and crop_w of 0 or more, got -1 and 0"),
    ({"crop_pos_y": 1.5}, ValueError, "expected crop_position as two numbers from 0 to 1"),
    ({"crop_pos_x": -0.5}, ValueError, "expected crop_position as two numbers from 0 to 1"),
    ({"mean": [1.0, 2.0]}, ValueError, r"expected mean of 1 or 3 values, got \[1.0, 2.0\]"),
    ({"std": [1.0] * 4}, ValueError, "expected std of 1 or 3 values"),
    ({"std": [1.0, 0.0, 1.0]}, ValueError, "expected std without 0"),
    ({"mean": []}, ValueError, "expected mean of 1 or 3 values"),
    ({"color_space": "GRAY", "mean": MEAN}, ValueError, "expected mean of 1 or 1 values"),
])  # fmt: skip
def test_arguments_are_checked_when_the_module_is_made(arguments, error, message):
    with pytest.raises(error, match=f"CropMirrorNormalize: {message}"):
        nn.CropMirrorNormalize(**arguments)


@pytest.mark.parametrize(("images", "error", "message"), [
    (flow.ones(1, 4, 4, 3), DtypeError, r"images of type flownn\.uint8 or flownn\.tensor_buffer, got flownn\.float32"),
    (np.ones((1, 4, 4, 3), np.uint8), DtypeError, "images of type .* got ndarray"),
    (flow.ones(1, 3, 4, 4, dtype=flow.uint8), ShapeError, r"input \(N, H, W, 3\) .* got shape \(1, 3, 4, 4\)"),
    (flow.ones(4, 4, 3, dtype=flow.uint8), ShapeError, r"input \(N, H, W, 3\) .* got shape \(4, 4, 3\)"),
    (flow.ones(1, 0, 4, 3, dtype=flow.uint8), ShapeError, r"H and W of 1 or more, got shape \(1, 0, 4, 3\)"),
])  # fmt: skip
def test_inputs_are_checked(images, error, message):
    with pytest.raises(error, match=f"CropMirrorNormalize: expected .*{message}"):
        nn.CropMirrorNormalize("RGB")(images)


def test_pictures_are_no_mirror(tmp_path):
    images = buffers(tmp_path, batch())
    with pytest.raises(DtypeError, match=r"mirror as a tensor of integers, got flownn\.tensor_buffer"):
        nn.CropMirrorNormalize("RGB", crop_h=1, crop_w=1)(images, images)


def test_records_and_bytes_are_no_images(tmp_path):
    write_parts(tmp_path, [{"x": b"abc"}], 1, suffix_length=-1)
    records = nn.OFRecordReader(tmp_path)()
    module = nn.CropMirrorNormalize("RGB", crop_h=1, crop_w=1)
    with pytest.raises(
        DtypeError, match=r"expected a tensor of type flownn\.tensor_buffer, got one of type flownn\.of_re"
    ):
        module(records)
    with pytest.raises(
        ShapeError, match=r"expected uint8 images \(height, width, 3\), got uint8 \(3,\) \(.*part-0 at byte"
    ):
        module(nn.OFRecordBytesDecoder("x")(records))


@pytest.mark.parametrize(("mirror", "error", "message"), [
    (flow.ones(3), DtypeError, r"mirror as a tensor of integers, got flownn\.float32"),
    ([1, 0, 1], DtypeError, "mirror as a tensor of integers, got list"),
    (flow.ones(2, dtype=flow.int8), ShapeError, r"mirror of shape \(3,\), got \(2,\)"),
    (flow.ones(3, 1, dtype=flow.int8), ShapeError, r"mirror of shape \(3,\), got \(3, 1\)"),
])  # fmt: skip
def test_mirror_is_checked(mirror, error, message):
    with pytest.raises(error, match=f"CropMirrorNormalize: expected {message}"):
        nn.CropMirrorNormalize("RGB")(flow.from_numpy(batch()), mirror)
