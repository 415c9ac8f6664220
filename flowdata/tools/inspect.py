"""What a data set, a directory of part files or a single part file holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowdata import codec
from flowdata.dataset import FILE_NAME, DatasetInfo, dataset_of, part_name
from flowdata.errors import ConfigError, RecordError
from flowdata.records import digests
from flowdata.records.frames import HEADER_BYTES, Offsets, frame_offsets
from flowdata.records.wire import Feature, Record, decode
from flowdata.tools import inspect_coco
from flowdata.tools.sheet import Picture, SheetPlan, spread, write_sheet

LABEL = "class/label"
IMAGE = "encoded"
CELL = 160  # pixels of a picture on a sheet
SHOWN_CLASSES = 20
SHOWN_TEXT = 48


@dataclass(frozen=True, slots=True)
class Part:
    """A part file and where its records begin."""

    path: Path
    offsets: Offsets

    @property
    def records(self) -> int:
        """Number of records."""
        return len(self.offsets) - 1


def inspect(path: Path, *, records: int = 3, sheet: SheetPlan | None = None) -> None:
    """Print what there is: parts, features of the first records and how many records each class has.

    Args:
        path: Directory with a ``dataset.json``, directory of part files, or one part file; or a COCO annotation file,
            or a directory with an ``annotations.json``.
        records: Records to show of each split.
        sheet: Contact sheet to draw.

    Raises:
        ConfigError: there is nothing of the kind at ``path``, or a part that ``dataset.json`` counts is missing.
        RecordError: a file is damaged.
    """
    if annotations := _annotation_file(path):
        inspect_coco.inspect_coco(annotations, records=records, sheet=sheet)
        return
    if sheet is not None and sheet.images is not None:
        raise ConfigError(f"{path}: --images is for COCO annotation files; these are OFRecords, with images inside")
    info, groups = find_parts(path, others=f"a COCO annotation file, a directory with {inspect_coco.FILE_NAME}, ")
    if missing := [str(part) for parts in groups.values() for part in parts if not part.is_file()]:
        raise ConfigError(f"{path}: {FILE_NAME} names part files that are missing: {', '.join(missing)}")
    pictures: list[Picture] = []
    for name, paths in groups.items():
        print(f"{name}:" if name else f"{path}:")
        parts = [Part(each, frame_offsets(each)) for each in paths]
        shown = spread(sum(part.records for part in parts), max(1, sheet.pictures // len(groups))) if sheet else []
        pictures += _inspect_group(parts, info, records, name, shown)
    if sheet is not None:
        if not pictures:
            raise RecordError(f"{path}: no record has a feature {IMAGE!r}, so there is nothing to draw")
        write_sheet(sheet.path, f"{path}: {len(pictures)} records", pictures, CELL)
        print(f"{sheet.path}: {len(pictures)} pictures")


def _annotation_file(path: Path) -> Path | None:
    """The COCO annotation file that is meant, if any."""
    if path.is_file():
        return path if path.suffix == ".json" and path.name != FILE_NAME else None
    inside = path / inspect_coco.FILE_NAME
    return inside if inside.is_file() and not (path / FILE_NAME).exists() else None


def find_parts(path: Path, *, others: str = "") -> tuple[DatasetInfo | None, dict[str, list[Path]]]:
    """The data set's description if there is one, and the part files by split; they may be missing.

    Args:
        path: Directory with a ``dataset.json``, directory of part files, or one part file.
        others: What else the caller takes, for the message.

    Raises:
        ConfigError: there is nothing of the kind.
    """
    if path.is_file() and path.name != FILE_NAME:
        described = dataset_of(path.parent)
        return described[0] if described else None, {"": [path]}
    root = path.parent if path.name == FILE_NAME else path
    if (root / FILE_NAME).exists():
        info = DatasetInfo.load(root)
        groups = {
            name: [
                root / split.directory / part_name(part, info.part_name_prefix, info.part_name_suffix_length)
                for part in range(split.parts)
            ]
            for name, split in info.splits.items()
        }
        return info, groups
    parts = sorted(each for each in path.glob("part-*") if each.is_file()) if path.is_dir() else []
    parts = [each for each in parts if each.suffix != digests.SUFFIX]
    if not parts:
        raise ConfigError(f"{path}: expected a part file, {others}or a directory with {FILE_NAME} or files part-*")
    described = dataset_of(path)
    return described[0] if described else None, {"": parts}


def _inspect_group(
    parts: list[Part], info: DatasetInfo | None, shown: int, split: str, drawn: list[int]
) -> list[Picture]:
    """Print what a split holds; return the records to draw."""
    total, size = sum(part.records for part in parts), sum(int(part.offsets[-1]) for part in parts)
    print(f"  {total} records in {len(parts)} part files, {size / 1e6:.2f} MB")
    for part in parts:
        print(f"    {part.path.name}  {part.records} records, {int(part.offsets[-1])} bytes")
    labels: Counter[str] = Counter()
    pictures = []
    to_draw = set(drawn)
    for number, (origin, record) in enumerate(_records(parts)):
        if number < shown:
            print(f"  record {number} ({origin})")
            for name in sorted(record):
                print(f"    {name}: {describe_feature(record[name])}")
        label = _label(record)
        labels[label] += 1
        if number in to_draw and IMAGE in record:
            name = _class_name(label, info)
            title = f"{f'{split} ' if split else ''}{number}: {label}{'' if name == f' ({label})' else name}"
            pictures.append(_picture(title, record[IMAGE]))
    print(f"  {LABEL}:")
    for label, count in sorted(labels.items(), key=_by_number)[:SHOWN_CLASSES]:
        print(f"    {label}{_class_name(label, info)}: {count}")
    if len(labels) > SHOWN_CLASSES:
        print(f"    … and {len(labels) - SHOWN_CLASSES} more values, each in {min(labels.values())} to "
              f"{max(labels.values())} records")  # fmt: skip
    return pictures


def _picture(title: str, feature: Feature) -> Picture:
    if feature.kind != "bytes" or len(feature) != 1:
        return Picture(title, None, problem=f"expected one bytes value, found {describe_feature(feature)}")
    try:
        return Picture(title, codec.decode(bytes(feature.values[0])))
    except RecordError as error:
        return Picture(title, None, problem=str(error))


def _records(parts: list[Part]) -> Iterator[tuple[str, Record]]:
    for part in parts:
        descriptor = os.open(part.path, os.O_RDONLY)
        try:
            for start, end in zip(part.offsets[:-1].tolist(), part.offsets[1:].tolist(), strict=True):
                origin = f"{part.path.name} at byte {start}"
                data = os.pread(descriptor, end - start - HEADER_BYTES, start + HEADER_BYTES)
                try:
                    yield origin, decode(data)
                except RecordError as error:
                    raise RecordError(f"{part.path} at byte {start}: {error}") from None
        finally:
            os.close(descriptor)


def _label(record: Record) -> str:
    feature = record.get(LABEL)
    return "no value" if feature is None or len(feature) == 0 else str(feature.values[0])


def _by_number(item: tuple[str, int]) -> tuple[int, str]:
    return (int(item[0]), "") if item[0].lstrip("-").isdigit() else (-1, item[0])


def _class_name(label: str, info: DatasetInfo | None) -> str:
    known = info is not None and label.isdigit() and int(label) < len(info.classes)
    return f" ({info.classes[int(label)]})" if info is not None and known else ""


def describe_feature(feature: Feature) -> str:
    """Kind, number of values and, where they are short, the values.

    >>> describe_feature(Feature.of(b"cat"))
    "bytes, 'cat'"
    >>> describe_feature(Feature.of([1, 2, 3]))
    'int32[3] 1 2 3'
    """
    if feature.kind is None:
        return "no kind"
    if feature.kind != "bytes":
        values = [str(value) for value in feature.values[:8]]
        more = " …" if len(feature) > 8 else ""
        return f"{feature.kind}[{len(feature)}] {' '.join(values)}{more}".rstrip()
    texts = [_describe_bytes(bytes(value)) for value in feature.values]
    return f"bytes, {texts[0]}" if len(texts) == 1 else f"bytes[{len(texts)}] {' '.join(texts[:8])}".rstrip()


def _describe_bytes(value: bytes) -> str:
    if len(value) <= SHOWN_TEXT:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return f"{len(value)} bytes"
        if text.isprintable():
            return repr(text)
    return f"{len(value)} bytes starting {value[:4].hex(' ')}"
