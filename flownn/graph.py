"""The recorded graph: results point to the nodes that computed them, nodes to the nodes or leaf tensors they used.

No node holds a tensor that is not a leaf, so an array that no closure saved is freed with its tensor.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flownn import anomaly

Vjp = Callable[[Any], Sequence[Any]]
Hook = Callable[[Any], Any]


class TensorBase:
    """What the graph knows of a tensor; `flownn.Tensor` adds everything that users see."""

    __slots__ = ("__dict__", "__weakref__", "_requires_grad", "data", "grad_fn")

    data: Any
    _requires_grad: bool
    grad_fn: Node | None

    # Few tensors have these; the instance's own are in its __dict__.
    grad: Any = None
    grad_sink: Any = None
    _hooks: dict[int, Hook] | None = None
    _accumulate_hooks: dict[int, Hook] | None = None
    _base: TensorBase | None = None
    _views: list[weakref.ref[TensorBase]] | None = None


class Summand:
    """A gradient that a vjp gives as a function: computed only where it is needed, and there added to what has arrived.

    Args:
        compute: Takes an array of the gradient's shape and dtype, or None. It may add the gradient to the array in
            place and return that very array; else it returns the gradient alone.
    """

    __slots__ = ("compute",)

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self.compute = compute

    def __call__(self) -> Any:
        return self.compute(None)


class OverwritingVjp:
    """A vjp that can use memory that is needed no more, of the gradient it is given and of what it saved.

    Args:
        compute: Called as ``compute(g, mine, last)``. With ``mine`` nobody else holds ``g``: it may change it, and give
            it or views of it as gradients. With ``last`` it is not called again: it may do so with what it saved, where
            nobody else holds that, which it must find out. Without, both are left alone, as by every other vjp. The
            gradients of an op with several outputs are never ``mine``.
    """

    __slots__ = ("compute",)

    def __init__(self, compute: Callable[[Any, bool, bool], Sequence[Any]]) -> None:
        self.compute = compute

    def __call__(self, g: Any) -> Sequence[Any]:
        """The gradients; nothing is overwritten."""
        return self.compute(g, False, False)

    @property
    def saved_arrays(self) -> tuple[Any, ...]:
        """Where to look for what it keeps."""
        return (self.compute,)


class PlacedGradient:
    """A gradient that can be computed straight into the memory where it shall end up, which saves a copy.

    Args:
        compute: Called as ``compute(out, factor)``: writes ``factor`` times the gradient into ``out``, an array of the
            input's shape and dtype with nothing in it, and returns ``out``. Called with nothing, it returns the
            gradient in memory of its own.
    """

    __slots__ = ("compute",)

    def __init__(self, compute: Callable[..., Any]) -> None:
        self.compute = compute

    def __call__(self) -> Any:
        """The gradient, in memory of its own."""
        return self.compute()


class Node:
    """One recorded op: how the gradient of its result becomes those of its inputs.

    ``edges`` has an entry per array input: the node that computed it, the leaf tensor itself, or None where no
    gradient is needed. ``shape`` and ``dtype`` are the result's. ``stamp`` is the time of recording on the clock of
    in-place changes. ``vjp`` is None once the graph was freed. ``trace`` says in anomaly mode where the op was called.
    """

    __slots__ = ("dtype", "edges", "hooks", "op", "shape", "stamp", "trace", "vjp")

    def __init__(
        self, op: str, vjp: Vjp | None, edges: Sequence[Any], stamp: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.op = op
        self.vjp = vjp
        self.edges = edges
        self.stamp = stamp
        self.shape = shape
        self.dtype = dtype
        self.hooks: dict[int, Hook] | None = None
        self.trace = anomaly.here() if anomaly.enabled else None

    @property
    def name(self) -> str:
        """Name of the op and ``_backward``."""
        return f"{self.op}_backward"

    def __repr__(self) -> str:
        return f"<{self.name}>"


class TupleNode(Node):
    """An op with several outputs. Its gradient is a list with a place for each of them."""

    __slots__ = ("outputs",)

    def __init__(self, op: str, vjp: Vjp, edges: Sequence[Any], stamp: int, outputs: int) -> None:
        super().__init__(op, vjp, edges, stamp, (), np.dtype(np.float32))
        self.outputs = outputs


class OutputNode(Node):
    """One output of a `TupleNode`, its only edge."""

    __slots__ = ("index",)

    def __init__(self, node: TupleNode, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(node.op, _same, (node,), node.stamp, shape, dtype)
        self.index = index


def _same(g: Any) -> tuple[Any]:
    return (g,)


_tensor_class: type[TensorBase] = TensorBase


def register_tensor_class(cls: type[TensorBase]) -> None:
    """Make ``cls`` the class of the tensors that ops return; called once, where `Tensor` is defined."""
    global _tensor_class
    _tensor_class = cls


def wrap(array: Any, requires_grad: bool = False, grad_fn: Node | None = None) -> Any:
    """A tensor over exactly this array."""
    tensor = object.__new__(_tensor_class)
    tensor.data = array
    tensor._requires_grad = requires_grad
    tensor.grad_fn = grad_fn
    return tensor


def base_of(tensor: TensorBase) -> TensorBase:
    """The tensor that this one is a view of, or itself."""
    return tensor if tensor._base is None else tensor._base


def link_view(view: TensorBase, source: TensorBase) -> None:
    """Note that ``view`` shares memory with ``source``, for in-place changes of either."""
    base = base_of(source)
    view._base = base
    known = base._views
    if known is None:
        base._views = [weakref.ref(view)]
        return
    known.append(weakref.ref(view))
    if len(known) & (len(known) - 1) == 0:  # only at powers of two, so that pruning stays cheap per view
        known[:] = [each for each in known if each() is not None]


def live_views(base: TensorBase) -> list[TensorBase]:
    """The tensors that share memory with ``base`` through view ops."""
    return [view for each in base._views or () if (view := each()) is not None]
