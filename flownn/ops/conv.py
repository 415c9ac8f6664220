"""Convolution over n spatial dims, and its transpose; `flownn.kernels.convolution` computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import PlacedGradient, Summand, op
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.channels import channel_sum, compute_dtype
from flownn.kernels.convolution import Padding, correlate, correlate_adjoint, correlate_filters, padded_shape
from flownn.kernels.windows import output_size

__all__ = ["check_input", "conv", "conv_transpose"]


@op
def conv(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None = None,
    *,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
) -> Any:
    """Cross-correlate x (N, C, *spatial) with weight (O, C / groups, *kernel_size) and add bias (O,).

    ``padding`` holds the zeros (before, after) of each spatial dim. Products are summed in float32 or wider. The
    result has the channels-last memory layout. An x without N gives a result without N.

    Raises:
        ShapeError: numbers of dims or channels do not fit, or the padded input is smaller than the kernel.
        DtypeError: input and weight have different types, or not a floating point one.
    """
    name = f"Conv{weight.ndim - 2}d"
    _check_operands(name, x, weight, bias, weight.shape[1] * groups, weight.shape[0], groups)
    _check_holds_the_kernel(name, x.shape[2 - weight.ndim :], weight.shape[2:], padding, dilation)
    dtype = compute_dtype(name, x.dtype)
    attributes = (stride, padding, dilation, groups)
    images, wide = _batch(x, weight), weight.astype(dtype, copy=False)
    result = correlate(xp, images, wide, bias, *attributes)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = _batch(g, weight).astype(dtype, copy=False)

        def grad_x(onto: NDArray[Any] | None) -> Any:
            if images is not x or dtype != x.dtype:
                onto = None
            return _like(correlate_adjoint(xp, grad, wide, None, images.shape[2:], *attributes, onto=onto), x)

        def grad_bias() -> Any:
            return channel_sum(xp, xp.moveaxis(grad, 1, -1)).astype(weight.dtype)

        return Summand(grad_x), _gradient_of_filters(xp, grad, images, weight, dtype, attributes), grad_bias

    return _like(result, x), vjp


@op
def conv_transpose(
    xp: Any,
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None = None,
    *,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
) -> Any:
    """Adjoint of `conv` from O to C channels: x (N, C, *spatial), weight (C, O / groups, *kernel_size), bias (O,).

    Every element of x, times the filter of its channel, is added to a window of the result, which loses ``padding``
    (before, after) elements of each spatial dim; a negative number adds zeros instead. The result has the channels-last
    memory layout. An x without N gives a result without N.

    Raises:
        ShapeError: numbers of dims or channels do not fit, or nothing of the result is left.
        DtypeError: input and weight have different types, or not a floating point one.
    """
    name, n = f"ConvTranspose{weight.ndim - 2}d", weight.ndim - 2
    channels = weight.shape[1] * groups
    _check_operands(name, x, weight, bias, weight.shape[0], channels, groups)
    out = tuple(
        (size - 1) * s + d * (k - 1) + 1 - before - after
        for size, k, s, d, (before, after) in zip(
            x.shape[-n:], weight.shape[2:], stride, dilation, padding, strict=True
        )
    )
    if min(out) < 1 or min(x.shape[-n:]) < 1:
        raise ShapeError(
            f"{name}: expected an input that gives a result, got spatial shape {tuple(x.shape[-n:])}, which gives {out}"
        )
    dtype = compute_dtype(name, x.dtype)
    attributes = (stride, padding, dilation, groups)
    images, wide = _batch(x, weight), weight.astype(dtype, copy=False)
    result = correlate_adjoint(xp, images, wide, bias, out, *attributes)

    def vjp(g: NDArray[Any]) -> tuple[Any, ...]:
        grad = _batch(g, weight).astype(dtype, copy=False)
        return (
            lambda: _like(correlate(xp, grad, wide, None, *attributes), x),
            _gradient_of_filters(xp, images, grad, weight, dtype, attributes),
            lambda: channel_sum(xp, xp.moveaxis(grad, 1, -1)).astype(weight.dtype),
        )

    return _like(result, x), vjp


def _gradient_of_filters(
    xp: Any, y: NDArray[Any], x: NDArray[Any], weight: NDArray[Any], dtype: Any, attributes: tuple[Any, ...]
) -> Callable[[], NDArray[Any]]:
    """What computes the weight's gradient, in ``dtype``, from the small and the large side of the windows."""

    def compute(out: NDArray[Any] | None = None, factor: float = 1.0) -> NDArray[Any]:
        values = y.astype(dtype, copy=False)
        # the gradient is linear in y: whichever has fewer numbers is multiplied
        y_is_smaller = values.size < weight.size
        if factor != 1 and y_is_smaller:
            values = values * values.dtype.type(factor)
        result: NDArray[Any] = correlate_filters(xp, values, x, weight.shape, *attributes, out)
        if factor != 1 and not y_is_smaller:
            result *= result.dtype.type(factor)
        return result

    if dtype != weight.dtype:
        return lambda: compute().astype(weight.dtype)
    return PlacedGradient(compute)


def _batch(x: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """X as (N, C, *spatial); where it has no N, N is 1."""
    return x if x.ndim == weight.ndim else x[None]


def _like(y: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Y in the dtype of x; without N where x has none."""
    y = y.astype(x.dtype, copy=False)
    return y if x.ndim == y.ndim else y[0]


def check_input(name: str, shape: Sequence[int], channels: int, spatial_dims: int) -> None:
    """Raise ShapeError unless ``shape`` is (N, channels, *spatial) or (channels, *spatial)."""
    if len(shape) not in (spatial_dims + 1, spatial_dims + 2) or shape[-spatial_dims - 1] != channels:
        form = ", ".join([str(channels), *"DHW"[-spatial_dims:]])
        raise ShapeError(f"{name}: expected input (N, {form}) or ({form}), got shape {tuple(shape)}")


def _check_operands(
    name: str,
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    in_channels: int,
    out_channels: int,
    groups: int,
) -> None:
    check_input(name, x.shape, in_channels, weight.ndim - 2)
    if x.dtype != weight.dtype:
        raise DtypeError(f"{name}: expected input of the weight's dtype {weight.dtype}, got {x.dtype}")
    if weight.shape[0] % groups:
        raise ShapeError(f"{name}: expected a number of filters that {groups} groups divide, got {weight.shape[0]}")
    if bias is not None and bias.shape != (out_channels,):
        raise ShapeError(f"{name}: expected bias of shape ({out_channels},), got {tuple(bias.shape)}")


def _check_holds_the_kernel(
    name: str, spatial: Sequence[int], kernel_size: Sequence[int], padding: Padding, dilation: Sequence[int]
) -> None:
    padded, ones = padded_shape(spatial, padding)[0], (1,) * len(spatial)
    if min(map(output_size, padded, kernel_size, ones, dilation)) < 1:
        raise ShapeError(
            f"{name}: expected an input that holds the kernel, got spatial shape {tuple(spatial)} "
            f"(padded {padded}) for kernel_size {tuple(kernel_size)} with dilation {tuple(dilation)}"
        )
