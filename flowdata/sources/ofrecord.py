"""A directory of OFRecord part files as a numbered set of records."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flowdata.errors import ConfigError, RecordError
from flowdata.records.digests import Digests, check_digest, digest_path, load_digests
from flowdata.records.frames import HEADER_BYTES, Offsets, index_parts
from flowdata.records.names import FILE_NAME, part_name
from flowdata.records.wire import decode
from flowdata.sample import ArraySpec, Sample, SampleKey, Specs

if TYPE_CHECKING:
    from flowdata.dataset import DatasetInfo

RECORD_SPEC = ArraySpec((), np.dtype(object), "record")  # a mapping from feature name to Feature; never in a batch
_MAX_OPEN_FILES = 256  # of each process, well below the usual limit of 1024; further parts are opened for each read


class OFRecordSource:
    """Read the records of the part files ``<prefix><number>`` in a directory, in order of number and offset.

    The directory is never listed: exactly ``parts`` names are expected. What is not given comes from the
    `dataset.json` beside or in the directory, if there is one.

    Each sample holds the value ``record``, the parsed features by name; decoder stages make arrays of it.

    Args:
        dir: Directory of the part files.
        parts: Number of part files of the whole data set; needed where there is no `dataset.json`.
        prefix: Start of a part file's name; ``part-`` unless `dataset.json` says otherwise.
        suffix_length: Least number of digits of a part's number, padded with zeros; -1 means no padding. 5 unless
            `dataset.json` says otherwise.
        described: Whether to look for a `dataset.json`; without it the arguments alone decide.
        verify: ``digests`` compares each record that is read with its checksum in the file beside its part, as
            `flowdata convert … --digests` writes it; that takes about 0.15 ms per 100 kB.

    Raises:
        ConfigError: from ``open``, when the directory or a part file is missing, ``parts`` is needed, or an argument
            contradicts `dataset.json`.
        RecordError: from ``open`` and ``read``, when a part file is damaged, a digest is wrong, or the number of
            records is not the one that `dataset.json` states.

    Reference:
        Naming as for ``oneflow.nn.OFRecordReader``; an empty part file is legal here.
    """

    def __init__(
        self,
        dir: str | os.PathLike[str],
        parts: int | None = None,
        prefix: str | None = None,
        suffix_length: int | None = None,
        *,
        described: bool = True,
        verify: Literal["digests"] | None = None,
    ) -> None:
        if parts is not None and parts < 1:
            raise ConfigError(f"OFRecordSource: expected parts >= 1, got {parts}")
        self.dir = Path(dir)
        self.parts = parts
        self.prefix = prefix
        self.suffix_length = suffix_length
        if verify not in (None, "digests"):
            raise ConfigError(f"OFRecordSource: expected verify to be digests or nothing, got {verify!r}")
        self.described = described
        self.verify = verify
        self._reset()

    def _reset(self) -> None:
        self._paths: list[Path] = []
        self._names: list[str] = []
        self._offsets: list[Offsets] = []
        self._digests: list[Digests] = []
        self._starts = [0]  # number of the first record of each part, and the number of all records
        self._descriptors: dict[int, int] = {}
        self._found: tuple[int | None, str | None, int | None, bool] | None = None

    def __repr__(self) -> str:
        return (
            f"OFRecordSource({str(self.dir)!r}, parts={self.parts}, prefix={self.prefix!r}, "
            f"suffix_length={self.suffix_length})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """The arguments; once open, with what `dataset.json` said, which nobody has to read again."""
        found = self._found or (self.parts, self.prefix, self.suffix_length, self.described)
        return dict(zip(("parts", "prefix", "suffix_length", "described"), found, strict=True)) | {
            "dir": self.dir, "verify": self.verify
        }  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    # -- what there is -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Find the part files and load or build their index."""
        if self._paths:
            return
        described = self._description()
        paths = self._expected_paths(described)
        try:
            offsets = index_parts(paths)
        except OSError as error:
            raise RecordError(f"{error.filename}: cannot be read ({error.strerror})") from None
        starts = list(accumulate((len(each) - 1 for each in offsets), initial=0))
        if described:
            info, split = described
            expected = info.splits[split].records
            if expected != starts[-1]:
                raise RecordError(
                    f"{self.dir}: expected {expected} records in {len(paths)} part files as {FILE_NAME} says of split "
                    f"{split!r}, found {starts[-1]}; convert the data again or correct {FILE_NAME}"
                )
            self._found = len(paths), info.part_name_prefix, info.part_name_suffix_length, False
        if self.verify:
            self._digests = [self._digests_of(path, len(each) - 1) for path, each in zip(paths, offsets, strict=True)]
        self._paths, self._names, self._offsets, self._starts = paths, [*map(str, paths)], offsets, starts

    def close(self) -> None:
        """Close this process's files; ``open`` may be called again."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._reset()

    def __len__(self) -> int:
        """Number of records in all parts."""
        self.open()
        return self._starts[-1]

    def part_starts(self) -> Offsets:
        """The number of each part's first record and, as last element, the number of all records."""
        self.open()
        return np.array(self._starts, np.int64)

    def output_spec(self) -> Specs:
        """The one value ``record``."""
        return {"record": RECORD_SPEC}

    def fingerprint(self) -> str:
        """Digest of the part files' names, sizes and record counts."""
        self.open()
        content = [
            (path.name, int(offsets[-1]), len(offsets) - 1)
            for path, offsets in zip(self._paths, self._offsets, strict=True)
        ]
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, key: SampleKey) -> Sample:
        """Read and parse one record.

        Raises:
            IndexError: there is no such record.
            RecordError: the file changed since ``open``, the digest is wrong, or the record does not parse.
        """
        part, offset, length = self.locate(key.index)
        skipped = 0 if self.verify else HEADER_BYTES  # the index knows what the header says; the digest covers it
        frame = self._pread(part, HEADER_BYTES + length - skipped, offset + skipped)
        origin = f"{self._names[part]} at byte {offset}"
        if (found := len(frame) + skipped - HEADER_BYTES) != length:
            raise RecordError(
                f"{origin}: expected a record of {length} bytes, found {max(found, 0)}; the file was cut short while "
                f"it was in use"
            )
        try:
            if self.verify:
                check_digest(frame, int(self._digests[part][key.index - self._starts[part]]))
                frame = frame[HEADER_BYTES:]
            record = decode(frame)
        except RecordError as error:
            raise RecordError(f"{origin}: {error}") from None
        return Sample(key, {"record": record}, origin)

    def origin(self, index: int) -> tuple[str, int]:
        """Part file and byte offset of record ``index``."""
        part, offset, _ = self.locate(index)
        return self._names[part], offset

    def locate(self, index: int) -> tuple[int, int, int]:
        """Part number, offset of the header and length of the message of record ``index``."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.dir}: there are {len(self)} records, so there is no record {index}")
        part = bisect_right(self._starts, index) - 1
        row = index - self._starts[part]
        offset, end = self._offsets[part][row : row + 2].tolist()
        return part, offset, end - offset - HEADER_BYTES

    def _pread(self, part: int, length: int, offset: int) -> bytes:
        """Bytes of a part file; ``pread`` has no file position that threads or forked processes would share."""
        descriptor = self._descriptors.get(part)
        if descriptor is None:
            descriptor = os.open(self._paths[part], os.O_RDONLY)
            if len(self._descriptors) >= _MAX_OPEN_FILES:
                try:
                    return os.pread(descriptor, length, offset)
                finally:
                    os.close(descriptor)
            kept = self._descriptors.setdefault(part, descriptor)
            if kept != descriptor:  # another thread was faster
                os.close(descriptor)
                descriptor = kept
        return os.pread(descriptor, length, offset)

    # -- finding the files -------------------------------------------------------------------------------------------

    def _description(self) -> tuple[DatasetInfo, str] | None:
        if not self.dir.is_dir():
            raise ConfigError(f"{self.dir}: expected a directory of OFRecord part files, found {_what_is(self.dir)}")
        if not self.described:
            return None
        from flowdata.dataset import dataset_of  # not at the top: worker processes can do without its 10 MB

        return dataset_of(self.dir)

    def _expected_paths(self, described: tuple[DatasetInfo, str] | None) -> list[Path]:
        prefix = "part-" if self.prefix is None else self.prefix
        suffix_length = 5 if self.suffix_length is None else self.suffix_length
        parts = self.parts
        if described is not None:
            info, split = described
            parts, prefix, suffix_length = (
                self._agreed(name, given, stated)
                for name, given, stated in (
                    ("parts", self.parts, info.splits[split].parts),
                    ("prefix", self.prefix, info.part_name_prefix),
                    ("suffix_length", self.suffix_length, info.part_name_suffix_length),
                )
            )
        if parts is None:
            raise ConfigError(
                f"{self.dir}: parts, the number of part files, is needed because no {FILE_NAME} describes this "
                f"directory; it has {self._similar_files(prefix)}"
            )
        paths = [self.dir / part_name(part, prefix, suffix_length) for part in range(parts)]
        if missing := [path.name for path in paths if not path.is_file()]:
            raise ConfigError(
                f"{self.dir}: expected {parts} part files, prefix {prefix!r}, suffix length {suffix_length}; missing: "
                f"{_listing(missing)}; the directory has {self._similar_files(prefix)}"
            )
        return paths

    def _agreed(self, name: str, given: Any, stated: Any) -> Any:
        if given is not None and given != stated:
            raise ConfigError(
                f"{self.dir}: {name} is given as {given!r}, but {FILE_NAME} says {stated!r}; leave {name} out or "
                f"correct {FILE_NAME}"
            )
        return stated

    def _similar_files(self, prefix: str) -> str:
        names = sorted(each.name for each in self.dir.iterdir() if each.is_file() and not each.name.startswith("."))
        similar = [name for name in names if name.startswith(prefix)]
        if similar or not names:
            return f"{_listing(similar)} with prefix {prefix!r}"
        return f"no file with prefix {prefix!r}, but {_listing(names)}"

    def _digests_of(self, path: Path, records: int) -> Digests:
        digests = load_digests(path, records)
        if digests is None:
            raise ConfigError(
                f"{path}: verify: digests needs {digest_path(path).name} beside it; convert the data with --digests, "
                f"or leave verify out"
            )
        return digests


def _what_is(path: Path) -> str:
    if path.exists():
        return "a file"
    parent = next(each for each in path.absolute().parents if each.exists())
    return f"nothing of that name (there is {parent})"


def _listing(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} file{'s' * (len(names) != 1)} ({shown})" if names else "no file"
