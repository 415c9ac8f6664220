"""Data-parallel training: the same module on every rank, gradients averaged while backward runs."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdist.buckets import ParameterSpec, plan_buckets
from flowdist.comm import Communicator, connect
from flowdist.errors import DistError
from flowdist.manifest import Entry, Manifest, check_equal_on_all_ranks
from flowdist.module_protocol import BackwardPass, GradientSink, HasArray, ModuleLike, ParameterLike
from flowdist.reducer import Reducer

__all__ = ["BackwardPass", "DistributedDataParallel", "GradientSink", "HasArray", "ModuleLike", "ParameterLike"]

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
# Enough to keep any link busy; bounds the copy that a broadcast needs.
_BROADCAST_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class PlainGradient:
    """What ``parameter.grad`` becomes when no tensor type is given: something with the array in ``data``."""

    data: NDArray[Any]


class DistributedDataParallel:
    """Train one module on several ranks, each with its own part of the batch.

    The wrapper is used in place of the module. Whatever else is asked of it (``parameters()``, ``state_dict()``,
    ``train()``, attributes, also when set) is the module's own, without a prefix, so checkpoints of a wrapped and a
    bare module are interchangeable; the module itself is ``.module``. Every rank constructs the wrapper, and every
    rank calls forward and backward equally often.

    After ``backward``, each ``.grad`` is the mean over ranks: the sum divided by the number of ranks, equal to the
    last bit on all of them. (For 2, 4, 8, ... ranks each rank divides, which gives the same bits.) Gradients are views
    of flat buckets, which are reduced in a fixed order by a thread: while backward computes the rest, or after it where
    a few trial steps took less time so. Each ``backward`` is a round of its own, so several forwards may precede it.
    A reduced gradient that is still there (no ``zero_grad``) is added to: mean(previous + local) = previous +
    mean(local).

    If backward raises on one rank, that rank's gradients are useless until the next ``zero_grad``, and the others wait
    for its buckets until their communicator's time is up, or until the launcher ends the job; if it goes on
    regardless, a bucket of another round is refused on all ranks. A backward that reaches no parameter of the module at
    all cannot be noticed by this rank; the others run into the same time limit.

    In a job of one rank nothing is sent and no thread is started.

    Args:
        module: Must be equal on all ranks in names, shapes and dtypes; values are taken from rank 0.
        broadcast_buffers: Overwrite the buffers by those of rank 0 before each forward that trains: module in training
            mode, gradients enabled, not under `no_sync`. Any other forward sends nothing.
        bucket_size: Number of parameters at which a bucket closes; None for no such limit.
        bucket_cap_mb: MiB at which a bucket closes, whichever limit comes first (the first bucket at 1 MiB); None for
            no such limit.
        comm: The ranks to train on; the wrapper takes a duplicate. None connects to the job of this process.
        find_unused_parameters: Allow parameters without a gradient. One that is unused on every rank keeps its
            ``.grad`` as it was, None included; one that some rank used gets the sum over ranks divided by the number of
            all ranks. "Used" means since the last reduction, backward calls under `no_sync` included.
        grad_enabled: Tells whether gradients are being recorded.
        as_gradient: Makes what ``parameter.grad`` shall be from an array, without copying it.

    Raises:
        DistributedModelMismatchError: the ranks hold different modules or options; on all ranks.
        UnusedParameterError: from ``backward`` on all ranks, if a parameter has no gradient on some rank.
        DistError: no trainable parameter, a parameter that is no float array, or a module that is wrapped already.

    Reference:
        ``oneflow.nn.parallel.DistributedDataParallel`` (bucket sizes) and ``torch.nn.parallel.DistributedDataParallel``
        (wrapper, `no_sync`, unused parameters). OneFlow gives an unused parameter a zero gradient.
    """

    module: Any

    def __init__(
        self,
        module: ModuleLike,
        *,
        broadcast_buffers: bool = True,
        bucket_size: int | None = 10,
        bucket_cap_mb: float | None = 25.0,
        comm: Communicator | None = None,
        find_unused_parameters: bool = False,
        grad_enabled: Callable[[], bool] = lambda: True,
        as_gradient: Callable[[NDArray[Any]], Any] = PlainGradient,
    ) -> None:
        _check_not_wrapped(module)
        self._set("module", module)
        self._set("_grad_enabled", grad_enabled)
        self._set("_broadcast_buffers", broadcast_buffers)
        self._set("_comm", connect() if comm is None else comm.duplicate())
        self._set("_reducer", None)
        options = {
            "broadcast_buffers": broadcast_buffers,
            "bucket_size": bucket_size,
            "bucket_cap_mb": bucket_cap_mb,
            "find_unused_parameters": find_unused_parameters,
        }
        try:
            # First of all, so that whatever is wrong after it is wrong on all ranks.
            check_equal_on_all_ranks(self._comm, _manifest(module, options))
            trainable = _trainable_parameters(module)
            cap_bytes = None if bucket_cap_mb is None else int(bucket_cap_mb * 2**20)
            specs = [ParameterSpec(name, tuple(p.shape), p.data.dtype) for name, p in trainable]
            plan = plan_buckets(specs, bucket_size=bucket_size, bucket_cap_bytes=cap_bytes)
            if self._comm.size == 1:
                return
            _broadcast_arrays(
                self._comm, [tensor for _, tensor in [*module.named_parameters(), *module.named_buffers()]]
            )
        except BaseException:
            self._comm.close()
            raise
        reducer = Reducer(
            trainable, plan, self._comm, find_unused_parameters=find_unused_parameters, as_gradient=as_gradient
        )
        self._set("_reducer", reducer)
        # Without this the thread, and the sinks on the parameters, would outlive a wrapper that nobody closed.
        weakref.finalize(self, reducer.release).atexit = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's forward, with the buffers of rank 0 if it trains."""
        reducer: Reducer | None = self._reducer
        if reducer is not None and self._grad_enabled():
            reducer.note_forward()
            if self._broadcast_buffers and reducer.synchronise and self.module.training:
                self.sync_buffers()
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Add gradients up locally: forward and backward inside send nothing.

        The first backward outside reduces everything accumulated since. Put the forward inside as well; nesting is
        harmless, and the previous state returns also after an exception.
        """
        reducer: Reducer | None = self._reducer
        if reducer is None:
            yield
            return
        before = reducer.synchronise
        reducer.synchronise = False
        try:
            yield
        finally:
            reducer.synchronise = before

    def sync_buffers(self) -> None:
        """Overwrite the buffers by those of rank 0, for example before evaluating or saving; every rank calls this."""
        if self._reducer is not None:
            self._reducer.settle()
            _broadcast_arrays(self._comm, [buffer for _, buffer in self.module.named_buffers()])

    def close(self) -> None:
        """Give the module its plain gradients back, end the thread, close the communicator; every rank calls this."""
        if self._reducer is not None:
            self._reducer.close()
            self._set("_reducer", None)
        self._comm.close()

    def __getattr__(self, name: str) -> Any:
        # Only called for what the wrapper itself does not have.
        if name == "module" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = getattr(self.module, name)
        if inspect.ismethod(value) and value.__self__ is self.module:
            return self._as_own_method(value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "module" or name in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: {name!r} cannot be replaced; wrap another module instead")
        setattr(self.module, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.module, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.module)})

    def __repr__(self) -> str:
        body = "\n".join("  " + line for line in repr(self.module).split("\n"))
        return f"{type(self).__name__}(\n{body}\n)"

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _as_own_method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Keep ``model = model.train()`` wrapped: a method that returns the module returns the wrapper."""

        @functools.wraps(method)
        def forwarded(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self if result is self.module else result

        return forwarded


def _check_not_wrapped(module: ModuleLike) -> None:
    if isinstance(module, DistributedDataParallel):
        raise DistError("DistributedDataParallel: this module is wrapped already")
    for name, parameter in module.named_parameters():
        if getattr(parameter, "grad_sink", None) is not None:
            raise DistError(
                f"DistributedDataParallel: parameter {name!r} belongs to another wrapper; close() that one first"
            )


def _trainable_parameters(module: ModuleLike) -> list[tuple[str, ParameterLike]]:
    trainable = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    if not trainable:
        raise DistError(
            f"DistributedDataParallel: {type(module).__name__} has no parameter with requires_grad=True; "
            "use the module without the wrapper"
        )
    for name, parameter in trainable:
        if parameter.data.dtype.name not in _FLOATS:
            raise DistError(
                f"DistributedDataParallel: expected float parameters, got {parameter.data.dtype} for {name!r}"
            )
    return trainable


def _manifest(module: ModuleLike, options: dict[str, Any]) -> Manifest:
    return Manifest(
        class_name=f"{type(module).__module__}.{type(module).__qualname__}",
        options=tuple(options.items()),
        parameters=tuple(
            Entry(name, tuple(p.shape), p.data.dtype.name, bool(p.requires_grad))
            for name, p in module.named_parameters()
        ),
        buffers=tuple(Entry(name, tuple(b.shape), b.data.dtype.name) for name, b in module.named_buffers()),
    )


def _broadcast_arrays(comm: Communicator, tensors: Sequence[HasArray]) -> None:
    """Overwrite arrays of any types by those of rank 0, as bytes, few large messages instead of many small ones."""
    for chunk in _chunks([tensor.data for tensor in tensors]):
        message = np.concatenate([np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in chunk])
        comm.broadcast(message)
        start = 0
        for array in chunk if comm.rank else []:
            array[...] = message[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
            start += array.nbytes


def _chunks(arrays: Sequence[NDArray[Any]]) -> Iterator[list[NDArray[Any]]]:
    chunk: list[NDArray[Any]] = []
    for array in arrays:
        if chunk and sum(member.nbytes for member in chunk) + array.nbytes > _BROADCAST_CHUNK_BYTES:
            yield chunk
            chunk = []
        chunk.append(array)
    if chunk:
        yield chunk
