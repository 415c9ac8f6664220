"""Part files: byte for byte, all or nothing."""

from itertools import pairwise

import numpy as np
import pytest

from flowdata.errors import ConfigError, RecordError
from flowdata.records.frames import frame_offsets
from flowdata.records.wire import decode
from flowdata.records.writer import PartWriter, write_parts
from tests.helpers.records import GOLDEN_PART


def read_all(path):
    data, offsets = path.read_bytes(), frame_offsets(path).tolist()
    return [dict(decode(data[a + 8 : b])) for a, b in pairwise(offsets)]


def test_golden_part_file(tmp_path):
    with PartWriter(tmp_path / "part-0") as writer:
        writer.write({"class/label": 5})
    assert (tmp_path / "part-0").read_bytes() == GOLDEN_PART
    assert writer.records == 1


def test_nothing_has_the_name_before_the_end_and_nothing_else_remains(tmp_path):
    path = tmp_path / "part-00000"
    with PartWriter(path) as writer:
        writer.write({"x": 1})
        assert not path.exists()
    assert [each.name for each in tmp_path.iterdir()] == ["part-00000"]


def write_one_good_and_one_bad_record(path):
    with PartWriter(path) as writer:
        writer.write({"x": 1})
        writer.write({"x": None})


def test_an_exception_leaves_nothing_and_an_old_file_untouched(tmp_path):
    path = tmp_path / "part-00000"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match="Feature: expected"):
        write_one_good_and_one_bad_record(path)
    assert [each.name for each in tmp_path.iterdir()] == ["part-00000"]
    assert path.read_bytes() == b"old"


def test_a_record_without_features_is_refused(tmp_path):
    with pytest.raises(RecordError, match="1 to 2147483647 bytes, got 0"), PartWriter(tmp_path / "part-0") as writer:
        writer.write({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "parts", "sizes"), [(10, 4, [3, 3, 2, 2]), (2, 3, [1, 1, 0]), (0, 2, [0, 0])])
def test_parts_hold_the_records_in_order_and_evenly(tmp_path, count, parts, sizes):
    records = [{"i": np.int64(i), "t": f"text {i}"} for i in range(count)]
    paths = write_parts(tmp_path / "new" / "train", records, parts, suffix_length=3)
    assert [path.name for path in paths] == [f"part-{i:03d}" for i in range(parts)]
    assert [len(read_all(path)) for path in paths] == sizes
    found = [int(record["i"].values[0]) for path in paths for record in read_all(path)]
    assert found == list(range(count))


def test_a_failing_data_set_is_removed(tmp_path):
    records = [{"i": i} for i in range(5)] + [{"i": None}]
    with pytest.raises(TypeError, match="Feature: expected"):
        write_parts(tmp_path, records, parts=3)
    assert list(tmp_path.iterdir()) == []


def test_no_parts_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="expected parts >= 1, got 0"):
        write_parts(tmp_path, [], parts=0)
