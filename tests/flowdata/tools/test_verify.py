"""Every bad record is found and named; a whole data set is called whole."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowdata import codec
from flowdata.cli import main
from flowdata.dataset import DatasetInfo, SplitInfo
from flowdata.errors import ConfigError
from flowdata.records.digests import digest_path
from flowdata.records.frames import frame_offsets
from flowdata.records.wire import encode
from flowdata.records.writer import PartWriter
from flowdata.tools.verify import Problem, Verification, verify
from tests.helpers.records import picture


def record(number: int) -> dict[str, Any]:
    data = codec.encode_jpeg(picture(24, 32, seed=number), row_restarts=True)
    return {"encoded": data, "encoded/rows": codec.row_offsets(data), "label": number}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Parts of 3, 0 and 2 records with digests, and a validation part of 1."""
    counts = {"train": (3, 0, 2), "val": (1,)}
    for split, sizes in counts.items():
        (tmp_path / "data" / split).mkdir(parents=True)
        for part, size in enumerate(sizes):
            with PartWriter(tmp_path / "data" / split / f"part-{part:05d}", digests=True) as writer:
                for number in range(size):
                    writer.write(record(number))
    splits = {name: SplitInfo(directory=name, parts=len(sizes), records=sum(sizes)) for name, sizes in counts.items()}
    DatasetInfo(classes=("a",), splits=splits).save(tmp_path / "data")
    return tmp_path / "data"


def test_a_whole_data_set(dataset: Path) -> None:
    calls = []
    found = verify(dataset, decode_images=True, progress=lambda done, total: calls.append((done, total)))
    size = sum(path.stat().st_size for path in dataset.rglob("part-0000?"))
    assert found == Verification(parts=4, records=6, bytes=size, digests=6, images=6)
    assert found.summary().endswith("no problem found (6 compared with digests, 6 images decoded)")
    assert calls[-1] == (6, 6)
    assert verify(dataset).images == 0
    assert verify(dataset / "train").records == 5
    assert verify(dataset / "train" / "part-00002").records == 2


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_every_flipped_bit_is_found_and_named_where_it_is(dataset: Path) -> None:
    part = dataset / "train" / "part-00000"
    good, offsets = part.read_bytes(), frame_offsets(part)
    rng = random.Random(0)
    for bit in [rng.randrange(8 * len(good)) for _ in range(300)] + list(range(0, 64)):
        flip(part, bit)
        found = verify(part)
        first = found.problems[0]
        bad = int(offsets[np.searchsorted(offsets, bit // 8, side="right") - 1])
        assert (first.file, first.offset) == (str(part), bad), found.problems
        part.write_bytes(good)


@pytest.mark.parametrize("workers", [1, 3])
def test_several_problems_in_several_parts(dataset: Path, workers: int) -> None:
    first, last, val = (dataset / name for name in ("train/part-00000", "train/part-00002", "val/part-00000"))
    offsets, last_offsets = frame_offsets(first), frame_offsets(last)
    flip(first, 8 * (int(offsets[1]) + 30))
    flip(first, 8 * (int(offsets[2]) + 40))
    last.write_bytes(last.read_bytes()[:-7])
    val.unlink()
    found = verify(dataset, workers=workers)
    places = [(Path(each.file).name, each.offset) for each in found.problems]
    assert places == [
        ("part-00000", offsets[1]), ("part-00000", offsets[2]), ("part-00002", last_offsets[1]), ("part-00000", None),
    ]  # fmt: skip
    texts = [each.what for each in found.problems]
    assert "digest" in texts[0]
    assert "7 bytes" not in texts[2]
    assert texts[2].startswith("expected a record of")
    assert texts[3] == "cannot be read (No such file or directory)"
    assert (found.records, found.digests) == (4, 4)
    assert "4 problem(s)" in found.summary()


def test_records_that_do_not_parse_and_pictures_that_do_not_decode(tmp_path: Path) -> None:
    good = record(0)
    cut = good | {"encoded": good["encoded"][:-40]}
    wrong_rows = good | {"encoded/rows": good["encoded/rows"] + 1}
    with PartWriter(tmp_path / "part-00000") as writer:
        for message in (encode(good), b"\xff\xff\xff", encode(cut), encode(wrong_rows), encode({"label": 1})):
            writer.write_message(message)
    offsets = frame_offsets(tmp_path / "part-00000").tolist()
    assert [each.offset for each in verify(tmp_path).problems] == [offsets[1]]
    found = verify(tmp_path, decode_images=True)
    assert [each.offset for each in found.problems] == offsets[1:5]
    for problem, text in zip(
        found.problems,
        ("do not parse", "no end marker", "expected row offsets", "feature 'encoded' is missing"),
        strict=True,
    ):
        assert text in problem.what
    assert found.images == 1
    assert "no digests" in found.summary()
    assert verify(tmp_path, decode_images=True, feature="other").problems[0].offset == 0


def test_another_number_of_records_than_described(dataset: Path) -> None:
    with PartWriter(dataset / "train" / "part-00001", digests=True) as writer:
        writer.write(record(9))
    [problem] = verify(dataset).problems
    assert problem == Problem(
        str(dataset / "train"), None, "expected 5 records as dataset.json says of split 'train', found 6"
    )


def test_digests_of_another_number(dataset: Path) -> None:
    path = digest_path(dataset / "train" / "part-00000")
    path.write_bytes(path.read_bytes()[:-4])
    [problem] = verify(dataset).problems
    assert "expected 12 bytes, 4 for each of the 3 records" in problem.what
    assert problem.offset is None


def test_nothing_to_verify_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a part file, or a directory"):
        verify(tmp_path)


def test_the_command(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(dataset), "--decode", "--workers", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("6 records in 4 part files")
    assert "verifying: 6 of 6" in err
    flip(dataset / "train" / "part-00000", 8 * 100)
    assert main(["verify", str(dataset)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{dataset / 'train' / 'part-00000'} at byte 0: expected a record with digest ")
    assert "1 problem(s)" in lines[1]
    assert main(["verify", str(dataset), "--json"]) == 1
    tree = json.loads(capsys.readouterr().out)
    assert (tree["records"], tree["digests"], tree["problems"][0]["offset"]) == (6, 6, 0)
    assert main(["verify", str(dataset / "no")]) == 2
