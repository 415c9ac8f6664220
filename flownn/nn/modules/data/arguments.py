"""Arguments that several data modules have."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowdata.errors import ConfigError
from flowdata.sharding import ShardSpec
from flowdist.env import rank_info
from flownn import backend
from flownn.errors import DeviceError

__all__ = ["argument_errors", "check_count", "local_shard", "new_seed", "warn_of_name"]


def local_shard(name: str, shard: ShardSpec | None, device: Any, placement: Any, sbp: Any) -> ShardSpec:
    """Whose part of the data a module delivers: by default the part of this process in its job.

    Raises:
        NotImplementedError: ``placement`` or ``sbp`` is given.
        DeviceError: ``device`` is not the cpu.
    """
    for argument, value in (("placement", placement), ("sbp", sbp)):
        if value is not None:
            raise NotImplementedError(
                f"{name}: {argument} asks for global tensors, which this module does not make yet; leave placement and "
                "sbp out: each rank then gets its own part"
            )
    if device is not None and backend.device(device) != backend.CPU:
        raise DeviceError(f"{name}: data are read and decoded in host memory, got device {device}; move the result")
    if shard is not None:
        return shard
    info = rank_info()
    return ShardSpec(info.rank, info.world_size)


def new_seed() -> int:
    """A seed that nobody can foresee."""
    return secrets.randbits(63)


def check_count(name: str, argument: str, value: Any) -> int:
    """``value`` if it is an int of at least 1.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"{name}: expected {argument} to be an int of at least 1, got {value!r}")
    return int(value)


def warn_of_name(module: str, name: str | None) -> None:
    """Say that ``name``, which names nothing, will go away."""
    if name is not None:
        warnings.warn(f"{module}: name has no effect and will be removed", DeprecationWarning, stacklevel=3)


@contextmanager
def argument_errors(module: str, stage: str) -> Iterator[None]:
    """Turn what a stage of `flowdata` says about its arguments into a ``ValueError`` of the module."""
    try:
        yield
    except ConfigError as error:
        raise ValueError(str(error).replace(stage, module)) from None
