"""Compiled primitives: made once per shapes, layouts and attributes, kept in a bounded cache, run by any thread."""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.kernels.onednn.library import Library, OneDNNError, load
from flownn.kernels.onednn.memory import (
    Descriptor,
    channels_last,
    descriptor,
    empty_channels_last,
    is_channels_last,
    layout_of,
    workspace,
)
from flownn.kernels.threads import get_num_threads, thread_settings

__all__ = ["Primitive", "Reorder", "append_sum", "as_channels_last", "cached", "thread_count"]

# Arguments of an execution.
SRC, SRC_1, DST, WEIGHTS, BIAS, MEAN, VARIANCE, SCALE, SHIFT, WORKSPACE, SCRATCHPAD = (
    1, 2, 17, 33, 41, 49, 50, 51, 52, 64, 80,
)  # fmt: skip
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS, DIFF_BIAS, DIFF_SCALE, DIFF_SHIFT = 129, 145, 161, 169, 255, 256
MULTIPLE_SRC, POST_OP = 1024, 32768

FORWARD_TRAINING, FORWARD_INFERENCE, BACKWARD, BACKWARD_DATA = 64, 96, 128, 160  # dnnl_prop_kind_t

_QUERY_IMPLEMENTATION, _QUERY_SCRATCHPAD, _QUERY_ARGUMENT = 8, 136, 255
_CAPACITY = 2048


class _ExecArg(ctypes.Structure):
    _fields_ = (("argument", ctypes.c_int), ("memory", ctypes.c_void_p))


class Primitive:
    """A primitive and the memory objects that it is run with.

    Args:
        function: Name of the library's function that makes its descriptor.
        args: What that function takes after the engine; the attributes (post-ops, scratchpad) are added.
        arguments: Numbers of the arguments of an execution, in the order in which their arrays are given.
        post_ops: Appends what is done to each result; called with the library and the handle.
        engine_first: False for ``dnnl_reorder_primitive_desc_create``, which takes none before its arguments.

    Raises:
        OneDNNError: the library has no implementation but its slow reference, or refuses the arguments.
    """

    def __init__(
        self,
        function: str,
        args: Sequence[Any],
        arguments: Sequence[int],
        *,
        post_ops: Callable[[Library, int], None] | None = None,
        engine_first: bool = True,
        allow_reference: bool = False,
    ) -> None:
        self._library = library = load()
        self._handle = self._described = 0
        attributes = library.make("dnnl_primitive_attr_create")
        try:
            library.check("set_scratchpad_mode", library.dnnl_primitive_attr_set_scratchpad_mode(attributes, 1))
            if post_ops is not None:
                operations = library.make("dnnl_post_ops_create")
                try:
                    post_ops(library, operations)
                    library.check("set_post_ops", library.dnnl_primitive_attr_set_post_ops(attributes, operations))
                finally:
                    library.dnnl_post_ops_destroy(operations)
            engine = [library.engine] if engine_first else []
            self._described = library.make(function, *engine, *args, attributes)
        finally:
            library.dnnl_primitive_attr_destroy(attributes)
        self.implementation = self._query_implementation()
        if self.implementation.startswith("ref") and not allow_reference:
            raise OneDNNError(f"onednn: {function} has only the slow reference implementation for this")
        self._handle = library.make("dnnl_primitive_create", self._described)
        self.arguments = tuple(arguments)
        self._scratchpad = self._size(library.dnnl_primitive_desc_query_md(self._described, _QUERY_SCRATCHPAD, 0))
        self._idle: list[_Execution] = []

    def _query_implementation(self) -> str:
        text = ctypes.c_char_p()
        status = self._library.dnnl_primitive_desc_query(
            self._described, _QUERY_IMPLEMENTATION, 0, ctypes.addressof(text)
        )
        self._library.check("dnnl_primitive_desc_query", status)
        return (text.value or b"").decode()

    def _size(self, descriptor: int | None) -> int:
        return int(self._library.dnnl_memory_desc_get_size(descriptor)) if descriptor else 0

    @property
    def hint(self) -> int:
        """Handle of the primitive's descriptor, which the descriptor of a backward primitive is made from."""
        return self._described

    def descriptor(self, argument: int) -> Descriptor:
        """The memory that the primitive wants for an argument, such as the layout it chose for ``WEIGHTS``."""
        found = self._library.dnnl_primitive_desc_query_md(self._described, _QUERY_ARGUMENT, argument)
        return Descriptor(self._library.make("dnnl_memory_desc_clone", found))

    def nbytes(self, argument: int) -> int:
        """Size of that memory."""
        return self._size(self._library.dnnl_primitive_desc_query_md(self._described, _QUERY_ARGUMENT, argument))

    def __call__(self, *memory: NDArray[Any] | int) -> None:
        """Run on arrays, or addresses of memory, one for each of ``arguments``.

        Raises:
            OneDNNError: the library failed.
            MemoryError: it found no memory.
        """
        if len(memory) != len(self.arguments):
            raise TypeError(f"onednn: expected memory for {len(self.arguments)} arguments, got {len(memory)}")
        try:
            execution = self._idle.pop()
        except IndexError:
            execution = _Execution(self)
        library = self._library
        point, pointed = library.dnnl_memory_set_data_handle, execution.pointed
        for i, target in enumerate(memory):  # what points there already costs no call
            address = target if isinstance(target, int) else target.ctypes.data
            if address != pointed[i]:
                point(execution.handles[i], address)
                pointed[i] = address
        if self._scratchpad:
            address = workspace("scratchpad", self._scratchpad)
            if address != pointed[-1]:
                point(execution.handles[-1], address)
                pointed[-1] = address
        status = library.dnnl_primitive_execute(self._handle, execution.stream, execution.count, execution.arguments)
        self._idle.append(execution)
        if status:
            library.check("dnnl_primitive_execute", status)

    def __del__(self) -> None:
        if self._handle:
            self._library.dnnl_primitive_destroy(self._handle)
        if self._described:
            self._library.dnnl_primitive_desc_destroy(self._described)


class _Execution:
    """Memory objects, to be pointed at arrays, and a stream; one thread at a time uses it."""

    def __init__(self, primitive: Primitive) -> None:
        self._library = library = primitive._library
        described = primitive._described
        self._owned: list[int] = []
        self.stream = library.make("dnnl_stream_create", library.engine, 1)
        numbers = list(primitive.arguments)

        def memory(descriptor: int) -> int:
            handle = library.make("dnnl_memory_create", descriptor, library.engine, None)
            self._owned.append(handle)
            return handle

        self.handles = [
            memory(library.dnnl_primitive_desc_query_md(described, _QUERY_ARGUMENT, number)) for number in numbers
        ]
        if primitive._scratchpad:
            self.handles.append(memory(library.dnnl_primitive_desc_query_md(described, _QUERY_SCRATCHPAD, 0)))
            numbers.append(SCRATCHPAD)
        self.count = len(numbers)
        self.pointed: list[int | None] = [None] * self.count
        self._array = (_ExecArg * self.count)(*map(_ExecArg, numbers, self.handles))
        self.arguments = ctypes.addressof(self._array)

    def __del__(self) -> None:
        for handle in self._owned:
            self._library.dnnl_memory_destroy(handle)
        self._library.dnnl_stream_destroy(self.stream)


def append_sum(library: Library, operations: int) -> None:
    """The post-op that adds a result to what its memory held before."""
    library.check("append a sum", library.dnnl_post_ops_append_sum(operations, 1.0, 0, 0))


class Reorder(Primitive):
    """Copy memory of one layout to another, or add it to what is there: called with source and target."""

    def __init__(self, source: Descriptor, target: Descriptor, *, add: bool = False) -> None:
        engine = load().engine
        super().__init__(
            "dnnl_reorder_primitive_desc_create",
            (source.handle, engine, target.handle, engine),
            (SRC, DST),
            post_ops=append_sum if add else None,
            engine_first=False,
            allow_reference=True,
        )


def as_channels_last(x: NDArray[Any]) -> NDArray[Any]:
    """The array (N, C, *spatial) if its memory is dense in the order (N, *spatial, C), else a float32 copy that is."""
    if x.dtype == np.float32 and is_channels_last(x):
        return x
    target, found = channels_last(x.shape), layout_of(x)
    copy = empty_channels_last(x.shape)
    reorder = None
    if found is not None and x.size and x.dtype == np.float32:
        reorder = cached(("reorder", found, target), lambda: Reorder(descriptor(found), descriptor(target)))
    if reorder is None:
        copy[...] = x
    else:
        reorder(x, copy)
    return copy


class _Thread(threading.local):
    """Which settings this thread's OpenMP has been told."""

    generation = -1


_thread = _Thread()


def thread_count() -> int:
    """How many threads a primitive made or run by the calling thread uses; part of every primitive's key.

    OpenMP keeps the number per thread, and starts every thread with the number of processors: so each thread is told
    once, and again when the setting changes. What else it is told, by `threadpoolctl` say, counts.
    """
    if _thread.generation != thread_settings.generation:
        load().omp_set_num_threads(get_num_threads())
        _thread.generation = thread_settings.generation
    return int(load().omp_get_max_threads())


_cache: OrderedDict[Hashable, Any] = OrderedDict()
_cache_lock = threading.Lock()


def cached(key: Hashable, make: Callable[[], Any]) -> Any:
    """What ``make`` gave for this key and number of threads, or None where the library refused; least recent are lost.

    ``make`` gives a `Primitive`, or anything that holds one. A refusal (`OneDNNError`) is remembered as None.
    """
    whole = (thread_count(), key)
    with _cache_lock:
        if whole in _cache:
            _cache.move_to_end(whole)
            return _cache[whole]
    try:
        made = make()
    except OneDNNError:
        made = None
    with _cache_lock:
        _cache[whole] = made
        lost = _cache.popitem(last=False) if len(_cache) > _CAPACITY else None
    del lost  # outside the lock: its handles are destroyed
    return made
