"""`dataset.json`: what a converted data set says about itself, so that nobody has to say it again.

It lies in the data set's directory, beside one folder of part files for each split: ``DIR/dataset.json``,
``DIR/train/part-00000`` … and ``DIR/val/part-00000`` ….
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from flowdata.config import Config, validate
from flowdata.errors import ConfigError
from flowdata.records.frames import replace_atomically
from flowdata.records.names import FILE_NAME, part_name
from flowdata.records.wire import Kind

__all__ = ["FILE_NAME", "DatasetInfo", "SplitInfo", "dataset_of", "part_name"]


class SplitInfo(BaseModel):
    """One split: its folder within the data set, its number of part files and of records."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    directory: str
    parts: PositiveInt
    records: NonNegativeInt


class DatasetInfo(BaseModel):
    """The content of a `dataset.json`.

    Args:
        classes: Names of the classes; the position is the label.
        splits: Name of each split to its folder and counts.
        part_name_prefix: Start of a part file's name.
        part_name_suffix_length: Least number of digits of a part's number.
        features: Name of each feature to its kind.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    format: Literal["ofrecord"] = "ofrecord"
    classes: tuple[str, ...]
    splits: dict[str, SplitInfo]
    part_name_prefix: str = "part-"
    part_name_suffix_length: int = 5
    features: dict[str, Kind] = Field(default_factory=dict)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> DatasetInfo:
        """Read the `dataset.json` of a data set's directory.

        Raises:
            ConfigError: there is none, or its content is not what this version understands.
        """
        path = Path(directory) / FILE_NAME
        try:
            tree = json.loads(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); `flowdata convert` writes it") from None
        except ValueError as error:
            raise ConfigError(f"{path}: expected JSON ({error})") from None
        return validate(cls, Config(tree, str(path)))

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write `dataset.json` into a data set's directory, in one step."""
        path = Path(directory) / FILE_NAME
        text = self.model_dump_json(indent=2) + "\n"
        replace_atomically(path, lambda file: file.write(text.encode()))
        return path


def dataset_of(directory: str | os.PathLike[str]) -> tuple[DatasetInfo, str] | None:
    """The `dataset.json` that describes a folder of part files, and the name of the split that the folder is.

    It lies in the folder's parent or in the folder itself; one that does not list the folder says nothing about it.

    Raises:
        ConfigError: there is one, but it cannot be understood.
    """
    folder = Path(directory).resolve()
    for root in (folder.parent, folder):
        if (root / FILE_NAME).is_file():
            info = DatasetInfo.load(root)
            for name, split in info.splits.items():
                if (root / split.directory).resolve() == folder:
                    return info, name
    return None
