"""Gradients against central differences, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flownn import backend, dtypes
from flownn.engine import run_backward
from flownn.errors import GradientError
from flownn.grad_mode import enable_grad, no_grad
from flownn.graph import TensorBase

__all__ = ["gradcheck"]


def _outputs(function: Callable[..., Any], inputs: tuple[Any, ...]) -> list[Any]:
    result = function(*inputs)
    found = result if isinstance(result, (tuple, list)) else (result,)
    return [each for each in found if dtypes.category(each.data.dtype) == dtypes.FLOATING]


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare every derivative of a function with a central difference.

    Args:
        func: Takes the inputs; returns a tensor or a tuple of them. It must give the same result each time.
        inputs: One argument or a tuple; those that require a gradient are checked and should be float64.
        eps: Step of the difference.
        atol: Allowed absolute error.
        rtol: Allowed error relative to the difference.
        raise_exception: Raise where they differ instead of returning False.

    Returns:
        Whether all agree.

    Raises:
        ValueError: no input requires a gradient.
        GradientError: a derivative differs; the message says which.

    Reference:
        ``torch.autograd.gradcheck``.
    """
    given = (inputs,) if isinstance(inputs, TensorBase) else tuple(inputs)
    checked = [i for i, each in enumerate(given) if isinstance(each, TensorBase) and each._requires_grad]
    if not checked:
        raise ValueError("gradcheck: expected an input that requires a gradient, got none")
    with enable_grad():
        outputs = _outputs(func, given)
    for o, output in enumerate(outputs):
        analytic = _by_backward(output, [given[i] for i in checked])
        for i, one in zip(checked, analytic, strict=True):
            other = _by_difference(func, given, i, o, eps)
            if not np.allclose(one, other, rtol=rtol, atol=atol, equal_nan=True):
                if not raise_exception:
                    return False
                place = np.unravel_index(np.argmax(np.abs(one - other)), one.shape)
                raise GradientError(
                    f"gradcheck: the derivative of element {int(place[1])} of output {o} by element {int(place[0])} of "
                    f"input {i} is {one[place]} by backward and {other[place]} by central difference"
                )
    return True


def _on_host(array: Any) -> Any:
    return backend.to_device(array, backend.CPU).astype(np.float64)


def _by_backward(output: Any, inputs: list[Any]) -> list[Any]:
    """For each input the matrix of derivatives, a row per element of it and a column per element of the output."""
    columns: list[list[Any]] = [[] for _ in inputs]
    xp = backend.array_module(output.data)
    for k in range(output.data.size):
        seed = xp.zeros(output.data.size, output.data.dtype)
        seed[k] = 1
        found: list[Any] = [None] * len(inputs)
        if output._requires_grad:
            seeds = [seed.reshape(output.data.shape)]
            found = run_backward([output], seeds, retain_graph=True, inputs=inputs)
        for column, each, g in zip(columns, inputs, found, strict=True):
            column.append(np.zeros(each.data.size) if g is None else _on_host(g).reshape(-1))
    return [np.stack(c, 1) if c else np.zeros((x.data.size, 0)) for c, x in zip(columns, inputs, strict=True)]


def _by_difference(function: Callable[..., Any], inputs: tuple[Any, ...], i: int, output: int, eps: float) -> Any:
    array = inputs[i].data
    rows = []
    with no_grad():
        for place in np.ndindex(array.shape):  # one element at a time is what a difference is
            kept = array[place].copy()
            array[place] = kept + eps
            ahead = _on_host(_outputs(function, inputs)[output].data.copy())
            array[place] = kept - eps
            behind = _on_host(_outputs(function, inputs)[output].data.copy())
            array[place] = kept
            rows.append((ahead - behind).reshape(-1) / (2 * eps))
    return np.stack(rows) if rows else np.zeros((0, 0))
