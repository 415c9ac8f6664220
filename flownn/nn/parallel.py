"""Data-parallel training of modules, by `flowdist`."""

from __future__ import annotations

from flowdist.comm import Communicator
from flowdist.ddp import DistributedDataParallel as _DistributedDataParallel
from flownn.autograd import is_grad_enabled, wrap
from flownn.nn.modules.module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(_DistributedDataParallel):
    """Train one module on several ranks, each with its own part of the batch.

    The wrapper is used in place of the module, all of whose attributes it has, without a prefix. After ``backward``
    each ``grad`` is the mean over ranks; it is reduced while backward computes the rest.

    Args:
        module: Equal on all ranks in names, shapes and dtypes; values are taken from rank 0.
        broadcast_buffers: Overwrite the buffers by those of rank 0 before each forward that trains.
        bucket_size: Number of parameters at which a bucket closes; None for no such limit.
        bucket_cap_mb: MiB at which a bucket closes (the first at 1 MiB); None for no such limit.
        comm: The ranks to train on; None connects to the job of this process.
        find_unused_parameters: Allow parameters without a gradient.

    Raises:
        DistError: the ranks hold different modules, or there is nothing to train; see `flowdist`.

    Reference:
        `flowdist.DistributedDataParallel`, for modules and tensors of this package;
        ``oneflow.nn.parallel.DistributedDataParallel``.
    """

    def __init__(
        self,
        module: Module,
        *,
        broadcast_buffers: bool = True,
        bucket_size: int | None = 10,
        bucket_cap_mb: float | None = 25.0,
        comm: Communicator | None = None,
        find_unused_parameters: bool = False,
    ) -> None:
        super().__init__(
            module,
            broadcast_buffers=broadcast_buffers,
            bucket_size=bucket_size,
            bucket_cap_mb=bucket_cap_mb,
            comm=comm,
            find_unused_parameters=find_unused_parameters,
            grad_enabled=is_grad_enabled,
            as_gradient=wrap,
        )
