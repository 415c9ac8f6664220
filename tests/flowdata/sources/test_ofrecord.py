"""Directories of part files: found, counted, read, and wrong in every way."""

import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from flowdata import codec
from flowdata.dataset import DatasetInfo
from flowdata.errors import ConfigError, RecordError
from flowdata.records.frames import frame_offsets
from flowdata.records.wire import encode
from flowdata.records.writer import write_parts
from flowdata.sample import SampleKey
from flowdata.sources import ofrecord
from flowdata.sources.ofrecord import OFRecordSource
from tests.helpers.records import write_dataset


@pytest.fixture
def folder(tmp_path):
    return write_dataset(tmp_path, counts=(5, 0, 7))


@pytest.fixture
def bare(tmp_path):
    """Three parts of 2, 2 and 1 records without dataset.json."""
    write_parts(tmp_path / "bare", [{"i": i} for i in range(5)], 3)
    return tmp_path / "bare"


def labels(source):
    return [int(source.read(SampleKey(0, i))["record"]["class/label"].values[0]) for i in range(len(source))]


def test_records_are_numbered_over_all_parts(folder):
    source = OFRecordSource(folder)
    source.open()
    assert len(source) == 12
    assert labels(source) == list(range(12))
    source.close()


def test_a_sample_says_where_it_came_from(folder):
    source = OFRecordSource(folder)
    offsets = frame_offsets(folder / "part-00002")
    sample = source.read(SampleKey(3, 6))
    assert sample.key == SampleKey(3, 6)
    assert sample.origin == f"{folder / 'part-00002'} at byte {offsets[1]}"
    assert codec.decode(sample["record"]["encoded"].values[0]).shape == (24, 33, 3)
    source.close()


@pytest.mark.parametrize("index", [-1, 12])
def test_there_are_no_other_records(folder, index):
    with pytest.raises(IndexError, match=f"there are 12 records, so there is no record {index}"):
        OFRecordSource(folder).read(SampleKey(0, index))


def test_explicit_arguments_that_agree_with_the_description_are_fine(folder):
    source = OFRecordSource(str(folder), parts=3, prefix="part-", suffix_length=5)
    assert len(source) == 12


@pytest.mark.parametrize(("argument", "stated"), [({"parts": 2}, 3), ({"prefix": "p"}, "part-"),
                                                  ({"suffix_length": 4}, 5)])  # fmt: skip
def test_explicit_arguments_that_contradict_the_description_are_errors(folder, argument, stated):
    [(name, given)] = argument.items()
    with pytest.raises(ConfigError) as caught:
        OFRecordSource(folder, **argument).open()
    assert str(caught.value).startswith(
        f"{folder}: {name} is given as {given!r}, but dataset.json says {stated!r}; leave {name} out"
    )


def test_a_description_in_the_same_directory_serves(tmp_path):
    write_parts(tmp_path, [{"i": i} for i in range(3)], 2)
    DatasetInfo.model_validate(
        {"classes": ["a"], "splits": {"all": {"directory": ".", "parts": 2, "records": 3}}}
    ).save(tmp_path)
    assert len(OFRecordSource(tmp_path)) == 3


def test_without_description_parts_is_needed(bare):
    with pytest.raises(ConfigError) as caught:
        OFRecordSource(bare).open()
    text = str(caught.value)
    assert text.startswith(f"{bare}: parts, the number of part files, is needed because no dataset.json")
    assert text.endswith("it has 3 files (part-00000, part-00001, part-00002) with prefix 'part-'")
    assert len(OFRecordSource(bare, parts=3)) == 5


def test_a_missing_directory(tmp_path):
    with pytest.raises(ConfigError) as caught:
        OFRecordSource(tmp_path / "no" / "where").open()
    assert str(caught.value) == (
        f"{tmp_path / 'no' / 'where'}: expected a directory of OFRecord part files, found nothing of that name "
        f"(there is {tmp_path})"
    )


def test_a_file_instead_of_a_directory(folder):
    with pytest.raises(ConfigError, match="expected a directory of OFRecord part files, found a file"):
        OFRecordSource(folder / "part-00000").open()


def test_missing_parts_say_the_naming_rule_and_what_there_is(bare):
    (bare / "part-00001").unlink()
    with pytest.raises(ConfigError) as caught:
        OFRecordSource(bare, parts=4).open()
    assert str(caught.value) == (
        f"{bare}: expected 4 part files, prefix 'part-', suffix length 5; missing: 2 files (part-00001, part-00003); "
        f"the directory has 2 files (part-00000, part-00002) with prefix 'part-'"
    )


def test_another_prefix_is_noticed(bare):
    with pytest.raises(ConfigError, match=r"no file with prefix 'p_', but 3 files \(part-00000, part-00001, part-000"):
        OFRecordSource(bare, parts=3, prefix="p_").open()


@pytest.mark.parametrize(("suffix_length", "names"), [(-1, ["x0", "x1"]), (3, ["x000", "x001"])])
def test_prefix_and_suffix_length(tmp_path, suffix_length, names):
    write_parts(tmp_path / "d", [{"i": 1}], 2, prefix="x", suffix_length=suffix_length)
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == names
    assert len(OFRecordSource(tmp_path / "d", parts=2, prefix="x", suffix_length=suffix_length)) == 1


def test_another_number_of_records_than_described_is_an_error(folder):
    (folder / "part-00000").write_bytes(b"")
    with pytest.raises(RecordError, match=r"expected 12 records in 3 part files .* split 'train', found 7;"):
        OFRecordSource(folder).open()


def test_a_truncated_part_is_an_error_on_opening(folder):
    path = folder / "part-00002"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecordError, match=rf"{path} at byte .*: expected a record of .* bytes, found .*; it was cut"):
        OFRecordSource(folder).open()


def test_a_part_that_shrinks_while_in_use(folder):
    source = OFRecordSource(folder)
    source.open()
    path = folder / "part-00002"
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(RecordError, match=r"part-00002 at byte .*cut short while it was in use"):
        source.read(SampleKey(0, 11))


def test_a_record_that_does_not_parse(tmp_path):
    good = encode({"i": 1})
    path = tmp_path / "part-00000"
    path.write_bytes(len(good).to_bytes(8, "little") + good + (3).to_bytes(8, "little") + b"\xff\xff\xff")
    source = OFRecordSource(tmp_path, parts=1)
    with pytest.raises(RecordError, match=rf"{path} at byte {8 + len(good)}: expected an OFRecord message, found 3"):
        source.read(SampleKey(0, 1))


def test_no_parts_at_all_is_an_error():
    with pytest.raises(ConfigError, match="parts >= 1, got 0"):
        OFRecordSource("x", parts=0)


def test_a_pickled_source_reads_the_same(folder):
    source = OFRecordSource(folder)
    expected = labels(source)
    copy = pickle.loads(pickle.dumps(source))
    source.close()
    assert labels(copy) == expected


def test_a_copy_of_an_open_source_needs_no_description(folder):
    source = OFRecordSource(folder)
    expected = labels(source)
    data = pickle.dumps(source)
    (folder.parent / "dataset.json").unlink()
    code = "import pickle, sys; s = pickle.load(sys.stdin.buffer); s.open(); print(len(s), 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout.split() == [str(len(expected)).encode(), b"False"]
    assert labels(pickle.loads(pickle.dumps(pickle.loads(data)))) == expected


def test_closing_closes_the_files_and_opening_again_works(folder):
    open_before = len(os.listdir("/dev/fd"))
    source = OFRecordSource(folder)
    assert labels(source) == list(range(12))
    assert len(os.listdir("/dev/fd")) == open_before + 2  # the empty part is never opened for reading
    source.close()
    assert len(os.listdir("/dev/fd")) == open_before
    assert labels(source) == list(range(12))
    source.close()


def test_more_parts_than_may_stay_open(folder, monkeypatch):
    monkeypatch.setattr(ofrecord, "_MAX_OPEN_FILES", 1)
    open_before = len(os.listdir("/dev/fd"))
    source = OFRecordSource(folder)
    assert labels(source) == list(range(12))
    assert len(os.listdir("/dev/fd")) == open_before + 1
    source.close()


def test_threads_read_at_once(folder):
    source = OFRecordSource(folder)
    source.open()
    found = {}
    threads = [threading.Thread(target=lambda n=n: found.__setitem__(n, labels(source))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert list(found.values()) == [list(range(12))] * 4
    source.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_shares_no_file_position(folder):
    source = OFRecordSource(folder)
    expected = labels(source)
    child = os.fork()
    if child == 0:
        os._exit(0 if labels(source) == expected else 1)
    found = labels(source)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert found == expected
    source.close()


def test_the_fingerprint_is_that_of_names_sizes_and_counts(folder, tmp_path):
    same = write_dataset(tmp_path / "elsewhere", counts=(5, 0, 7))
    os.utime(same / "part-00000", ns=(0, 0))
    other = write_dataset(tmp_path / "other", counts=(5, 1, 6))
    assert OFRecordSource(folder).fingerprint() == OFRecordSource(same).fingerprint()
    assert OFRecordSource(folder).fingerprint() != OFRecordSource(other).fingerprint()


def test_the_record_is_declared_as_no_array():
    [(name, spec)] = OFRecordSource("x").output_spec().items()
    assert (name, spec.layout, spec.dtype) == ("record", "record", np.dtype(object))
