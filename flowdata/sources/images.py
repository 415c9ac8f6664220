"""Picture files below a directory, as records that the OFRecord decoders understand."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from flowdata.errors import ConfigError, RecordError
from flowdata.records.wire import Feature
from flowdata.sample import Sample, SampleKey, Specs
from flowdata.sources.ofrecord import RECORD_SPEC

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})  # what flowdata.codec decodes


class ImageFiles:
    """Every picture below a directory, sorted by path: what a trained model is asked about.

    Each sample holds the value ``record`` with the features of a converted data set: ``encoded``, the file's bytes,
    and ``class/label``, which is -1 because nobody has said what the picture shows.

    Args:
        dir: Where to look; subdirectories too. Files are taken by suffix: .jpg, .jpeg, .png, .webp,
            .bmp.

    Raises:
        ConfigError: from ``open``, when the directory is missing or holds no picture.
        RecordError: from ``read``, when a file cannot be read.
    """

    def __init__(self, dir: str | os.PathLike[str]) -> None:
        self.dir = Path(dir)
        self.paths: list[str] = []

    def open(self) -> None:
        """List the files."""
        if self.paths:
            return
        if not self.dir.is_dir():
            raise ConfigError(f"{self.dir}: expected a directory of pictures, found no such directory")
        self.paths = sorted(str(path) for path in self.dir.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise ConfigError(f"{self.dir}: expected pictures ({', '.join(sorted(SUFFIXES))}), found none")

    def close(self) -> None:
        """Forget the list; ``open`` makes it again."""
        self.paths = []

    def __len__(self) -> int:
        """Number of pictures."""
        self.open()
        return len(self.paths)

    def output_spec(self) -> Specs:
        """The one value ``record``."""
        return {"record": RECORD_SPEC}

    def read(self, key: SampleKey) -> Sample:
        """Read one file."""
        path = self.paths[key.index]
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror})") from None
        return Sample(key, {"record": {"encoded": Feature.of(data), "class/label": Feature.of(-1)}}, path)

    def origin(self, index: int) -> tuple[str, None]:
        """The file of picture ``index``."""
        return self.paths[index], None

    def fingerprint(self) -> str:
        """Digest of the relative paths and sizes."""
        self.open()
        content = [(os.path.relpath(path, self.dir), os.path.getsize(path)) for path in self.paths]
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]
