"""Runs a recorded graph backwards: which node when, adding up gradients, hooks, and what leaves do with theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any, Protocol

import numpy as np

from flownn import anomaly, backend, memory, overwritten
from flownn.dtypes import accumulator
from flownn.errors import GradientError, ShapeError
from flownn.grad_mode import no_grad
from flownn.graph import (
    Hook,
    Node,
    OutputNode,
    OverwritingVjp,
    PlacedGradient,
    Summand,
    TensorBase,
    TupleNode,
    wrap,
)
from flownn.holders import ONE_LOCAL, shows_alone


class Backward:
    """One run of the engine, as gradient sinks see it."""

    __slots__ = ("_at_end", "_at_failure")

    def __init__(self) -> None:
        self._at_end: list[Callable[[], None]] = []
        self._at_failure: list[Callable[[], None]] = []

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call this in the thread that called ``backward()``, after the whole graph and before it returns."""
        self._at_end.append(callback)

    def at_failure(self, callback: Callable[[], None]) -> None:
        """Call this if the backward raises, be it from the graph, a hook or an `at_end` callback."""
        self._at_failure.append(callback)


class GradientSink(Protocol):
    """Takes the gradient of a leaf where the leaf's ``grad_sink`` is one; ``grad`` becomes a tensor over ``buffer``.

    In the end the sink multiplies what is there by ``factor``. Where a first gradient is written, that costs nothing
    and is done by the engine.
    """

    buffer: Any
    factor: float

    def ready(self, run: Backward, multiplied: bool, /) -> None:
        """The gradient of this run is complete in ``buffer``; ``multiplied`` says that it has the factor already."""


class HookHandle:
    """Registers a hook in a dict of hooks, and removes it again."""

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self._hooks = hooks
        self._key = max(hooks, default=-1) + 1
        hooks[self._key] = hook

    def remove(self) -> None:
        """Stop calling the hook; a second time does nothing."""
        self._hooks.pop(self._key, None)


def run_backward(
    tensors: Sequence[TensorBase],
    gradients: Sequence[Any],
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
    inputs: Sequence[TensorBase] | None = None,
) -> list[Any]:
    """Run the graph of ``tensors`` backwards and add to the ``grad`` of its leaves.

    Args:
        tensors: Where to start.
        gradients: Gradient of each; None means 1, for a tensor with one element.
        retain_graph: Keep what the ops saved, so that another backward can follow.
        create_graph: Not available.
        inputs: Instead of adding to any ``grad``, return the gradients of these.

    Returns:
        With ``inputs``, the array for each, None for one that was not reached; else an empty list.

    Raises:
        GradientError: nothing to differentiate, the graph was freed, or a saved value was overwritten.
        NotImplementedError: ``create_graph`` is true.
    """
    roots = [(_edge_of(each), _initial(each, g)) for each, g in zip(tensors, gradients, strict=True)]
    if create_graph:
        names = ", ".join(getattr(edge, "op", "leaf") for edge, _ in roots)
        raise NotImplementedError(
            f"create_graph=True: gradients of gradients are not available (asked for the backward of {names}), "
            "gradients are first order"
        )
    wanted: dict[Any, Any] | None = None if inputs is None else {_edge_of(each): None for each in inputs}
    if not memory.decided:
        memory.prepare()
    run = Backward()
    try:
        with quiet():
            _process(run, roots, retain_graph, wanted)
        for callback in run._at_end:
            callback()
    except BaseException:
        for callback in run._at_failure:
            callback()
        raise
    return [] if inputs is None or wanted is None else [wanted[_edge_of(each)] for each in inputs]


def add_gradients(
    tensors: Sequence[TensorBase],
    gradients: Sequence[Any],
    inputs: Sequence[TensorBase] | None,
    *,
    retain_graph: bool,
    create_graph: bool,
) -> None:
    """`run_backward` that adds to the ``grad`` of ``inputs`` only, leaves or results, if there are any."""
    found = run_backward(tensors, gradients, retain_graph=retain_graph, create_graph=create_graph, inputs=inputs)
    for each, array in zip(inputs or (), found, strict=True):
        if array is not None:
            each.grad = wrap(array if each.grad is None else _as_array(each.grad.data + array))


def quiet() -> np.errstate:
    """No NumPy warning for log(0), 0/0 or overflow in this block: inf and nan are the result, as in PyTorch."""
    return np.errstate(all="ignore")


def _edge_of(tensor: TensorBase) -> Any:
    """The graph's end at this tensor: the node that computed it, or the leaf itself."""
    if not tensor._requires_grad:
        raise GradientError(
            f"backward: the tensor of shape {tuple(tensor.data.shape)} and type {tensor.data.dtype} does not require a "
            "gradient; set requires_grad on what it is computed from, and compute it outside no_grad()"
        )
    return tensor.grad_fn or tensor


def _initial(tensor: TensorBase, gradient: Any) -> Any:
    array = tensor.data
    xp = backend.array_module(array)
    if gradient is None:
        if array.size != 1:
            raise GradientError(
                f"backward: only a tensor of one element has the gradient 1 by itself, this one has shape "
                f"{tuple(array.shape)}; pass the gradient"
            )
        one = xp.empty(array.shape, array.dtype)
        one.fill(1)
        return one
    given = gradient.data if isinstance(gradient, TensorBase) else xp.asarray(gradient)
    if given.shape != array.shape:
        raise ShapeError(f"backward: expected a gradient of shape {tuple(array.shape)}, got {tuple(given.shape)}")
    return given.astype(array.dtype, copy=False)


def _count_uses(roots: Sequence[tuple[Any, Any]]) -> dict[Any, int]:
    """How many gradients will arrive at each end along the edges of the graph."""
    uses: dict[Any, int] = dict.fromkeys((edge for edge, _ in roots), 0)
    pending = list(uses)
    while pending:
        node = pending.pop()
        if not isinstance(node, Node):
            continue
        if node.vjp is None:
            raise GradientError(
                f"{node.name}: a second backward through a graph whose saved values the first one freed; pass "
                "retain_graph=True to the first, or compute the result again"
            )
        for edge in node.edges:
            if edge is None:
                continue
            count = uses.get(edge)
            if count is None:
                uses[edge] = 1
                pending.append(edge)
            else:
                uses[edge] = count + 1
    return uses


def _process(
    run: Backward, roots: Sequence[tuple[Any, Any]], retain_graph: bool, wanted: dict[Any, Any] | None
) -> None:
    """Carry gradients along the edges. A node runs, and a leaf is finished, when the last of its own has arrived.

    The newest ready node runs first, so one branch is followed down to its leaves before the next one starts.
    """
    uses = _count_uses(roots)
    arrived: dict[Any, Any] = {}
    summed: set[Any] = set()  # ends whose array was made here, so that it may be added to in place
    ready: list[Node] = []

    for edge, g in roots:
        arrived[edge] = g if edge not in arrived else _as_array(arrived[edge] + g)
    for edge in list(arrived):
        if uses[edge]:
            continue
        if isinstance(edge, Node):
            ready.append(edge)
        else:
            _finish_leaf(run, edge, arrived.pop(edge), False, wanted)

    while ready:
        node = ready.pop()
        g = arrived.pop(node, None)
        edges = node.edges
        mine = (
            type(node.vjp) is OverwritingVjp
            and not (node.hooks or isinstance(node, TupleNode))
            and getrefcount(g) == ONE_LOCAL
            and shows_alone(g)
        )
        contributions = _no_gradient if g is None else _run_node(node, g, mine, not retain_graph, arrived, wanted)
        if not retain_graph:
            node.vjp, node.edges = None, ()
        for i in range(len(edges)):
            edge = edges[i]
            if edge is None:
                continue
            c = contributions[i] if contributions else None
            known, mine, added, placed = arrived.get(edge), False, False, False
            if known is not None and c is not None:
                # `arrived` and `known` hold it; if nobody else does, it need not stay what it was
                alone = getrefcount(known) == ONE_LOCAL + 1
                mine = edge in summed or (alone and shows_alone(known))
            if callable(c):
                try:
                    if mine and type(c) is Summand and not anomaly.enabled:
                        c = c.compute(known)
                        added = c is known
                    elif type(c) is PlacedGradient and known is None and wanted is None and _waits_for_one(edge, uses):
                        c, placed = c.compute(edge.grad_sink.buffer, edge.grad_sink.factor), True
                    else:
                        c = c()
                except Exception as error:
                    _say_where(error, node)
                    raise
            is_node = isinstance(edge, Node)
            if c is not None and not added:
                target = edge if is_node else edge.data
                if c.shape != target.shape:
                    c = _sum_to(_as_array(c), target.shape, node)
                elif isinstance(c, np.generic):
                    c = np.asarray(c)
                if anomaly.enabled:
                    anomaly.check(node.name, node.trace, i, c)
                dtype = target.dtype
                if c.dtype is not dtype and c.dtype != dtype:
                    c = c.astype(dtype)
                if known is None:
                    arrived[edge] = c
                elif mine:
                    known += c
                else:
                    arrived[edge] = _as_array(known + c)
                    summed.add(edge)
            known = c = None
            left = uses[edge] = uses[edge] - 1
            if left:
                continue
            if is_node:
                ready.append(edge)
                continue
            c = arrived.pop(edge, None)
            if c is not None:
                in_tuple = bool(contributions) and contributions[i] is c
                alone = getrefcount(c) - in_tuple == ONE_LOCAL
                mine = edge in summed or (alone and shows_alone(c))
                _finish_leaf(run, edge, c, mine, wanted, placed)
        # gradients and saved state go before the next node makes new ones
        g = contributions = c = None  # type: ignore[assignment]


_no_gradient: Sequence[Any] = ()


def _run_node(
    node: Node, g: Any, mine: bool, last: bool, arrived: dict[Any, Any], wanted: dict[Any, Any] | None
) -> Sequence[Any]:
    """What a node sends along its edges; ``mine`` says that its vjp may overwrite ``g``, ``last`` what it saved."""
    if node.hooks:
        g = _call_hooks(node.hooks, g, node.name)
    if wanted is not None and node in wanted:
        wanted[node] = g.copy()
    if isinstance(node, OutputNode):
        parent: TupleNode = node.edges[0]
        arrived.setdefault(parent, [None] * parent.outputs)[node.index] = g
        return _no_gradient
    if node.stamp != overwritten.clock:
        overwritten.check_unchanged(node)
    assert node.vjp is not None
    try:
        vjp = node.vjp
        contributions = vjp.compute(g, mine, last) if type(vjp) is OverwritingVjp else vjp(g)
    except Exception as error:
        _say_where(error, node)
        raise
    if len(contributions) < len(node.edges):
        raise GradientError(
            f"{node.name}: expected {len(node.edges)} gradients, one per array input, got {len(contributions)}"
        )
    return contributions


def _say_where(error: Exception, node: Node) -> None:
    error.add_note(f"raised in {node.name}")
    if anomaly.enabled:
        error.add_note(anomaly.called_at(node.trace))


def _sum_to(g: Any, shape: tuple[int, ...], node: Node) -> Any:
    """The gradient of a value of ``shape`` that was broadcast to the shape of ``g``."""
    extra = g.ndim - len(shape)
    axes = [extra + i for i, (want, have) in enumerate(zip(shape, g.shape[extra:], strict=False)) if want != have]
    if extra < 0 or any(shape[axis - extra] != 1 for axis in axes):
        raise GradientError(
            f"{node.name}: returned a gradient of shape {tuple(g.shape)} for an input of shape {tuple(shape)}, which "
            "cannot have been broadcast to it"
        )
    return _as_array(g.sum(axis=(*range(extra), *axes), dtype=accumulator(g.dtype)).reshape(shape))


def _as_array(value: Any) -> Any:
    """What NumPy computed from 0-dim arrays and returned as a scalar, which cannot be added to in place."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def _call_hooks(hooks: dict[int, Hook], g: Any, name: str) -> Any:
    with no_grad():
        for hook in list(hooks.values()):
            replaced = hook(wrap(g))
            if replaced is None:
                continue
            array = replaced.data if isinstance(replaced, TensorBase) else replaced
            if array.shape != g.shape:
                raise ShapeError(
                    f"hook of {name}: expected a gradient of shape {tuple(g.shape)}, got {tuple(array.shape)}"
                )
            g = array
    return g


def _waits_for_one(edge: Any, uses: dict[Any, int]) -> bool:
    """Whether this is a leaf whose sink takes the last gradient to come as it is, since nobody looks at it."""
    return (
        uses[edge] == 1
        and not isinstance(edge, Node)
        and edge.grad_sink is not None
        and edge.grad is None
        and not edge._hooks
        and not edge._accumulate_hooks
    )


def _finish_leaf(
    run: Backward, leaf: TensorBase, g: Any, mine: bool, wanted: dict[Any, Any] | None, placed: bool = False
) -> None:
    """Store the complete gradient of this run.

    ``mine`` says that nobody else can hold ``g``, ``placed`` that it is in the sink's buffer with the sink's factor.
    """
    if leaf._hooks:
        g, mine = _call_hooks(leaf._hooks, g, "a leaf"), False
    if wanted is not None:
        if leaf in wanted:
            wanted[leaf] = g if mine else g.copy()
        return
    sink: GradientSink | None = leaf.grad_sink
    if sink is not None:
        multiplied = placed or _put(g, leaf, sink)
        leaf.grad = wrap(sink.buffer)
    elif leaf.grad is None:
        leaf.grad = wrap(g if mine else g.copy())
    else:
        leaf.grad.data += g
    if leaf._accumulate_hooks:
        for hook in list(leaf._accumulate_hooks.values()):
            hook(leaf)
    if sink is not None:
        sink.ready(run, multiplied)


def _put(g: Any, leaf: TensorBase, sink: GradientSink) -> bool:
    """Write or add to the sink's buffer; the answer is whether the sink's factor is in it."""
    buffer, factor, known = sink.buffer, sink.factor, leaf.grad
    if known is None:
        if factor != 1 and not leaf._accumulate_hooks:  # hooks see the gradient as it is
            backend.array_module(buffer).multiply(g, factor, out=buffer)
            return True
        buffer[...] = g
        return False
    if known.data is not buffer:
        buffer[...] = known.data
    buffer += g
    return False
