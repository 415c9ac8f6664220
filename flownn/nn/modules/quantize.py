"""Simulated quantization: observers that find scale and zero point, and layers that round by them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from flownn.autograd import wrap
from flownn.dtypes import get_default_dtype
from flownn.nn.modules.module import Module
from flownn.ops import quantize as ops
from flownn.tensor import Tensor

__all__ = ["FakeQuantization", "MinMaxObserver", "MovingAverageMinMaxObserver", "Quantization"]


class _Quantizing(Module):
    """What all four have in common."""

    def __init__(
        self, quantization_formula: str = "google", quantization_bit: int = 8, quantization_scheme: str = "symmetric"
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if quantization_formula not in ("google", "cambricon"):
            raise ValueError(
                f"{name}: expected quantization_formula 'google' or 'cambricon', got {quantization_formula!r}"
            )
        if quantization_scheme not in ("symmetric", "affine"):
            raise ValueError(
                f"{name}: expected quantization_scheme 'symmetric' or 'affine', got {quantization_scheme!r}"
            )
        if quantization_formula == "cambricon" and quantization_scheme != "symmetric":
            raise ValueError(f"{name}: the cambricon formula is symmetric, got quantization_scheme 'affine'")
        if not 2 <= quantization_bit <= 8:
            raise ValueError(f"{name}: expected a quantization_bit from 2 to 8, got {quantization_bit}")
        self.quantization_formula = quantization_formula
        self.quantization_bit = quantization_bit
        self.quantization_scheme = quantization_scheme

    @property
    def _attrs(self) -> dict[str, Any]:
        return {
            "formula": self.quantization_formula,
            "bit": self.quantization_bit,
            "scheme": self.quantization_scheme,
        }


class MinMaxObserver(_Quantizing):
    """Find the scale and zero point that let the integers cover the input's range.

    Symmetric: ``scale = max(|max|, |min|) / (2**(bit-1) - 1)``, zero point 0. Affine: ``scale = (max - min) /
    (2**bit - 1)``, ``zero_point = -min / scale``, not rounded. Cambricon: the scale is the exponent of a power of two,
    ``floor(log2(max(|max|, |min|))) - (bit - 2)``, zero point 0.

    Args:
        quantization_formula: ``"google"`` or ``"cambricon"``.
        quantization_bit: Bits of the integers, 2 to 8.
        quantization_scheme: ``"symmetric"`` for signed integers, ``"affine"`` for unsigned ones (google only).
        per_layer_quantization: One scale for the whole input; otherwise one per entry of its first dim (google only).

    Shape:
        Input of any shape; scale and zero point (1,), or (input.shape[0],) if not per layer. They have no gradient.

    Raises:
        ValueError: an argument is none of those above.
        ShapeError: the input has no elements.

    Reference:
        ``oneflow.nn.MinMaxObserver``. A range of nothing but zeros has scale 0 (cambricon: minus infinity), by which
        `Quantization` turns zeros into zeros.

    >>> import flownn as flow
    >>> MinMaxObserver()(flow.tensor([-2.54, 1.0]))
    (tensor([0.0200], dtype=flownn.float32), tensor([0.], dtype=flownn.float32))
    """

    def __init__(
        self,
        quantization_formula: str = "google",
        quantization_bit: int = 8,
        quantization_scheme: str = "symmetric",
        per_layer_quantization: bool = True,
    ) -> None:
        super().__init__(quantization_formula, quantization_bit, quantization_scheme)
        if quantization_formula == "cambricon" and not per_layer_quantization:
            raise ValueError("MinMaxObserver: the cambricon formula is per layer, got per_layer_quantization=False")
        self.per_layer_quantization = per_layer_quantization

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point of ``input``."""
        scale, zero_point = ops.min_max_observer(input, per_layer=self.per_layer_quantization, **self._attrs)
        return scale, zero_point


class MovingAverageMinMaxObserver(_Quantizing):
    """Find scale and zero point from moving averages of the inputs' extremes.

    Each observed input moves ``moving_max`` and ``moving_min`` by ``average * momentum + value * (1 - momentum)``; the
    first one sets them. Symmetric and cambricon: the value of both is ``max(|max(input)|, |min(input)|)``. From them
    come scale and zero point, by the formulas of `MinMaxObserver`.

    Args:
        training: Whether to start in training mode; only there inputs are observed.
        quantization_formula: ``"google"`` or ``"cambricon"``.
        stop_update_after_iters: Last training step whose input is observed.
        quantization_bit: Bits of the integers, 2 to 8.
        quantization_scheme: ``"symmetric"`` for signed integers, ``"affine"`` for unsigned ones (google only).
        momentum: Weight of the past, 0 (only the latest input counts) to 1.

    Shape:
        Input of any shape, and the current training step: an integer, or a tensor with one. Scale and zero point (1,),
        without gradient.

    Raises:
        ValueError: an argument is none of those above.
        ShapeError: the input has no elements.
        RuntimeError: an input that is not observed comes before any that was, or all that was observed is 0.

    Reference:
        ``oneflow.nn.MovingAverageMinMaxObserver``, whose kernel takes the largest absolute value of the input where
        the text has ``|max(input)|``. There an average that reached 0 starts afresh; here only both together.

    >>> import flownn as flow
    >>> observer = MovingAverageMinMaxObserver(training=True, stop_update_after_iters=1, momentum=0.5)
    >>> _ = observer(flow.tensor([1.0, -2.0]), flow.tensor([0]))
    >>> _ = observer(flow.tensor([4.0, -2.0]), flow.tensor([1]))
    >>> observer.moving_max
    tensor([3.], dtype=flownn.float32)
    """

    moving_max: Tensor
    moving_min: Tensor

    def __init__(
        self,
        training: bool = False,
        quantization_formula: str = "google",
        stop_update_after_iters: int = 0,
        quantization_bit: int = 8,
        quantization_scheme: str = "symmetric",
        momentum: float = 0,
    ) -> None:
        super().__init__(quantization_formula, quantization_bit, quantization_scheme)
        if not 0 <= momentum <= 1:
            raise ValueError(f"MovingAverageMinMaxObserver: expected a momentum from 0 to 1, got {momentum}")
        self.training = training
        self.stop_update_after_iters = stop_update_after_iters
        self.momentum = momentum
        dtype = get_default_dtype().dtype
        self.register_buffer("moving_max", wrap(np.zeros(1, dtype)))
        self.register_buffer("moving_min", wrap(np.zeros(1, dtype)))

    def reset_running_stats(self) -> None:
        """Forget what was observed."""
        self.moving_max.zero_()
        self.moving_min.zero_()

    def forward(self, input: Tensor, current_train_step: Tensor | int) -> tuple[Tensor, Tensor]:
        """Observe ``input``, in training and up to the last step to observe; scale and zero point so far."""
        step = operator.index(current_train_step)
        update = self.training and step <= self.stop_update_after_iters
        if not update and not (self.moving_max.data.any() or self.moving_min.data.any()):
            raise RuntimeError(
                "MovingAverageMinMaxObserver: no input other than zeros was observed, so there is no scale; call it "
                f"in training mode at a step up to stop_update_after_iters={self.stop_update_after_iters}, "
                f"this is step {step}{'' if self.training else ' in evaluation mode'}"
            )
        scale, zero_point = ops.moving_average_min_max_observer(
            input, self.moving_max, self.moving_min, update=update, momentum=self.momentum, **self._attrs
        )
        return scale, zero_point


class Quantization(_Quantizing):
    """Replace numbers by the integers that stand for them, as in inference.

    Symmetric: ``clamp(round(x / scale), -q, q)`` with ``q = 2**(bit-1) - 1``. Affine: ``clamp(round(x / scale +
    zero_point), 0, 2**bit - 1) - zero_point``. Cambricon: ``clamp(round(x / 2**scale), -2**(bit-1), 2**(bit-1) - 1)``.
    Halves are rounded to even.

    Args:
        quantization_formula: ``"google"`` or ``"cambricon"``.
        quantization_bit: Bits of the integers, 2 to 8.
        quantization_scheme: ``"symmetric"`` for signed integers, ``"affine"`` for unsigned ones (google only).

    Shape:
        Input of any shape; scale and zero point from an observer, (1,) or (input.shape[0],) (google only); output like
        the input, in its type, without gradient.

    Raises:
        ValueError: an argument is none of those above.
        ShapeError: scale or zero point do not fit the input.

    Reference:
        ``oneflow.nn.Quantization``.

    >>> import flownn as flow
    >>> Quantization()(flow.tensor([-2.5, 0.31]), flow.tensor([0.02]), flow.tensor([0.0]))
    tensor([-125.,   16.], dtype=flownn.float32)
    """

    def forward(self, input: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
        """The integers for ``input``, in its own type."""
        return ops.quantize(input, scale, zero_point, **self._attrs)


class FakeQuantization(_Quantizing):
    """Round numbers to those that quantization can hold, so that training learns to live with it.

    What `Quantization` returns, times the scale (cambricon: ``2**scale``). The gradient passes unchanged, also where
    the value was clamped.

    Args:
        quantization_formula: ``"google"`` or ``"cambricon"``.
        quantization_bit: Bits of the integers, 2 to 8.
        quantization_scheme: ``"symmetric"`` for signed integers, ``"affine"`` for unsigned ones (google only).

    Shape:
        Input of any shape; scale and zero point from an observer, (1,) or (input.shape[0],) (google only); output like
        the input.

    Raises:
        ValueError: an argument is none of those above.
        ShapeError: scale or zero point do not fit the input.

    Reference:
        ``oneflow.nn.FakeQuantization``.

    >>> import flownn as flow
    >>> FakeQuantization(quantization_bit=2)(flow.tensor([-3.0, 0.4, 0.6]), flow.tensor([1.0]), flow.tensor([0.0]))
    tensor([-1.,  0.,  1.], dtype=flownn.float32)
    """

    def forward(self, input: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
        """``input`` quantized and back."""
        return ops.fake_quantize(input, scale, zero_point, **self._attrs)
