"""Collectives between ranks and data-parallel training, over plain arrays.

Names are resolved on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowdist.buckets import BucketPlan, ParameterSpec, plan_buckets
    from flowdist.comm import Communicator, SelfCommunicator, connect
    from flowdist.ddp import DistributedDataParallel
    from flowdist.env import RankInfo, rank_info
    from flowdist.errors import (
        DistError,
        DistributedModelMismatchError,
        PlacementError,
        RankFailed,
        UnusedParameterError,
    )
    from flowdist.mpi_comm import MPICommunicator
    from flowdist.placement import Placement
    from flowdist.sbp import Broadcast, Layout, PartialSum, Split
    from flowdist.thread_comm import ThreadCommunicator

_MODULE_OF = {
    "Broadcast": "sbp",
    "BucketPlan": "buckets",
    "Communicator": "comm",
    "DistError": "errors",
    "DistributedDataParallel": "ddp",
    "DistributedModelMismatchError": "errors",
    "Layout": "sbp",
    "MPICommunicator": "mpi_comm",
    "ParameterSpec": "buckets",
    "PartialSum": "sbp",
    "Placement": "placement",
    "PlacementError": "errors",
    "RankFailed": "errors",
    "RankInfo": "env",
    "SelfCommunicator": "comm",
    "Split": "sbp",
    "ThreadCommunicator": "thread_comm",
    "UnusedParameterError": "errors",
    "connect": "comm",
    "plan_buckets": "buckets",
    "rank_info": "env",
}

__all__ = [
    "Broadcast",
    "BucketPlan",
    "Communicator",
    "DistError",
    "DistributedDataParallel",
    "DistributedModelMismatchError",
    "Layout",
    "MPICommunicator",
    "ParameterSpec",
    "PartialSum",
    "Placement",
    "PlacementError",
    "RankFailed",
    "RankInfo",
    "SelfCommunicator",
    "Split",
    "ThreadCommunicator",
    "UnusedParameterError",
    "connect",
    "plan_buckets",
    "rank_info",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
