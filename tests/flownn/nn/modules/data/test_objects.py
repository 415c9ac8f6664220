"""Mirroring, normalizing and aligning pictures as modules: the same arrays as the stages make."""

import numpy as np
import pytest

import flownn as flow
from flowdata.batch_align import ImageBatchAlign
from flowdata.errors import RecordError
from flowdata.sample import ArraySpec, SampleKey
from flownn.errors import DtypeError, ShapeError
from flownn.host_tensor import HostTensor
from tests.helpers.records import picture

image = flow.nn.image
PICTURES = [picture(4, 9), picture(6, 5, seed=1), picture(1, 1, seed=2), picture(3, 8, seed=3)]


def tensor(pictures=PICTURES, dtype=np.uint8):
    origins = [(SampleKey(0, 7 + row), f"file {row}") for row in range(len(pictures))]
    return HostTensor(flow.tensor_buffer, [each.astype(dtype) for each in pictures], origins)


def codes(*values):
    return flow.tensor(values, dtype=flow.int8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_picture_is_flipped_by_its_own_code(dtype):
    input = tensor(dtype=dtype)
    found = image.flip()(input, codes(0, 1, 2, 3))
    assert found.dtype is flow.tensor_buffer
    for number, (new, old, step) in enumerate(
        zip(found.numpy(), input.numpy(), [(1, 1), (1, -1), (-1, 1), (-1, -1)], strict=True)
    ):
        np.testing.assert_array_equal(old, PICTURES[number])
        np.testing.assert_array_equal(new, PICTURES[number][:: step[0], :: step[1]].astype(dtype), strict=True)
        assert not np.may_share_memory(new, old)


def test_coins_are_codes():
    found = image.flip()(tensor(), flow.nn.CoinFlip(4, probability=1.0)())
    for new, old in zip(found.numpy(), PICTURES, strict=True):
        np.testing.assert_array_equal(new, old[:, ::-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_divisor_comes_first(dtype):
    std, mean = (58.393, 57.12, 57.375), (123.68, 116.779, 103.939)
    found = image.normalize(std, mean)(tensor(dtype=dtype))
    for new, old in zip(found.numpy(), PICTURES, strict=True):
        expected = (old.astype(dtype) - np.array(mean, dtype)) / np.array(std, dtype)
        np.testing.assert_array_equal(new, expected, strict=True)


@pytest.mark.parametrize("dtype", [flow.uint8, flow.float32])
@pytest.mark.parametrize(("size", "alignment"), [((6, 9), 0), ((8, 12), 4), ((20, 30), 1)])
def test_alignment(size, alignment, dtype):
    found = image.batch_align((*size, 3), dtype, alignment)(tensor(dtype=dtype.dtype))
    assert (found.dtype, found.shape) == (dtype, (4, *size, 3))
    expected = np.zeros((4, *size, 3), dtype.dtype)
    for row, old in zip(expected, PICTURES, strict=True):
        row[: old.shape[0], : old.shape[1]] = old
    np.testing.assert_array_equal(found.numpy(), expected, strict=True)
    spec = ArraySpec((None, None, 3), dtype.dtype, "HWC")
    stage = ImageBatchAlign(size=size, alignment=alignment).align(tensor(dtype=dtype.dtype).numpy(), spec, range(4))
    np.testing.assert_array_equal(found.numpy(), stage)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="ImageNormalize: expected std and mean of one length, got 3 and 1"):
        image.normalize([1, 1, 1], [0])
    with pytest.raises(ValueError, match="ImageNormalize: expected std without 0"):
        image.normalize([0], [1])
    with pytest.raises(ValueError, match="ImageBatchAlign: expected alignment to be 0 or a power of two, got 3"):
        image.batch_align((4, 4, 3), flow.uint8, 3)
    with pytest.raises(ValueError, match=r"ImageBatchAlign: expected shape as \(height, width, channels\) >= 1"):
        image.batch_align((4, 4), flow.uint8, 0)
    with pytest.raises(DtypeError, match=r"ImageBatchAlign: expected dtype uint8 or float32, got flownn\.int32"):
        image.batch_align((4, 4, 3), flow.int32, 0)


def test_wrong_input():
    with pytest.raises(DtypeError, match="ImageFlip: expected a tensor of type"):
        image.flip()(flow.ones(2), codes(0, 0))
    with pytest.raises(DtypeError, match=r"ImageFlip: expected flip_code as a tensor of type flownn\.int8, got"):
        image.flip()(tensor(), flow.zeros(4))
    with pytest.raises(DtypeError, match="got int"):
        image.flip()(tensor(), 1)
    with pytest.raises(ShapeError, match=r"ImageFlip: expected flip_code of shape \(4,\), got \(2,\)"):
        image.flip()(tensor(), codes(0, 0))
    with pytest.raises(RecordError, match=r"ImageFlip: record 8 \(file 1\): image_flip: expected 'code' as 0"):
        image.flip()(tensor(), codes(0, 4, 0, 0))
    with pytest.raises(
        ShapeError, match=r"ImageNormalize: expected pictures \(height, width, 3\) of one type, float32 or float64, got"
    ):
        image.normalize([1, 1, 1], [0, 0, 0])(tensor())
    with pytest.raises(ShapeError, match=r"width, 2\) .* got float32 \(4, 9, 3\) \(file 0\)"):
        image.normalize([1, 1], [0, 0])(tensor(dtype=np.float32))
    with pytest.raises(ShapeError, match=r"one type, uint8 or float32, got uint8 \(4, 4, 1\) \(file 1\)"):
        image.flip()(tensor([picture(4, 4), picture(4, 4, channels=1)]), codes(0, 0))
    with pytest.raises(ShapeError, match="ImageFlip: expected one picture or more, got none"):
        image.flip()(tensor([]), codes(0))
    with pytest.raises(RecordError, match=r"^ImageBatchAlign: .* at most 4 x 9 pixels .* 6 x 5 in record 8 \(file 1\)"):
        image.batch_align((4, 9, 3), flow.uint8, 0)(tensor())


def test_they_hold_nothing():
    for module in (image.flip(), image.normalize([1], [0]), image.batch_align((2, 2, 1), flow.uint8, 0)):
        assert not module.state_dict()
