"""The frame index: framing errors at every place, and when a cached index counts."""

import logging
import multiprocessing
import os
import struct

import numpy as np
import pytest

from flowdata.errors import RecordError
from flowdata.records.frames import HEADER_BYTES, INDEX_DIRECTORY, cache_directory, frame_offsets, index_parts
from flowdata.records.wire import encode
from flowdata.records.writer import PartWriter
from tests.helpers.records import GOLDEN_PART


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def part(tmp_path):
    path = tmp_path / "part-00000"
    with PartWriter(path) as writer:
        for value in ("a", "bb", "ccc"):
            writer.write({"text": value})
    return path


def walk(data: bytes) -> list[int]:
    """Offsets by the obvious loop over the bytes in memory."""
    offsets = [0]
    while offsets[-1] < len(data):
        offsets.append(offsets[-1] + 8 + struct.unpack_from("<q", data, offsets[-1])[0])
    return offsets


def test_offsets_are_those_of_a_plain_walk(part):
    assert frame_offsets(part).tolist() == walk(part.read_bytes())
    assert len(frame_offsets(part)) == 4


def test_the_golden_part(tmp_path):
    path = tmp_path / "part-0"
    path.write_bytes(GOLDEN_PART)
    assert frame_offsets(path).tolist() == [0, 30]


def test_an_empty_part_has_no_records(tmp_path):
    path = tmp_path / "part-0"
    path.write_bytes(b"")
    assert frame_offsets(path).tolist() == [0]
    assert frame_offsets(path).tolist() == [0]  # from the cache


def test_a_part_cut_anywhere_is_an_error_that_names_file_offset_expected_and_found(part):
    whole = part.read_bytes()
    ends = walk(whole)
    for size in range(1, len(whole)):
        if size in ends:
            continue  # a shorter file of whole records; dataset.json tells
        part.write_bytes(whole[:size])
        with pytest.raises(RecordError) as caught:
            frame_offsets(part)
        start = max(end for end in ends if end < size)
        text = str(caught.value)
        assert text.startswith(f"{part} at byte {start}: expected a record ")
        if size - start < HEADER_BYTES:
            assert f"header of 8 bytes, found the last {size - start} bytes" in text
        else:
            length = next(end for end in ends if end > start) - start - 8
            assert f"of {length} bytes, found {size - start - 8} before the end of the file ({size} bytes)" in text


@pytest.mark.parametrize("length", [0, -1, -(2**63), 2**31, 2**62])
def test_an_impossible_length_is_an_error(part, length):
    whole = part.read_bytes()
    part.write_bytes(whole + struct.pack("<q", length) + b"rest")
    with pytest.raises(RecordError, match=rf"at byte {len(whole)}: expected a record length from 1 .* found {length};"):
        frame_offsets(part)


def index_of(path):
    return path.parent / INDEX_DIRECTORY / f"{path.name}.frames"


def test_the_index_is_cached_beside_the_data_and_used(part):
    offsets = frame_offsets(part)
    cached = index_of(part)
    assert cached.is_file()
    content = np.fromfile(cached, np.int64)
    content[-len(offsets) + 1] += 1  # a lie that only a reader of the cache can tell
    content.tofile(cached)
    assert frame_offsets(part)[1] == offsets[1] + 1


def test_another_size_or_modification_time_makes_a_cached_index_worthless(part):
    frame_offsets(part)
    one_record = part.read_bytes()[: walk(part.read_bytes())[1]]
    status = part.stat()
    part.write_bytes(one_record)
    os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(frame_offsets(part)) == 2  # same time, other size

    longer = encode({"text": "longer than two"})
    same_size = struct.pack("<q", len(one_record) - 8) + longer
    same_size = same_size[: len(one_record)].ljust(len(one_record), b"\0")
    part.write_bytes(same_size[: len(one_record)])
    half = len(one_record) // 2
    part.write_bytes(
        struct.pack("<q", half - 8) + b"x" * (half - 8)
        + struct.pack("<q", len(one_record) - half - 8) + b"x" * (len(one_record) - half - 8)
    )  # fmt: skip
    os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert frame_offsets(part).tolist() == [0, half, len(one_record)]  # same size, other time


@pytest.mark.parametrize("damage", [b"", b"junk", "truncated", "wrong dtype", "short", "decreasing"])
def test_a_damaged_index_is_built_again(part, damage):
    expected = frame_offsets(part).tolist()
    cached = index_of(part)
    content = np.fromfile(cached, np.int64)
    if isinstance(damage, bytes):
        cached.write_bytes(damage)
    elif damage == "truncated":
        cached.write_bytes(cached.read_bytes()[:-9])
    elif damage == "wrong dtype":
        content.astype(np.float64).tofile(cached)
    elif damage == "short":
        content[:2].tofile(cached)
    else:
        content[-2] = content[-1] + 50
        content.tofile(cached)
    assert frame_offsets(part).tolist() == expected
    assert np.fromfile(cached, np.int64)[-len(expected) :].tolist() == expected


def test_many_parts_at_once_come_in_their_order_cached_or_not(tmp_path):
    paths = [tmp_path / f"part-{number}" for number in range(40)]
    for number, path in enumerate(paths):
        with PartWriter(path) as writer:
            for _ in range(number % 7):
                writer.write({"text": "x" * number})
    for path in paths[::3]:
        frame_offsets(path)
    assert [each.tolist() for each in index_parts(paths)] == [walk(path.read_bytes()) for path in paths]
    assert all(index_of(path).is_file() for path in paths)


def test_of_many_damaged_parts_the_first_is_named(tmp_path):
    paths = [tmp_path / f"part-{number}" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(GOLDEN_PART[: 29 if number >= 17 else 30])
    with pytest.raises(RecordError, match=rf"{paths[17]} at byte 0: expected a record of 22 bytes, found 21"):
        index_parts(paths)
    paths[5].unlink()
    with pytest.raises(FileNotFoundError) as caught:
        index_parts(paths)
    assert caught.value.filename == str(paths[5]) or caught.value.filename == paths[5]


def test_the_user_cache_serves_where_the_data_cannot_be_written(part, monkeypatch):
    (part.parent / INDEX_DIRECTORY).write_text("a file where the folder should be")  # also stops root
    offsets = frame_offsets(part)
    [cached] = cache_directory().rglob("*.frames")
    assert cached.name == "part-00000.frames"
    content = np.fromfile(cached, np.int64)
    content[-len(offsets) + 1] += 1
    content.tofile(cached)
    assert frame_offsets(part)[1] == offsets[1] + 1


def test_without_any_place_for_it_the_index_still_works(part, tmp_path, caplog):
    (part.parent / INDEX_DIRECTORY).write_text("")
    (tmp_path / "cache").write_text("")
    with caplog.at_level(logging.INFO, "flowdata"):
        assert frame_offsets(part).tolist() == walk(part.read_bytes())
    assert "can be cached in neither of" in caplog.text


def _offsets_many_times(path, barrier, results):
    barrier.wait(30)
    results.put([frame_offsets(path).tolist() for _ in range(5)])


def test_processes_that_build_the_index_at_once_do_not_collide(part):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_offsets_many_times, args=(part, barrier, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert found == [[walk(part.read_bytes())] * 5] * 3
    assert [each.name for each in (part.parent / INDEX_DIRECTORY).iterdir()] == ["part-00000.frames"]
