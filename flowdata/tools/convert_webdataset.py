"""Tar files in the manner of WebDataset to OFRecord part files."""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from flowdata.errors import ConfigError, DataError, RecordError
from flowdata.records.wire import FeatureValue, Kind
from flowdata.tools.pictures import ROWS, ImageOptions, prepare_picture
from flowdata.tools.writing import (
    Conversion,
    Converted,
    Progress,
    Skipped,
    check_parts,
    convert_items,
    prepare_output,
    reason,
)

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp")
WEBDATASET_FEATURES: dict[str, Kind] = {"encoded": "bytes"}


@dataclass(frozen=True, slots=True)
class Group:
    """The members of a tar file that share a key: extension to offset and size of the content."""

    path: Path
    key: str
    members: dict[str, tuple[int, int]]


def convert_webdataset(
    source: Path,
    out: Path,
    *,
    split: str = "train",
    parts: int = 8,
    json_label: str | None = None,
    options: ImageOptions | None = None,
    workers: int | None = None,
    digests: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Conversion:
    """Write the samples of tar files as OFRecords, in the order of file names and members.

    A sample is what follows each other in a tar file with the same key: the name up to the first dot of its last
    part. Its image (``.jpg``, ``.jpeg``, ``.png``, ``.webp`` or ``.bmp``) becomes ``encoded``, with ``height``,
    ``width`` and ``channels``; a whole number in ``.cls``, or under ``json_label`` in ``.json``, becomes
    ``class/label``; every other member becomes a feature of bytes that is named by its extension. Samples without an
    image, or that cannot be read, are skipped and listed.

    Args:
        source: A tar file, not compressed, or a directory of them.
        out: Directory to write; made if needed.
        split: Name of the split, ``train`` or ``val``.
        parts: Part files.
        json_label: Key of the label in the JSON members; by default only ``.cls`` holds labels.
        options: How images are encoded, reduced and turned.
        workers: Threads that read and decode; by default one per usable processor.
        digests: Also write a checksum per record.
        overwrite: Write although ``out`` is not empty; removes the data set that it holds, not other files.
        progress: Called with the number of samples done and the number of samples.

    Raises:
        ConfigError: an argument is out of range, there is no tar file, ``out`` is in use.
        DataError: no sample could be read.
    """
    options = options or ImageOptions()
    groups, broken = _scan(source)
    if broken and not groups:
        raise DataError(f"convert webdataset: {source} holds no sample; the first problem is {broken[0].reason}")
    check_parts(f"convert webdataset: {source}", parts, len(groups))
    prepare_output(out, overwrite)
    return convert_items(
        out,
        source=f"convert webdataset: {source}",
        classes=(),
        features=WEBDATASET_FEATURES | ({ROWS: "int32"} if options.row_restarts else {}),
        splits={split: (parts, groups)},
        read=lambda group: _read(group, json_label, options),
        skipped=broken,
        workers=workers,
        digests=digests,
        progress=progress,
    )


def _scan(source: Path) -> tuple[list[Group], list[Skipped]]:
    """All samples, and the tar files that break off."""
    paths = sorted(source.glob("*.tar")) if source.is_dir() else [source]
    if not paths or not all(path.is_file() for path in paths):
        raise ConfigError(f"convert webdataset: expected tar files, found none at {source}")
    groups: list[Group] = []
    broken = []
    for path in paths:
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.isreg():
                        _add(groups, path, member)
        except tarfile.TarError as error:
            broken.append(Skipped(path.name, f"expected an uncompressed tar file ({error}); the rest is left out"))
    return groups, broken


def _add(groups: list[Group], path: Path, member: tarfile.TarInfo) -> None:
    folder, _, name = member.name.rpartition("/")
    stem, _, extension = name.partition(".")
    if not stem or not extension.isascii() or not extension:  # hidden, or nothing that says what it is
        return
    key = f"{folder}/{stem}" if folder else stem
    if not groups or (groups[-1].path, groups[-1].key) != (path, key) or extension.lower() in groups[-1].members:
        groups.append(Group(path, key, {}))
    groups[-1].members[extension.lower()] = (member.offset_data, member.size)


def _read(group: Group, json_label: str | None, options: ImageOptions) -> Converted | Skipped:
    try:
        content = _contents(group)
        image = next((extension for extension in IMAGE_EXTENSIONS if extension in content), None)
        if image is None:
            raise RecordError(f"no image; the sample has {', '.join(sorted(content))}")
        label = _label(content, json_label)
        picture = prepare_picture(content.pop(image), options)
    except (DataError, OSError) as error:
        return Skipped(f"{group.path.name}: {group.key}", reason(error))
    content.pop("cls", None)
    features: dict[str, FeatureValue] = {**content}
    features |= {
        "encoded": picture.encoded,
        "filename": os.fsencode(f"{group.key}.{image}"),
        **dict(zip(("height", "width", "channels"), picture.shape, strict=True)),
    }
    if label is not None:
        features["class/label"] = label
    if picture.rows is not None:
        features[ROWS] = picture.rows
    return Converted(features, picture.kept)


def _contents(group: Group) -> dict[str, bytes]:
    found = {}
    with group.path.open("rb", buffering=0) as file:
        for extension, (offset, size) in group.members.items():
            found[extension] = os.pread(file.fileno(), size, offset)
            if len(found[extension]) != size:
                raise RecordError(f".{extension} is cut short: expected {size} bytes, found {len(found[extension])}")
    return found


def _label(content: dict[str, bytes], json_label: str | None) -> int | None:
    try:
        if json_label is not None:
            value = json.loads(content["json"])[json_label]
        elif "cls" in content:
            value = int(content["cls"])
        else:
            return None
    except (KeyError, TypeError, ValueError) as error:
        value = f"{type(error).__name__}: {error}"
    if type(value) is not int or not -(2**63) <= value < 2**63:
        place = ".cls" if json_label is None else f"{json_label!r} in .json"
        raise RecordError(f"expected a whole number as {place}, found {value}")
    return value
