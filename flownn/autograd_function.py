"""`Function`: an op with a gradient of the user's own, written with tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flownn import dtypes, overwritten
from flownn.backend import array_module
from flownn.errors import GradientError
from flownn.grad_mode import is_grad_enabled, no_grad
from flownn.graph import OutputNode, TensorBase, TupleNode, wrap
from flownn.rebase import check_changeable, rebase

__all__ = ["Function", "FunctionCtx"]


class FunctionCtx:
    """What the forward of a `Function` hands to its backward; further attributes may be set freely.

    Attributes:
        needs_input_grad: For each argument of ``apply`` whether a gradient is asked for.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.saved_arrays: tuple[Any, ...] = ()  # under this name the check for overwritten values finds them
        self._dirty: tuple[Any, ...] = ()
        self._constant: tuple[Any, ...] = ()
        self._materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for the backward, which refuses to run if one of them was overwritten meanwhile.

        Args:
            *tensors: Tensors or None.

        Raises:
            TypeError: something else; set it as an attribute instead.
        """
        for each in tensors:
            if each is not None and not isinstance(each, TensorBase):
                raise TypeError(f"save_for_backward: expected tensors or None, got {type(each).__name__}")
        self.saved_arrays = tuple(None if each is None else each.data for each in tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` was given, as tensors outside any graph."""
        return tuple(None if each is None else wrap(each) for each in self.saved_arrays)

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs the forward changed in place; each must be among what it returns."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which results have no gradient."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether the backward gets zeros (the default), or None, for a result that nothing was computed from."""
        self._materialize = bool(value)


class Function:
    """An op with a gradient of one's own: subclass it, define ``forward`` and ``backward``, and call ``apply``.

    ``forward(ctx, *args)`` computes one tensor or a tuple of them from any arguments; or ``forward(*args)`` does, and
    ``setup_context(ctx, inputs, output)`` stores what the backward needs. ``backward(ctx, *gradients)`` gets a tensor
    per result and returns, for each argument of ``apply``, its gradient, or None. Neither is recorded: gradients are
    first order.

    Reference:
        ``torch.autograd.Function``.

    >>> import flownn as flow
    >>> class Double(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return x * 2
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         return g * 2
    >>> x = flow.ones(2, requires_grad=True)
    >>> Double.apply(x).sum().backward()
    >>> x.grad.tolist()
    [2.0, 2.0]
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the result; define it in the subclass."""
        raise NotImplementedError("Function: define forward as a staticmethod")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Store what the backward needs, for a ``forward`` without ``ctx``."""
        raise NotImplementedError("Function: define setup_context, or let forward take ctx")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Compute the gradients of the arguments; define it in the subclass."""
        raise NotImplementedError("Function: define backward as a staticmethod")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` and record ``backward``.

        Args:
            *args: What ``forward`` takes; tensors among them may get a gradient.
            **kwargs: Further arguments of ``forward``, without gradient.

        Returns:
            What ``forward`` returned, as part of the graph.

        Raises:
            TypeError: ``forward`` returned no tensor.
            GradientError: it changed a leaf that requires a gradient in place.
        """
        tensors = [each if isinstance(each, TensorBase) else None for each in args]
        wanted = tuple(each is not None and each._requires_grad for each in tensors)
        ctx = FunctionCtx(wanted)
        edges = [(each.grad_fn or each) if each is not None and each._requires_grad else None for each in tensors]
        record = is_grad_enabled() and any(wanted)
        with no_grad():
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args, **kwargs)
            else:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, result)
        outputs = result if isinstance(result, tuple) else (result,)
        for each in ctx._dirty:
            check_changeable(each, cls.__name__)
            if not any(each is output for output in outputs):
                raise GradientError(f"{cls.__name__}: an input that mark_dirty names must be returned")
            overwritten.mark_overwritten(each.data, cls.__name__)
        finished = _finish(cls, ctx, outputs, tensors, edges if record else None)
        return finished if isinstance(result, tuple) else finished[0]


def _among(tensor: Any, others: Sequence[Any]) -> bool:
    return any(tensor is each for each in others)


def _finish(
    cls: type[Function], ctx: FunctionCtx, outputs: tuple[Any, ...], inputs: Sequence[Any], edges: Any
) -> tuple[Any, ...]:
    """The results as parts of the graph, or as they are without ``edges``."""
    tensors = [each for each in outputs if isinstance(each, TensorBase)]
    if not tensors:
        raise TypeError(f"{cls.__name__}.forward: expected a tensor or a tuple with tensors, got {type(outputs[0])}")
    fresh: list[Any] = [
        # an input, or a tensor of somebody's, must not become part of the graph by being returned
        wrap(each.data) if isinstance(each, TensorBase) and not _among(each, ctx._dirty) else each
        for each in outputs
    ]
    if edges is None:
        return tuple(fresh)
    node = TupleNode(cls.__name__, _vjp(cls, ctx, outputs, len(inputs)), edges, overwritten.clock, len(outputs))
    for i, (new, old) in enumerate(zip(fresh, outputs, strict=True)):
        if not isinstance(new, TensorBase) or _among(old, ctx._constant):
            continue
        if dtypes.category(new.data.dtype) != dtypes.FLOATING:
            continue
        output = OutputNode(node, i, new.data.shape, new.data.dtype)
        if new is old:
            rebase(new, output, cls.__name__)
        else:
            new.grad_fn, new._requires_grad = output, True
    return tuple(fresh)


def _vjp(cls: type[Function], ctx: FunctionCtx, outputs: tuple[Any, ...], count: int) -> Any:
    """The recorded gradient, a function of arrays."""
    kinds = [(each.data.shape, each.data.dtype) if isinstance(each, TensorBase) else None for each in outputs]

    def vjp(gradients: list[Any]) -> Any:
        xp = array_module(*gradients)
        given = [
            wrap(g) if g is not None else wrap(xp.zeros(*kind)) if kind is not None and ctx._materialize else None
            for g, kind in zip(gradients, kinds, strict=True)
        ]
        with no_grad():
            returned = cls.backward(ctx, *given)
        found = returned if isinstance(returned, tuple) else (returned,)
        extra = found[count:]
        if len(found) < count or any(each is not None for each in extra):
            raise GradientError(
                f"{cls.__name__}.backward: expected {count} gradients, one per argument of apply, got {len(found)}"
            )
        return [_array(cls, each) for each in found[:count]]

    return vjp


def _array(cls: type[Function], gradient: Any) -> Any:
    if gradient is None:
        return None
    if not isinstance(gradient, TensorBase):
        raise GradientError(f"{cls.__name__}.backward: expected tensors or None, got {type(gradient).__name__}")
    return gradient.data
