"""Run-length masks: by hand, both ways, and as `pycocotools` makes and reads them."""

import numpy as np
import pytest

from flowdata.errors import RecordError
from flowdata.rle import decode, encode

# What pycocotools 2.0 compresses the mask of `blob` to.
COMPRESSED = {"size": [12, 9], "counts": "=12254M2O0001N3L:"}


def random_masks():
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (3, 7), (40, 30), (1, 50), (50, 1), (0, 4), (200, 300)]:
        for share in (0, 0.02, 0.5, 1):
            yield (rng.random((height, width)) < share).astype(np.uint8)


def blob():
    y, x = np.mgrid[0:12, 0:9]
    return (((y - 5) ** 2 + 2 * (x - 4) ** 2 < 20) | ((y == 1) & (x == 1))).astype(np.uint8)


def test_runs_go_down_the_columns_and_begin_with_zeros():
    assert encode(np.array([[0, 0, 1], [0, 1, 1]])) == {"counts": [3, 3], "size": [2, 3]}
    assert encode(np.array([[1, 0], [1, 7]])) == {"counts": [0, 2, 1, 1], "size": [2, 2]}
    assert encode(np.zeros((2, 3))) == {"counts": [6], "size": [2, 3]}
    assert encode(np.ones((2, 3))) == {"counts": [0, 6], "size": [2, 3]}


def test_there_and_back():
    for mask in random_masks():
        found = decode(encode(mask))
        np.testing.assert_array_equal(found, mask, strict=True)
        assert found.flags.c_contiguous


@pytest.mark.parametrize("counts", ["text", b"bytes"])
def test_compressed(counts):
    text = COMPRESSED["counts"]
    found = decode(COMPRESSED | {"counts": text if counts == "text" else text.encode()})
    np.testing.assert_array_equal(found, blob(), strict=True)


@pytest.mark.parametrize("wrong", [
    None, 3, [], {"size": [2, 2]}, {"counts": [4]}, {"size": [2], "counts": [4]}, {"size": [2, 2], "counts": [3]},
    {"size": [2, 2], "counts": [5]}, {"size": [2, 2], "counts": [6, -2]}, {"size": [-2, -2], "counts": [4]},
    {"size": [2, 2], "counts": "Q"}, {"size": [2, 2], "counts": "ü"}, {"size": [2, 2], "counts": [[4]]},
    {"size": [2, 2], "counts": [2**70]},
])  # fmt: skip
def test_what_is_no_mask(wrong):
    with pytest.raises(RecordError, match="run-length mask: expected"):
        decode(wrong)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools 2.0
def test_pycocotools_reads_and_writes_the_same():
    coco = pytest.importorskip("pycocotools.mask", reason="compares with pycocotools")
    assert coco.encode(np.asfortranarray(blob()))["counts"].decode() == COMPRESSED["counts"]
    for mask in random_masks():
        if mask.size:
            np.testing.assert_array_equal(decode(coco.encode(np.asfortranarray(mask))), mask)
            runs = encode(mask)
            np.testing.assert_array_equal(coco.decode(coco.frPyObjects(runs, *runs["size"])), mask)
