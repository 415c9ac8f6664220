"""The `op` decorator: forward and gradient in one function; and the names of automatic differentiation.

An op is one function ``f(xp, *arrays, **attrs)`` that returns ``(y, vjp)``:

* ``xp`` is ``numpy`` or ``cupy``; array inputs arrive as arrays of that module, an optional one may be ``None``.
* ``vjp(g)`` takes the gradient of ``y`` and returns one entry per array input: an array, ``None`` (no gradient), or a
  function without arguments that is called only if that input needs a gradient: as a `Summand` it may add to the
  gradient that came from elsewhere, as a `PlacedGradient` it may write into memory that waits for it, which saves a
  pass over it. The engine sums dims that were broadcast and casts to the input's dtype, so ``multiply`` returns
  ``(g * y, g * x)`` whatever the shapes.
  ``vjp`` must not change ``g``: others may hold the same array. As an `OverwritingVjp` it is told when nobody does.
* ``None`` in place of ``vjp``: the op has no gradient (comparisons, ``argmax``).
* The closure of ``vjp`` *is* the saved state. Keep in it what the backward needs and nothing else, as plain local
  variables or in tuples, lists or dicts: there the engine finds the arrays, and refuses to go on when one of them
  was overwritten in place meanwhile (code that changes arrays behind a tensor's back calls `mark_overwritten`).
* With ``@op(tuple_output=True)`` ``y`` is a tuple; ``vjp`` takes a list of as many gradients, ``None`` for an output
  that nothing was computed from. Outputs that are not floating point (indices) never take part.

Gradients are first order: a vjp computes on arrays and records nothing.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from flownn import backend, dtypes, overwritten
from flownn.anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from flownn.autograd_function import Function, FunctionCtx
from flownn.engine import Backward, GradientSink, HookHandle, add_gradients, quiet, run_backward
from flownn.errors import DtypeError, GradientError
from flownn.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    mode,
    no_grad,
    set_grad_enabled,
)
from flownn.gradcheck import gradcheck
from flownn.graph import (
    Node,
    OutputNode,
    OverwritingVjp,
    PlacedGradient,
    Summand,
    TensorBase,
    TupleNode,
    link_view,
    wrap,
)
from flownn.overwritten import mark_overwritten, memory_owner

if TYPE_CHECKING:
    from flownn.tensor import Tensor

__all__ = [
    "Backward",
    "Function",
    "FunctionCtx",
    "GradientSink",
    "HookHandle",
    "Node",
    "OverwritingVjp",
    "PlacedGradient",
    "Summand",
    "TensorBase",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "grad",
    "gradcheck",
    "inference_mode",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "mark_overwritten",
    "memory_owner",
    "no_grad",
    "op",
    "quiet",
    "set_detect_anomaly",
    "set_grad_enabled",
    "wrap",
]

_ndarray = np.ndarray
_FLOAT32 = np.dtype(np.float32)
_NUMBERS = (bool, int, float)
_modules = sys.modules  # without CuPy among them there are only NumPy's arrays


@overload
def op(function: Callable[..., Any], /) -> Callable[..., Tensor]: ...
@overload
def op(
    *,
    promote: Literal["common", "float"] | None = None,
    view: bool = False,
    quiet_floats: bool = False,
    chooses_dtype: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Tensor]]: ...
@overload
def op(
    *, tuple_output: Literal[True], view: bool = False, quiet_floats: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., tuple[Tensor, ...]]]: ...
def op(function: Callable[..., Any] | None = None, /, **options: Any) -> Callable[..., Any]:
    """Turn ``f(xp, *arrays, **attrs) -> (y, vjp)`` into a function of tensors that records itself; see the module.

    The result takes tensors, arrays, Python numbers and None as array inputs, by position or by name, and returns a
    `Tensor`.

    Args:
        function: The body, when used as plain ``@op``.
        **options: Any of these.

            * ``promote``: ``"common"`` brings the inputs to one dtype by PyTorch's rules, in which a Python number
              does not decide (float32 * 2.0 stays float32); it may reach the body as a number. ``"float"`` does the
              same and turns integers into the default floating point type. Without it inputs arrive as they are.
            * ``view``: the result may share memory with the first input.
            * ``quiet_floats``: inf and nan in the result are no reason for a NumPy warning.
            * ``chooses_dtype``: the result's dtype is the op's choice. Without it float32 from bfloat16 inputs counts
              as NumPy's widening and is cast back.
            * ``tuple_output``: ``y`` is a tuple, and so is what the op returns.
    """
    if function is None:
        return partial(_make_op, **options)
    return _make_op(function)


def _make_op(
    body: Callable[..., Any],
    promote: Literal["common", "float"] | None = None,
    view: bool = False,
    quiet_floats: bool = False,
    chooses_dtype: bool = False,
    tuple_output: bool = False,
) -> Callable[..., Any]:
    name = body.__name__.strip("_")
    signature = inspect.signature(body)
    parameters = list(signature.parameters.values())[1:]
    array_names = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    by_name = frozenset(array_names)
    floating = promote == "float"
    keep_numbers = promote is not None

    def apply(*inputs: Any, **attrs: Any) -> Any:
        if attrs and not by_name.isdisjoint(attrs):
            inputs = _place_named(signature, array_names, inputs, attrs)
        arrays: list[Any] = []
        edges: list[Any] = []
        record = False
        for value in inputs:
            if isinstance(value, TensorBase):
                arrays.append(value.data)
                if value._requires_grad:
                    record = True
                    edges.append(value.grad_fn or value)
                else:
                    edges.append(None)
            else:
                arrays.append(None if value is None else _as_operand(value, name, keep_numbers))
                edges.append(None)
        if keep_numbers:
            arrays = _to_common_dtype(arrays, floating, name)
        xp = np if "cupy" not in _modules else backend.array_module(*arrays)
        if quiet_floats:
            with quiet():
                y, vjp = body(xp, *arrays, **attrs)
        else:
            y, vjp = body(xp, *arrays, **attrs)
        record = record and vjp is not None and mode.enabled
        if tuple_output:
            tensors = _wrap_outputs(name, [_narrowed(xp.asarray(each), arrays) for each in y], vjp, edges, record)
            if view:
                for each in tensors:
                    _link_if_shared(each, inputs[0])
            return tensors
        if type(y) is not _ndarray and not backend.is_array(y):
            y = xp.asarray(y)  # NumPy returns a scalar where the result is 0-dim
        if y.dtype is _FLOAT32 and not chooses_dtype and getattr(arrays[0], "dtype", None) is not _FLOAT32:
            y = _narrowed(y, arrays)
        tensor = wrap(y, record, Node(name, vjp, edges, overwritten.clock, y.shape, y.dtype) if record else None)
        if view:
            _link_if_shared(tensor, inputs[0])
        return tensor

    update_wrapper(apply, body)
    del apply.__dict__["__wrapped__"]  # its first parameter is none of the caller's
    apply.__dict__["__signature__"] = signature.replace(parameters=parameters, return_annotation=signature.empty)
    return apply


def _place_named(
    signature: inspect.Signature, array_names: list[str], inputs: tuple[Any, ...], attrs: dict[str, Any]
) -> tuple[Any, ...]:
    """All array inputs by position, also those that came by name, which leave ``attrs``."""
    bound = signature.bind(None, *inputs, **attrs)
    given = [each for each in array_names if each in bound.arguments]
    bound.apply_defaults()
    for each in given:
        attrs.pop(each, None)
    return tuple(bound.arguments[each] for each in array_names[: array_names.index(given[-1]) + 1])


def _as_operand(value: Any, name: str, keep_numbers: bool) -> Any:
    """An array, or a Python number for ops that promote, from what may be passed beside tensors."""
    if isinstance(value, _NUMBERS):
        return value if keep_numbers else np.asarray(value, dtypes.result_dtype((value,)))
    if backend.is_array(value):
        return value
    if isinstance(value, np.generic):
        return np.asarray(value)
    raise DtypeError(f"{name}: expected a tensor, an array or a number, got {type(value).__name__}")


def _to_common_dtype(arrays: list[Any], floating: bool, name: str) -> list[Any]:
    """The operands in the dtype that promotion gives them; numbers stay numbers where NumPy treats them the same."""
    if len(arrays) == 2:  # the usual case, first for speed: the rest says the same
        x, y = arrays
        if type(x) is type(y) is _ndarray and x.dtype is y.dtype is _FLOAT32:
            return arrays
    common = None
    for array in arrays:
        if isinstance(array, _ndarray):
            if common is None:
                common = array.dtype
            elif array.dtype is not common:
                break
    else:
        # All arrays have one dtype. Beside floats numbers do not decide, in NumPy (but for bfloat16) as here.
        if common is not None and (common.kind == "f" or (not floating and all(map(backend.is_array, arrays)))):
            return arrays
    try:
        common = dtypes.result_dtype(arrays)
    except DtypeError as error:
        raise DtypeError(f"{name}: {error}") from None
    if floating and dtypes.category(common) != dtypes.FLOATING:
        common = dtypes.get_default_dtype().dtype
    xp = backend.array_module(*arrays)
    return [None if array is None else xp.asarray(array).astype(common, copy=False) for array in arrays]


def _narrowed(y: Any, arrays: list[Any]) -> Any:
    """``y``, as bfloat16 if NumPy widened it from there to float32."""
    if y.dtype == _FLOAT32:
        kinds = [array.dtype for array in arrays if backend.is_array(array)]
        if dtypes.BFLOAT16 in kinds and _FLOAT32 not in kinds:
            return y.astype(dtypes.BFLOAT16)
    return y


def _link_if_shared(tensor: TensorBase, source: Any) -> None:
    if not isinstance(source, TensorBase):
        return
    y, x = tensor.data, source.data
    if y.base is x or memory_owner(y) is memory_owner(x):
        link_view(tensor, source)


def _wrap_outputs(name: str, ys: list[Any], vjp: Any, edges: Sequence[Any], record: bool) -> tuple[Any, ...]:
    """A tensor per output of an op that has several."""
    if not record:
        return tuple(wrap(y) for y in ys)
    node = TupleNode(name, vjp, edges, overwritten.clock, len(ys))
    return tuple(
        wrap(y, True, OutputNode(node, i, y.shape, y.dtype)) if dtypes.category(y.dtype) == dtypes.FLOATING else wrap(y)
        for i, y in enumerate(ys)
    )


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of ``tensors`` to the ``grad`` of the leaves that they were computed from.

    Args:
        tensors: One tensor or several; together they are processed as one graph.
        grad_tensors: Gradient of each, of its shape; None means 1, for a tensor of one element.
        retain_graph: Keep what the ops saved, so that another backward through the graph can follow.
        create_graph: Not available; gradients are first order.
        inputs: One tensor or several, leaves or results, whose ``grad`` alone is added to.

    Raises:
        GradientError: a tensor needs no gradient, the graph was freed, or a saved value was overwritten in place.
        NotImplementedError: ``create_graph`` is true.

    Reference:
        As ``torch.autograd.backward``.
    """
    tensors = _as_sequence(tensors)
    gradients = [None] * len(tensors) if grad_tensors is None else _as_sequence(grad_tensors)
    wanted = None if inputs is None else _as_sequence(inputs)
    add_gradients(tensors, gradients, wanted, retain_graph=retain_graph, create_graph=create_graph)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``; no tensor's ``grad`` changes.

    Args:
        outputs: One tensor or several; their gradients are summed.
        inputs: One tensor or several, leaves or results.
        grad_outputs: Gradient of each output, of its shape; None means 1, for a tensor of one element.
        retain_graph: Keep what the ops saved, so that another backward through the graph can follow.
        create_graph: Not available; gradients are first order.
        allow_unused: Return None for an input that no output depends on, instead of raising.
        materialize_grads: Return zeros for such an input.

    Raises:
        GradientError: as `backward`, and for an unused input.
        NotImplementedError: ``create_graph`` is true.

    Reference:
        As ``torch.autograd.grad``.
    """
    outputs, inputs = _as_sequence(outputs), _as_sequence(inputs)
    gradients = [None] * len(outputs) if grad_outputs is None else _as_sequence(grad_outputs)
    arrays = run_backward(outputs, gradients, retain_graph=retain_graph, create_graph=create_graph, inputs=inputs)
    if materialize_grads:
        arrays = [
            backend.array_module(each.data).zeros_like(each.data) if array is None else array
            for each, array in zip(inputs, arrays, strict=True)
        ]
    if not allow_unused and any(array is None for array in arrays):
        unused = [i for i, array in enumerate(arrays) if array is None]
        raise GradientError(f"grad: no output depends on inputs {unused}; allow_unused=True returns None for them")
    return tuple(None if array is None else wrap(array) for array in arrays)


def _as_sequence(value: Any) -> Sequence[Any]:
    return (value,) if isinstance(value, TensorBase) or backend.is_array(value) else tuple(value)
