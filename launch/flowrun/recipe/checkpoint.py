"""Checkpoints of a run: one safetensors file each, complete or absent.

A file holds the model's tensors as ``model.<name>``, the optimizer's as ``optimizer.state.<parameter>.<name>``, and in
its metadata everything else that the next step depends on. It is written under a temporary name, fsynced and renamed,
so that a name that ends in ``.safetensors`` is always a whole checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flownn as flow
from flowdata import ConfigError, RecordError
from flownn.serialize import SerializeError, flatten, load_metadata, unflatten

_NAME = re.compile(r"step-(\d{8})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after ``step`` optimizer steps.

    Args:
        step: Optimizer steps done.
        model: The model's ``state_dict``.
        optimizer: The optimizer's ``state_dict``.
        schedule: The learning-rate schedule's ``state_dict``.
        loader: The training loader's ``state_dict``.
        seconds: Training time so far, for the summary's rate.
        data_wait_seconds: The part of it that was spent waiting for data.
        classes: Class names by label.
        config: The resolved recipe that made it.
    """

    step: int
    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    loader: Mapping[str, Any]
    seconds: float
    data_wait_seconds: float
    classes: list[str]
    config: Mapping[str, Any]


def save_checkpoint(directory: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write one checkpoint and delete all but the ``keep`` newest."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"step-{checkpoint.step:08d}.safetensors"
    tensors, tree = flatten(vars(checkpoint))
    flow.save(tensors, path, metadata={"flowrun": tree})
    for old in list_checkpoints(directory)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        RecordError: the file is not a checkpoint of a recipe, or is damaged.
    """
    try:
        tree = load_metadata(path).get("flowrun")
        if tree is None:
            raise RecordError(
                f"checkpoint {path}: holds only weights; expected one that flowrun wrote (checkpoints/step-*)"
            )
        return Checkpoint(**unflatten(flow.load(path), tree))
    except OSError as error:
        raise RecordError(f"checkpoint {path}: cannot be read ({error.strerror})") from error
    except SerializeError as error:
        raise RecordError(f"checkpoint: {error}") from error


def list_checkpoints(directory: Path) -> list[Path]:
    """The complete checkpoints in a directory, oldest first; none if it does not exist."""
    return sorted(path for path in directory.glob("step-*.safetensors") if _NAME.fullmatch(path.name))


def newest_checkpoint(place: Path) -> Path:
    """The checkpoint that ``place`` means: itself, or the newest in a run directory.

    Raises:
        ConfigError: there is none.
    """
    if place.is_file():
        return place
    found = list_checkpoints(place / "checkpoints") or list_checkpoints(place)
    if not found:
        what = "holds no complete checkpoint" if place.is_dir() else "does not exist"
        raise ConfigError(f"checkpoint: {place} {what}; expected a .safetensors file or the directory of a run")
    return found[-1]
