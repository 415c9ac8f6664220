"""Damaged files of every kind under every policy: bad samples are reported as such, and nothing else happens.

Each round damages one of six records, in its image, its row offsets, its message or anywhere in the file, and reads
them through a whole pipeline. Another error than that of a bad sample, a changed neighbour, or an outcome that depends
on the policy is a mistake in the reader.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from flowdata import codec
from flowdata.errors import DataError, RecordError
from flowdata.failures import is_bad
from flowdata.pipeline import Pipeline
from flowdata.records import frames
from flowdata.records.digests import SUFFIX, crc32c
from flowdata.records.wire import encode
from flowdata.sample import Batch
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.stages.decode import OFRecordImageDecoderRandomCrop, OFRecordRawDecoder
from flowdata.stages.draw import CoinFlip
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize
from tests.conftest import Campaign
from tests.helpers.records import oriented_jpeg, picture

Record = dict[str, Any]
WARM = 50  # rounds before memory is measured
MAX_GROWTH = 24 << 20  # bytes

STAGES = (
    OFRecordRawDecoder(feature="label", output="label"),
    OFRecordImageDecoderRandomCrop(orientation="apply", max_pixels=5000),
    Resize(size=(8, 8)),
    CoinFlip(),
    CropMirrorNormalize(mean=120.0, std=60.0),
)


def good_records() -> list[Record]:
    def by_cv2(extension: str, *options: int) -> bytes:
        return bytes(cv2.imencode(extension, picture(40, 56, seed=4), list(options))[1])

    rows = codec.encode_jpeg(picture(48, 40), 90, row_restarts=True)
    images = [
        rows, oriented_jpeg(6), by_cv2(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), codec.encode_png(picture(20, 30)),
        by_cv2(".webp", cv2.IMWRITE_WEBP_QUALITY, 90), by_cv2(".bmp"),
    ]  # fmt: skip
    records: list[Record] = [{"encoded": image, "label": number} for number, image in enumerate(images)]
    records[0]["encoded/rows"] = codec.row_offsets(rows)
    return records


# -- damage ----------------------------------------------------------------------------------------------------------


def damage(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, taken out, repeated or put in; often at the start, where the headers are."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(min(len(content), rng.choice([64, 700, len(content)])))
        match rng.randrange(6):
            case 0:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                content[at] = rng.choice([0, 1, 0x7F, 0x80, 0xD9, 0xFF, rng.randrange(256)])
            case 2:
                del content[at : at + rng.choice([1, 2, 4, 100])]
            case 3:
                content[at:at] = content[at : at + rng.choice([1, 2, 4, 100])]
            case 4:
                content[at:at] = rng.randbytes(rng.choice([1, 2, 8]))
            case 5:
                del content[max(at, 1) :]
        if not content:
            return b"\0"
    return bytes(content)


def message(record: Record) -> bytes:
    return encode(record)


def damaged_image(record: Record, rng: random.Random) -> bytes:
    return message(record | {"encoded": damage(record["encoded"], rng)})


def damaged_rows(record: Record, rng: random.Random) -> bytes:
    rows = np.array(record.get("encoded/rows", [700, 900]), np.int64)
    match rng.randrange(4):
        case 0:
            rows[rng.randrange(len(rows))] = rng.choice([0, -1, 2**31, -(2**63), 2**63 - 1, rng.randrange(5000)])
        case 1:
            rows += rng.choice([-1, 1, 2**40])
        case 2:
            rows = rows[: rng.randrange(len(rows))]
        case 3:
            rows = np.append(rows, rows[-1] + rng.randrange(3))
    return message(record | {"encoded/rows": rows})


def damaged_message(record: Record, rng: random.Random) -> bytes:
    return damage(message(record), rng)


DAMAGES: tuple[Callable[[Record, random.Random], bytes], ...] = (
    damaged_image, damaged_image, damaged_image, damaged_rows, damaged_message,
)  # fmt: skip


def write(path: Path, messages: list[bytes]) -> list[int]:
    """A part file, and the digest of each record."""
    framed = [len(each).to_bytes(8, "little") + each for each in messages]
    path.write_bytes(b"".join(framed))
    return [crc32c(each) for each in framed]


# -- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """The rows of the one batch by record, and the records that were bad; or the error."""

    rows: dict[int, bytes]
    bad: tuple[int, ...]
    error: DataError | None


def read(folder: Path, on_error: str, seed: int, verify: Any = None, **arguments: Any) -> Outcome:
    source = OFRecordSource(folder, parts=1, verify=verify)
    try:
        pipeline = Pipeline(
            source,
            STAGES,
            batch_size=6,
            seed=seed,
            on_error=on_error,
            max_bad_fraction=1.0,
            **arguments,  # type: ignore[arg-type]
        )
        with pipeline.loader() as loader:
            batch: Batch = next(iter(loader))
    except DataError as error:
        return Outcome({}, (), error)
    finally:
        source.close()
    assert np.isfinite(batch["image"]).all()
    rows = {int(index): batch["image"][row].tobytes() for row, index in enumerate(batch.indices)}
    return Outcome(rows, tuple(each.index for each in batch.bad), None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """Where the part file of each round lies; no index is kept of what lives for a moment, nor the warnings."""
    monkeypatch.setattr(frames, "_save", lambda place, content: False)
    caplog.set_level("CRITICAL", logger="flowdata")
    return tmp_path


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return good_records()


def check_policies(folder: Path, seed: int, good: Outcome, changed: int) -> bool:
    """Read under every policy and compare; whether the changed record is bad."""
    skip = read(folder, "skip", seed)
    if skip.error is not None:  # found when the file was opened: then no policy applies
        assert type(skip.error) is RecordError, repr(skip.error)
        for on_error in ("raise", "replace"):
            assert str(read(folder, on_error, seed).error) == str(skip.error)
        return True
    assert set(skip.bad) <= {changed}
    neighbours = {index: row for index, row in good.rows.items() if index != changed}
    assert {index: row for index, row in skip.rows.items() if index != changed} == neighbours
    assert (changed in skip.rows) != bool(skip.bad)
    stopped, replaced = read(folder, "raise", seed), read(folder, "replace", seed)
    assert (stopped.error is not None) == bool(skip.bad)
    assert stopped.error is None or is_bad(stopped.error), repr(stopped.error)
    assert replaced.bad == skip.bad
    assert {index: replaced.rows[index] for index in neighbours} == neighbours
    return bool(skip.bad)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_damaged_records(campaign: Campaign, folder: Path, records: list[Record]) -> None:
    write(folder / "part-00000", [message(each) for each in records])
    good = {seed: read(folder, "raise", seed) for seed in range(4)}
    assert all(len(each.rows) == 6 for each in good.values())
    process = psutil.Process()
    memory, bad, rounds = 0, 0, 0
    for rng in campaign(20_000, 200):
        changed, seed = rng.randrange(6), rng.randrange(4)
        messages = [message(each) for each in records]
        messages[changed] = rng.choice(DAMAGES)(records[changed], rng)
        write(folder / "part-00000", messages)
        bad += check_policies(folder, seed, good[seed], changed)
        rounds += 1
        if rounds == WARM:
            memory = process.memory_info().rss
    if rounds > WARM:
        assert process.memory_info().rss - memory < MAX_GROWTH
        assert rounds * 0.2 < bad < rounds  # both outcomes were met


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_damage_anywhere_in_the_file_is_named_by_its_digest(
    campaign: Campaign, folder: Path, records: list[Record]
) -> None:
    part = folder / "part-00000"
    digests = write(part, [message(each) for each in records])
    (folder / f"part-00000{SUFFIX}").write_bytes(np.array(digests, "<u4").tobytes())
    whole = part.read_bytes()
    good = read(folder, "raise", 0, verify="digests")
    assert len(good.rows) == 6
    for rng in campaign(20_000, 100):
        content = damage(whole, rng)
        if content == whole:
            continue
        part.write_bytes(content)
        found = read(folder, "skip", 0, verify="digests")
        assert found.error is not None or found.bad
        assert found.error is None or type(found.error) is RecordError, repr(found.error)
        assert all(good.rows[index] == row for index, row in found.rows.items())


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_worker_processes_see_the_same(campaign: Campaign, folder: Path, records: list[Record]) -> None:
    for rng in campaign(300, 5):
        changed, on_error = rng.randrange(6), rng.choice(["raise", "skip", "replace"])
        messages = [message(each) for each in records]
        messages[changed] = rng.choice(DAMAGES)(records[changed], rng)
        write(folder / "part-00000", messages)
        serial = read(folder, on_error, 0)
        workers = read(folder, on_error, 0, executor="process", workers=2, samples_per_message=2)
        assert (workers.rows, workers.bad, str(workers.error)) == (serial.rows, serial.bad, str(serial.error))
