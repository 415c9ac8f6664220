"""Part files of an OFRecord data set: written under a temporary name, complete when they get their own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from flowdata.errors import ConfigError, RecordError
from flowdata.records.digests import crc32c, digest_path, save_digests
from flowdata.records.frames import HEADER_BYTES, MAX_RECORD_BYTES, temporary_name
from flowdata.records.names import part_name
from flowdata.records.wire import Feature, FeatureValue, encode
from flowdata.sharding import split_range

Features = Mapping[str, Feature | FeatureValue]


class PartWriter:
    """Write one part file; use it in a ``with`` statement.

    The file appears under its name, synced to disk, when the block ends. If the block raises, nothing remains and a
    file that had the name before is untouched.

    Args:
        path: The part file; its directory must exist.
        digests: Also write the records' checksums beside it, see :mod:`flowdata.records.digests`; without, those of a
            file that had the name before are removed.
    """

    def __init__(self, path: str | os.PathLike[str], *, digests: bool = False) -> None:
        self.path = Path(path)
        self._digests: list[int] | None = [] if digests else None
        self.records = 0
        self._temporary = temporary_name(self.path)
        self._file = self._temporary.open("xb", buffering=1 << 20)

    def write(self, features: Features) -> None:
        """Append a record, its features sorted by name.

        Args:
            features: Name to feature, or to a value that :meth:`flowdata.records.wire.Feature.of` accepts.

        Raises:
            RecordError: there is no feature, or the record is too large.
            TypeError: a value has no feature kind.
        """
        self.write_message(encode(features))

    def write_message(self, message: bytes) -> None:
        """Append an already serialized record.

        Raises:
            RecordError: its length is one that readers refuse.
        """
        if not 0 < len(message) <= MAX_RECORD_BYTES:
            raise RecordError(
                f"{self.path}: expected a record of 1 to {MAX_RECORD_BYTES} bytes, got {len(message)}; "
                f"a record needs at least one feature"
            )
        header = len(message).to_bytes(HEADER_BYTES, "little", signed=True)
        self._file.write(header)
        self._file.write(message)
        if self._digests is not None:
            self._digests.append(crc32c(header + message))
        self.records += 1

    def commit(self) -> None:
        """Make the file complete under its own name."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            digest_path(self.path).unlink(missing_ok=True)  # of what had the name before
            os.replace(self._temporary, self.path)
            if self._digests is not None:
                save_digests(self.path, self._digests)
        except BaseException:
            self.abort()
            raise
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def abort(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()


def write_parts(
    directory: str | os.PathLike[str],
    records: Sequence[Features],
    parts: int,
    prefix: str = "part-",
    suffix_length: int = 5,
) -> list[Path]:
    """Write ``records`` in order as ``parts`` files of nearly equal record counts; a part may be empty.

    Args:
        directory: Where the parts go; made if needed.
        records: What to write. Each record is asked for once, in order, so a lazy sequence costs no memory.
        parts: Number of part files.
        prefix: Start of a part's name.
        suffix_length: Digits of a part's number, see :func:`flowdata.dataset.part_name`.

    Returns:
        The paths. If writing fails, the parts written by this call are removed again.

    Raises:
        ConfigError: ``parts`` is less than 1.
        RecordError: a record has no feature.
    """
    if parts < 1:
        raise ConfigError(f"write_parts: expected parts >= 1, got {parts}")
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    try:
        for part in range(parts):
            path = folder / part_name(part, prefix, suffix_length)
            with PartWriter(path) as writer:
                for index in split_range(len(records), parts, part):
                    writer.write(records[index])
            paths.append(path)
    except BaseException:
        _remove(paths)
        raise
    return paths


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
