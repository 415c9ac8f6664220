"""What was packed from a large COCO annotation file, kept for next time and for the other processes of a job."""

from __future__ import annotations

import json
import logging
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np

from flowdata.errors import ConfigError
from flowdata.records.frames import cache_paths, replace_atomically
from flowdata.sources.coco_index import CocoIndex, Ints, build_index, load_annotations

LEAST_BYTES = 1 << 20  # smaller annotation files are read faster than anybody notices

_FORMAT = 1
_log = logging.getLogger(__name__)


def load_index(file: Path, remove_images_without_annotations: bool) -> CocoIndex:
    """The packed content of an annotation file, from the cache if it is for the same size and modification time.

    The cache is in ``.flowdata-index`` beside the file or, where that cannot be written, in the user's cache directory.

    Args:
        file: The annotation file.
        remove_images_without_annotations: See `flowdata.sources.coco.COCOSource`.

    Raises:
        ConfigError: there is no such file.
        RecordError: something in it is not what it should be.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise ConfigError(f"{file}: the annotation file cannot be read ({error.strerror})") from None
    stamp = np.array([_FORMAT, status.st_size, status.st_mtime_ns], np.int64)
    places = cache_paths(file, ".annotated.npz" if remove_images_without_annotations else ".all.npz")
    large = status.st_size >= LEAST_BYTES
    for place in places if large else ():
        if (index := _load(place, stamp)) is not None:
            return index
    index = build_index(load_annotations(file), file, remove_images_without_annotations)
    if large and not any(_save(place, index, stamp) for place in places):
        _log.info("the index of %s can be cached in neither of %s", file, ", ".join(map(str, places)))
    return index


def _load(place: Path, stamp: Ints) -> CocoIndex | None:
    """The index if it is whole (the archive has checksums) and belongs to the file with this stamp."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as content:
            if not np.array_equal(content["stamp"], stamp):
                return None
            arrays = {each.name: content[each.name] for each in fields(CocoIndex)}
            return CocoIndex(**arrays | {"files": tuple(json.loads(arrays["files"].tobytes()))})
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):  # none or damaged: build it
        return None


def _save(place: Path, index: CocoIndex, stamp: Ints) -> bool:
    arrays = {each.name: getattr(index, each.name) for each in fields(CocoIndex)}
    arrays |= {"files": np.frombuffer(json.dumps(index.files).encode(), np.uint8), "stamp": stamp}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(place, lambda file: np.savez(file, **arrays))
    except OSError as error:
        _log.debug("cannot cache an index in %s: %s", place, error)
        return False
    return True
