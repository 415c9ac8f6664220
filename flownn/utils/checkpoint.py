"""Less memory for more time: parts of a network that keep only their inputs and are computed again in the backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from flownn import overwritten
from flownn.autograd import enable_grad, is_grad_enabled
from flownn.errors import GradientError
from flownn.graph import Node, OutputNode, Vjp, wrap
from flownn.nn.modules.module import Module
from flownn.random import Generator, default_generator
from flownn.tensor import Tensor

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    generators: Sequence[Generator] = (),
    **kwargs: Any,
) -> Any:
    """Call ``function(*args, **kwargs)`` and keep of it only the arguments; the backward calls it once more.

    The recorded graph stays, without the arrays that its ops saved; these come from the second call. So gradients are
    those of a plain call, bit by bit, also of what the function has from elsewhere. It must compute the same both
    times. What else it does happens twice: batch norm in it moves its running statistics twice.

    Args:
        function: Takes and returns anything; tensors are found in nested tuples, lists and dicts too.
        args: Its arguments.
        use_reentrant: Only False; the other variant of PyTorch has limits and no advantages.
        preserve_rng_state: Draw the same random numbers again, from the default generator, from those among the
            arguments, from those of a module that is the function, and from ``generators``.
        generators: Further ones that the function draws from.
        kwargs: Its arguments by name.

    Returns:
        What the function returns.

    Raises:
        NotImplementedError: ``use_reentrant`` is true.
        GradientError: in the backward, if an argument or a parameter was overwritten in place since, or the function
            did not compute the same.

    Reference:
        Chen et al., 2016; ``torch.utils.checkpoint.checkpoint(use_reentrant=False)``.

    >>> import flownn as flow
    >>> x = flow.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x, power: x**power, x, power=3).sum().backward()
    >>> x.grad
    tensor([ 3., 12.], dtype=flownn.float32)
    """
    if use_reentrant:
        raise NotImplementedError("checkpoint: use_reentrant=True is not available; False does all that it can")
    if not is_grad_enabled():
        return function(*args, **kwargs)
    streams = _streams(function, (args, kwargs), generators) if preserve_rng_state else []
    states = [stream.get_state() for stream in streams]
    given: list[Tensor] = []
    _mapped((args, kwargs), given.append)
    kept = _mapped((args, kwargs), lambda tensor: _leaf(tensor, []))
    arrays = [each.data for each in given]
    edges = [_edge(each) if each.requires_grad else None for each in given]

    began = overwritten.tick()
    outputs = function(*args, **kwargs)
    nodes = _recorded_since(_roots(outputs), began)
    if nodes:
        inside = {id(node) for node in nodes}
        ends = [end for node in nodes for end in node.edges if end is not None and id(end) not in inside]
        arrays += [end.data for end in ends if not isinstance(end, Node)]

        def again() -> list[Vjp | None]:
            overwritten.check_arrays(arrays, began, "checkpoint")
            leaves: list[Tensor] = []
            fresh_args, fresh_kwargs = _mapped(kept, lambda tensor: _leaf(tensor, leaves))
            now = overwritten.tick()
            with _at(streams, states), enable_grad():
                fresh = _recorded_since(_roots(function(*fresh_args, **fresh_kwargs)), now)
            stand_for = {id(leaf): id(edge) for leaf, edge in zip(leaves, edges, strict=True)}
            if _description(fresh, stand_for) != description:
                raise GradientError("checkpoint: the function computed something else when it was called again")
            return [node.vjp for node in fresh]

        description = _description(nodes, {})
        part = _Part(again, len(nodes), ends)
        for number, node in enumerate(nodes):
            if not isinstance(node, OutputNode):
                node.vjp = partial(part.run, number)
    return outputs


class _Part:
    """The gradients of a checkpointed call's ops, which are there from the first use of one to its own.

    Args:
        again: Makes them, in the order of the call's nodes.
        count: How many there are.
        ends: What must live as long, because descriptions name it by its id.
    """

    def __init__(self, again: Callable[[], list[Vjp | None]], count: int, ends: list[Any]) -> None:
        self._again = again
        self._vjps: list[Vjp | None] = [None] * count
        self._ends = ends

    def run(self, number: int, g: Any) -> Sequence[Any]:
        """Call the gradient of one op, and forget it: what it holds is needed no more, or made again."""
        vjp = self._vjps[number]
        if vjp is None:
            self._vjps = self._again()
            vjp = self._vjps[number]
        self._vjps[number] = None
        assert vjp is not None
        return vjp(g)


def checkpoint_sequential(
    functions: Iterable[Callable[..., Any]],
    segments: int,
    input: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    generators: Sequence[Generator] = (),
) -> Any:
    """Call functions one after the other, in ``segments`` equal parts of which all but the last are checkpointed.

    Args:
        functions: `nn.Sequential`, or functions of one argument.
        segments: Number of parts; the last takes what does not divide.
        input: Argument of the first function.
        use_reentrant: As in `checkpoint`.
        preserve_rng_state: As in `checkpoint`.
        generators: As in `checkpoint`; those of modules among ``functions`` are known.

    Returns:
        What the last function returns.

    Raises:
        ValueError: fewer functions than segments.

    Reference:
        ``torch.utils.checkpoint.checkpoint_sequential``.
    """
    steps = list(functions)
    if not 1 <= segments <= len(steps):
        raise ValueError(f"checkpoint_sequential: expected 1 to {len(steps)} segments, got {segments}")
    size = len(steps) // segments
    for start in range(0, size * (segments - 1), size):
        part = steps[start : start + size]
        drawn = [*generators, *(stream for step in part for stream in _own_streams(step))]
        input = checkpoint(
            _in_turn,
            part,
            input,
            use_reentrant=use_reentrant,
            preserve_rng_state=preserve_rng_state,
            generators=drawn,
        )
    return _in_turn(steps[size * (segments - 1) :], input)


def _in_turn(functions: Sequence[Callable[..., Any]], value: Any) -> Any:
    for function in functions:
        value = function(value)
    return value


def _mapped(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """``tree`` with every tensor in its tuples, lists and dicts replaced by ``change(tensor)``."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, tuple):
        parts = [_mapped(each, change) for each in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    if isinstance(tree, list):
        return [_mapped(each, change) for each in tree]
    if isinstance(tree, dict):
        return {key: _mapped(each, change) for key, each in tree.items()}
    return tree


def _leaf(tensor: Tensor, leaves: list[Tensor]) -> Tensor:
    """A leaf over the same memory that needs a gradient if ``tensor`` does; added to ``leaves``."""
    leaf: Tensor = wrap(tensor.data, tensor.requires_grad)
    leaves.append(leaf)
    return leaf


def _edge(tensor: Tensor) -> Any:
    return tensor.grad_fn or tensor


def _roots(outputs: Any) -> list[Any]:
    """The nodes that computed the tensors in ``outputs``."""
    found: list[Any] = []
    _mapped(outputs, lambda tensor: found.append(tensor.grad_fn))
    return found


def _recorded_since(roots: list[Any], since: int) -> list[Node]:
    """The nodes behind ``roots`` that were recorded at time ``since`` or later, in an order that their edges give."""
    pending, found = roots[::-1], {}
    while pending:
        node = pending.pop()
        if isinstance(node, Node) and node.stamp >= since and id(node) not in found:
            found[id(node)] = node
            pending.extend(reversed(node.edges))
    return list(found.values())


def _description(nodes: list[Node], stand_for: dict[int, int]) -> list[Any]:
    """What was computed from what: per node its op and type, and for each edge which of the nodes or what outside."""
    number = {id(node): index for index, node in enumerate(nodes)}

    def place(edge: Any) -> Any:
        return number[id(edge)] if id(edge) in number else ("outside", stand_for.get(id(edge), id(edge)))

    return [(node.op, node.shape, node.dtype, [place(edge) for edge in node.edges]) for node in nodes]


def _own_streams(function: Any) -> list[Generator]:
    """The generators that a module, or the module of a method, and the modules below it have as attributes."""
    module = function if isinstance(function, Module) else getattr(function, "__self__", None)
    if not isinstance(module, Module):
        return []
    return [value for each in module.modules() for value in vars(each).values() if isinstance(value, Generator)]


def _streams(function: Any, arguments: Any, generators: Sequence[Generator]) -> list[Generator]:
    """Every generator that the function is known to draw from, each once."""
    args, kwargs = arguments
    passed = [each for each in (*args, *kwargs.values()) if isinstance(each, Generator)]
    streams = [default_generator, *generators, *passed, *_own_streams(function)]
    return list({id(each): each for each in streams}.values())


@contextmanager
def _at(streams: list[Generator], states: list[dict[str, Any]]) -> Iterator[None]:
    """Let streams go on from ``states`` inside the block, and from where they are after it."""
    now = [stream.get_state() for stream in streams]
    try:
        for stream, state in zip(streams, states, strict=True):
            stream.set_state(state)
        yield
    finally:
        for stream, state in zip(streams, now, strict=True):
            stream.set_state(state)
