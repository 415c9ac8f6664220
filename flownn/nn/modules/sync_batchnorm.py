"""Batch normalisation over the batches of all ranks, which `flowdist` connects."""

from __future__ import annotations

import copy
import functools
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flowdist.comm import Communicator, connect
from flownn import backend
from flownn.nn.modules.module import Module
from flownn.nn.modules.norm import _BatchNorm, _FusedBatchNorm
from flownn.tensor import Tensor

__all__ = ["SyncBatchNorm"]


class SyncBatchNorm(_BatchNorm):
    """Normalise each channel over the batches of all ranks together, as one process would that had them all.

    In training mode every rank calls forward, and backward, equally often and in the same order; batches may differ in
    size, and be empty on some ranks. The running statistics are equal on all ranks. The gradients of scale and shift
    are this rank's part, for `flownn.nn.parallel.DistributedDataParallel` to average. In evaluation mode, and in a job
    of one rank, nothing is sent.

    Forward and backward use ``comm`` in the thread that calls them, so that its collectives keep their order; the
    data-parallel wrapper, whose reductions overlap with backward, has a duplicate of its own.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of a new batch in the running statistics; None means the plain mean over all batches.
        affine: Whether to learn a scale and a shift per channel.
        track_running_stats: Whether to keep running statistics; without, a rank's own batch serves in evaluation mode.
        comm: The ranks; None means those of the job of this process, which the first forward that trains connects to.

    Shape:
        Input (N, C, *) with up to three further dims; output the same.

    Raises:
        ShapeError: another number of dims or channels, or, in training mode on all ranks, one value per channel in all.
        DistError: a rank does not come, or the ranks do not make the same calls.

    Reference:
        ``torch.nn.SyncBatchNorm`` and ``oneflow.nn.SyncBatchNorm``; here on every device.

    >>> import flownn as flow
    >>> SyncBatchNorm(2)(flow.randn(4, 2, 8, 3)).shape
    flownn.Size([4, 2, 8, 3])
    """

    input_dims = (2, 3, 4, 5)
    input_form = "(N, C, ...) of 2 to 5 dims"

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-05,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        comm: Communicator | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.comm = comm

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, comm: Communicator | None = None) -> Module:
        """Put layers of this class in the place of all `BatchNorm1d`, ``2d`` and ``3d`` in ``module``.

        They share the parameters and buffers of those they replace, so an optimizer may have these already. Hooks on a
        replaced layer are gone with it.

        Args:
            module: A batch norm, or whatever contains some; changed in place.
            comm: As for the layer itself.

        Returns:
            ``module``, or the new layer if it was a batch norm itself.

        Raises:
            ValueError: there is a fused batch norm, which has no counterpart; then nothing was changed.
        """
        for name, each in module.named_modules():
            if isinstance(each, _FusedBatchNorm):
                raise ValueError(
                    f"convert_sync_batchnorm: {name or 'the module'} is a {type(each).__name__}, which cannot be "
                    "synchronised; use a batch norm, an addition and a ReLU instead"
                )
        return cls._converted(module, comm)

    @classmethod
    def _converted(cls, module: Module, comm: Communicator | None) -> Module:
        if isinstance(module, _BatchNorm):
            sync = cls(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats, comm
            )
            for name, value in [*module._parameters.items(), *module._buffers.items()]:
                setattr(sync, name, value)
            sync.training = module.training
            return sync
        for name, child in list(module._modules.items()):
            if child is not None:
                module.add_module(name, cls._converted(child, comm))
        return module

    def _arguments(self, input: Tensor) -> tuple[tuple[Tensor | None, ...], dict[str, Any]]:
        tensors, attributes = super()._arguments(input)
        if self.training and (ranks := self._ranks()).size > 1:
            attributes["sum_over_ranks"] = functools.partial(_sum_over_ranks, ranks)
        return tensors, attributes

    def _ranks(self) -> Communicator:
        return _job() if self.comm is None else self.comm

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self.comm)] = self.comm  # a copy of the layer talks to the same ranks
        duplicate = type(self).__new__(type(self))
        memo[id(self)] = duplicate
        duplicate.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return duplicate


@functools.cache
def _job() -> Communicator:
    """The job of this process, for all layers that were not told otherwise."""
    return connect()


def _sum_over_ranks(ranks: Communicator, vector: NDArray[Any]) -> Any:
    total = np.array(backend.to_device(vector, backend.CPU), np.float64)
    ranks.allreduce(total)
    return backend.to_device(total, backend.device_of(vector))
