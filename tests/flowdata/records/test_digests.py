"""CRC-32C: the checksum itself, the file of digests, and that no flipped bit goes unnoticed."""

import pickle
import zlib
from itertools import pairwise

import numpy as np
import pytest

from flowdata.errors import ConfigError, RecordError
from flowdata.pipeline_config import pipeline_from
from flowdata.records.digests import crc32c, digest_path, load_digests
from flowdata.records.frames import frame_offsets
from flowdata.records.writer import PartWriter
from flowdata.sample import SampleKey
from flowdata.sources.ofrecord import OFRecordSource


def slow_crc32c(data):
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize(("data", "expected"), [
    (b"", 0), (b"123456789", 0xE3069283),
    # RFC 3720, appendix B.4
    (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
])  # fmt: skip
def test_known_checksums(data, expected):
    assert crc32c(data) == expected


def test_every_length_agrees_with_the_bitwise_definition():
    content = np.random.default_rng(0).bytes(5000)
    for size in [*range(70), 127, 128, 129, 1000, 1023, 1024, 1025, 4999, 5000]:
        assert crc32c(content[:size]) == slow_crc32c(content[:size])


def test_it_is_not_zlibs():
    assert crc32c(b"123456789") != zlib.crc32(b"123456789")


def write(path, count=5):
    with PartWriter(path, digests=True) as writer:
        for number in range(count):
            writer.write({"i": number, "text": f"record {number} " * (number + 1)})
    return path


def test_the_file_beside_the_part_has_one_digest_per_record(tmp_path):
    part = write(tmp_path / "part-00000")
    content, offsets = part.read_bytes(), frame_offsets(part)
    expected = [slow_crc32c(content[start:end]) for start, end in pairwise(offsets)]
    assert digest_path(part).name == "part-00000.crc32c"
    assert digest_path(part).read_bytes() == b"".join(value.to_bytes(4, "little") for value in expected)
    assert load_digests(part, 5).tolist() == expected


def test_writing_without_digests_removes_those_of_the_old_file(tmp_path):
    part = write(tmp_path / "part-00000")
    with PartWriter(part) as writer:
        writer.write({"i": 1})
    assert not digest_path(part).exists()
    assert load_digests(part, 1) is None


def test_a_writer_that_fails_leaves_the_old_digests(tmp_path):
    part = write(tmp_path / "part-00000")
    before = digest_path(part).read_bytes()
    with pytest.raises(TypeError), PartWriter(part, digests=True) as writer:
        writer.write({"i": {}})
    assert digest_path(part).read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["part-00000", "part-00000.crc32c"]


def read_all(source):
    return [source.read(SampleKey(0, index)) for index in range(len(source))]


def test_whole_records_pass(tmp_path):
    write(tmp_path / "part-00000")
    write(tmp_path / "part-00001", 3)
    source = OFRecordSource(tmp_path, parts=2, verify="digests")
    checked = read_all(source)
    assert [int(each["record"]["i"].values[0]) for each in checked] == [0, 1, 2, 3, 4, 0, 1, 2]
    assert len(read_all(pickle.loads(pickle.dumps(source)))) == 8
    source.close()


def test_every_flipped_bit_is_named(tmp_path):
    part = write(tmp_path / "part-00000", 3)
    good = part.read_bytes()
    offsets = frame_offsets(part)
    source = OFRecordSource(tmp_path, parts=1, verify="digests")
    source.open()
    digests = load_digests(part, 3)
    for record in range(3):
        for bit in range(8 * int(offsets[record]), 8 * int(offsets[record + 1])):
            damaged = bytearray(good)
            damaged[bit // 8] ^= 1 << bit % 8
            part.write_bytes(damaged)
            with pytest.raises(RecordError) as caught:
                source.read(SampleKey(0, record))
            text = str(caught.value)
            assert text.startswith(
                f"{part} at byte {offsets[record]}: expected a record with digest {digests[record]:08x}"
            )
            assert f"found {slow_crc32c(damaged[offsets[record] : offsets[record + 1]]):08x}" in text
    source.close()


def test_a_flipped_bit_of_a_digest_is_named_too(tmp_path):
    path = digest_path(write(tmp_path / "part-00000"))
    content = bytearray(path.read_bytes())
    content[9] ^= 4
    path.write_bytes(content)
    source = OFRecordSource(tmp_path, parts=1, verify="digests")
    source.read(SampleKey(0, 1))
    with pytest.raises(RecordError, match="or of the digest is wrong"):
        source.read(SampleKey(0, 2))
    source.close()


def test_without_verify_damage_that_parses_is_not_seen(tmp_path):
    part = write(tmp_path / "part-00000")
    part.write_bytes(part.read_bytes().replace(b"record 3", b"recorD 3", 1))
    source = OFRecordSource(tmp_path, parts=1)
    assert len(read_all(source)) == 5
    source.close()


def test_digests_that_are_missing_or_too_few_are_errors(tmp_path):
    part = write(tmp_path / "part-00000")
    path = digest_path(part)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecordError, match=r"expected 20 bytes, 4 for each of the 5 records of part-00000, found 19"):
        OFRecordSource(tmp_path, parts=1, verify="digests").open()
    path.unlink()
    with pytest.raises(ConfigError, match=r"verify: digests needs part-00000.crc32c beside it; convert .* --digests"):
        OFRecordSource(tmp_path, parts=1, verify="digests").open()
    with pytest.raises(ConfigError, match="expected verify to be digests or nothing, got 'crc'"):
        OFRecordSource(tmp_path, parts=1, verify="crc")


def test_yaml_says_verify(tmp_path):
    write(tmp_path / "part-00000")
    tree = {"source": {"ofrecord": {"dir": str(tmp_path), "parts": 1, "verify": "digests"}}, "batch_size": 1}
    assert pipeline_from(tree).source.verify == "digests"
    with pytest.raises(ConfigError, match="verify"):
        pipeline_from({**tree, "source": {"ofrecord": {"dir": str(tmp_path), "verify": "md5"}}})
