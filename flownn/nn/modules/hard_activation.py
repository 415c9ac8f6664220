"""Activation layers made of straight lines."""

from __future__ import annotations

import warnings

from flownn.nn.modules.activation import Activation
from flownn.ops import activation

__all__ = ["Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "ReLU6", "Softshrink", "Threshold"]


class Hardtanh(Activation):
    """Keep every element between two limits.

    Args:
        min_val: Smallest result.
        max_val: Largest result.
        inplace: Write the result into the input's memory.
        min_value: Deprecated name of ``min_val``; wins over it where given.
        max_value: Deprecated name of ``max_val``; wins over it where given.

    Shape:
        Input of any shape; output the same.

    Raises:
        ValueError: ``min_val`` is not below ``max_val``.

    Reference:
        ``torch.nn.Hardtanh``. The gradient is 0 at and beyond the limits.

    >>> import flownn as flow
    >>> Hardtanh()(flow.tensor([0.2, 0.3, 3.0, -4.0]))
    tensor([ 0.2000,  0.3000,  1.0000, -1.0000], dtype=flownn.float32)
    """

    min_val: float
    max_val: float
    op = staticmethod(activation.hardtanh)

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        if min_value is not None:
            warnings.warn("Hardtanh: min_value is deprecated, use min_val", DeprecationWarning, stacklevel=2)
            min_val = min_value
        if max_value is not None:
            warnings.warn("Hardtanh: max_value is deprecated, use max_val", DeprecationWarning, stacklevel=2)
            max_val = max_value
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: expected min_val below max_val, got {min_val} and {max_val}")
        super().__init__(inplace=inplace, min_val=min_val, max_val=max_val)


class ReLU6(Hardtanh):
    """Keep every element between 0 and 6.

    Args:
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Reference:
        ``torch.nn.ReLU6``. The gradient is 0 at and beyond the limits.

    >>> import flownn as flow
    >>> ReLU6()(flow.tensor([-0.5, 0.5, 7.0]))
    tensor([0.0000, 0.5000, 6.0000], dtype=flownn.float32)
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        """Only ``inplace`` where it is set."""
        return "inplace=True" if self.inplace else ""


class Threshold(Activation):
    """Replace what does not exceed a threshold by a value.

    Args:
        threshold: Elements above it stay.
        value: What the others become.
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Reference:
        ``torch.nn.Threshold``.

    >>> import flownn as flow
    >>> Threshold(threshold=0.5, value=0.2)(flow.tensor([-1.0, 0.0, 0.5, 1.0]))
    tensor([0.2000, 0.2000, 0.2000, 1.0000], dtype=flownn.float32)
    """

    op = staticmethod(activation.threshold)

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace=inplace, threshold=threshold, value=value)


class Hardsigmoid(Activation):
    """Approximate the sigmoid by a line: ``x / 6 + 1 / 2``, but not below 0 and not above 1.

    Args:
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.Hardsigmoid``.

    >>> import flownn as flow
    >>> Hardsigmoid()(flow.tensor([-0.5, 0.0, 0.5]))
    tensor([0.4167, 0.5000, 0.5833], dtype=flownn.float32)
    """

    op = staticmethod(activation.hardsigmoid)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class Hardswish(Activation):
    """Multiply every element by its hard sigmoid: 0 up to -3, ``x`` from 3 on, ``x * (x + 3) / 6`` between.

    Args:
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        Howard et al., 2019; ``torch.nn.Hardswish``.

    >>> import flownn as flow
    >>> Hardswish()(flow.tensor([-0.5, 0.0, 0.5]))
    tensor([-0.2083,  0.0000,  0.2917], dtype=flownn.float32)
    """

    op = staticmethod(activation.hardswish)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class _Shrink(Activation):
    def __init__(self, lambd: float = 0.5, inplace: bool = False) -> None:
        super().__init__(inplace=inplace, lambd=lambd)

    def extra_repr(self) -> str:
        """The bound without its name, as in PyTorch, and ``inplace`` where it is set."""
        return super().extra_repr().removeprefix("lambd=")


class Hardshrink(_Shrink):
    """Replace small elements by zero: those from ``-lambd`` to ``lambd``.

    Args:
        lambd: Largest absolute value that becomes 0.
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.Hardshrink``; ``inplace`` as in ``oneflow.nn.Hardshrink``.

    >>> import flownn as flow
    >>> Hardshrink(lambd=0.5)(flow.tensor([-1.1, 0.0, 0.2, 0.5]))
    tensor([-1.1000,  0.0000,  0.0000,  0.0000], dtype=flownn.float32)
    """

    op = staticmethod(activation.hardshrink)


class Softshrink(_Shrink):
    """Move every element towards zero by ``lambd``, but not across.

    Args:
        lambd: How far; at least 0.
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same: ``x - lambd`` above lambd, ``x + lambd`` below ``-lambd``, 0 between.

    Raises:
        ValueError: ``lambd`` is negative.
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.Softshrink``; ``inplace`` as in ``oneflow.nn.Softshrink``.

    >>> import flownn as flow
    >>> Softshrink(lambd=0.5)(flow.tensor([-1.0, 0.0, 0.2, 0.5]))
    tensor([-0.5000,  0.0000,  0.0000,  0.0000], dtype=flownn.float32)
    """

    op = staticmethod(activation.softshrink)
