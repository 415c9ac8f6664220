"""Functions of single elements by oneDNN: float32, dense in any memory layout, which makes them vectors.

Left out are those whose error is more than four times that of the definition in float32: mish, and the values of GELU
by the error function and of the logarithmic ones; the exponential, which makes inf of nan; and the values of ReLU and
hardtanh, which are no faster once their input was searched for nan.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flownn.kernels import kernel
from flownn.kernels.onednn.flat import are_finite, empty_like, flat
from flownn.kernels.onednn.memory import descriptor, plain
from flownn.kernels.onednn.primitives import (
    DIFF_DST,
    DIFF_SRC,
    DST,
    FORWARD_TRAINING,
    SRC,
    Primitive,
    cached,
)
from flownn.kernels.pointwise import Pointwise, like_layout


class _Algorithm(NamedTuple):
    """How the library knows a function.

    Args:
        value: ``dnnl_alg_kind_t`` of the function, None where it is not used.
        gradient: Of its gradient by what is saved for it.
        parameters: Alpha and beta from the function's attributes, None where they allow no use.
        check_value: Whether only finite inputs surely have the definition's value.
        check_gradient: Whether only finite gradients of what is finite are surely the definition's.
        wrong_at: A number at which the gradient is not the definition's.
    """

    value: int | None
    gradient: int | None
    parameters: Callable[..., tuple[float, float] | None]
    check_value: bool = False
    check_gradient: bool = False
    wrong_at: float | None = None


_BELOW_3 = float(np.nextafter(np.float32(3), np.float32(0)))  # a sixth of it plus 0.5 is 1 in float32: flat from here


def _none() -> tuple[float, float]:
    return 0.0, 0.0


def _elu(alpha: float, scale: float, steepness: float) -> tuple[float, float] | None:
    return (alpha, 0.0) if scale == steepness == 1 else None


def _leaky(negative_slope: float) -> tuple[float, float] | None:
    return (negative_slope, 0.0) if negative_slope else None  # with 0 it is ReLU, and nan would become 0


def _softplus(beta: float, threshold: float) -> tuple[float, float] | None:
    return (beta, 0.0) if beta > 0 and threshold >= 20 else None  # from there on a float32 is its own softplus


_ALGORITHMS = {
    # Where a result is 0 for all that lies on one side, the library makes nan 0, or 0 times an infinite gradient nan.
    "relu": _Algorithm(None, 0x100, _none, check_gradient=True),
    "leaky_relu": _Algorithm(0x20, 0x20, _leaky, False, True),
    "elu": _Algorithm(0x22, 0x22, _elu),
    "celu": _Algorithm(0x22, 0x22, _elu),
    "sigmoid": _Algorithm(0x29, 0x104, _none),
    "tanh": _Algorithm(0x21, 0x101, _none),
    "gelu_tanh": _Algorithm(0x2B, 0x2B, _none),
    "gelu": _Algorithm(None, 0x31, _none, check_gradient=True),
    "silu": _Algorithm(0x2C, 0x2C, lambda: (1.0, 0.0)),
    "hardswish": _Algorithm(0x34, 0x34, lambda: (1 / 6, 0.5), False, True, _BELOW_3),
    "hardsigmoid": _Algorithm(0x28, 0x28, lambda: (1 / 6, 0.5), True, True, _BELOW_3),
    "hardtanh": _Algorithm(None, 0x106, lambda min_val, max_val: (min_val, max_val), check_gradient=True),
    "softplus": _Algorithm(None, 0x27, _softplus),
    "logsigmoid": _Algorithm(None, 0x27, lambda: (-1.0, 0.0)),
}
_USES_RESULT = 0x100  # algorithms from here on take the result, not the input


def _vector(count: int) -> int:
    return descriptor(plain((count,))).handle


def _make_value(kind: int, count: int, alpha: float, beta: float) -> Primitive:
    vector = _vector(count)
    return Primitive(
        "dnnl_eltwise_forward_primitive_desc_create",
        (FORWARD_TRAINING, kind, vector, vector, alpha, beta),
        (SRC, DST),
    )


def _make_gradient(kind: int, count: int, alpha: float, beta: float) -> Primitive:
    vector, hint = _vector(count), _make_value(kind, count, alpha, beta)
    return Primitive(
        "dnnl_eltwise_backward_primitive_desc_create",
        (kind, vector, vector, vector, alpha, beta, hint.hint),
        (DST if kind >= _USES_RESULT else SRC, DIFF_DST, DIFF_SRC),
    )


@kernel("pointwise", device="cpu", provider="onednn")
def _pointwise(xp: Any, x: NDArray[Any], function: Pointwise) -> Any:
    algorithm = _ALGORITHMS.get(function.name)
    if algorithm is None or algorithm.value is None or x.dtype != np.float32:
        return NotImplemented
    source, parameters = flat(x), algorithm.parameters(**function.attrs)
    if source is None or parameters is None:
        return NotImplemented
    key = (algorithm.value, source.size, *parameters)
    run = cached(("pointwise", key), partial(_make_value, *key))
    if run is None:
        return NotImplemented
    y = empty_like(x)
    run(source, y)
    return y if not algorithm.check_value or are_finite(source, y.ravel("K")) else NotImplemented


@kernel("pointwise_gradient", device="cpu", provider="onednn")
def _pointwise_gradient(xp: Any, g: NDArray[Any], saved: NDArray[Any], function: Pointwise) -> Any:
    algorithm = _ALGORITHMS.get(function.name)
    if algorithm is None or algorithm.gradient is None or saved.dtype != np.float32 or g.dtype != np.float32:
        return NotImplemented
    source, parameters = flat(saved), algorithm.parameters(**function.attrs)
    if source is None or parameters is None:
        return NotImplemented
    if algorithm.wrong_at is not None and (source == algorithm.wrong_at).any():
        return NotImplemented
    key = (algorithm.gradient, source.size, *parameters)
    run = cached(("pointwise_gradient", key), partial(_make_gradient, *key))
    if run is None:
        return NotImplemented
    result = empty_like(saved)
    run(source, like_layout(g, result), result)
    return result if not algorithm.check_gradient or are_finite(source, result.ravel("K")) else NotImplemented
