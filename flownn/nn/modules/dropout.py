"""Dropout layers."""

from __future__ import annotations

from flownn.nn import functional as F
from flownn.nn.modules.module import Module
from flownn.random import Generator
from flownn.tensor import Tensor

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d"]


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False, generator: Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: expected a probability p between 0 and 1, got {p}")
        self.p = p
        self.inplace = inplace
        self.generator = generator

    def extra_repr(self) -> str:
        """Probability and whether in place."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero random elements in training mode, and scale the others up so that the mean stays.

    Args:
        p: Probability of zeroing an element.
        inplace: Write the result into the input's memory.
        generator: Where to draw from; None means the default generator, which `flownn.manual_seed` sets.

    Shape:
        Input of any shape; output the same; in evaluation mode the input itself.

    Raises:
        ValueError: ``p`` is not a probability.
        DtypeError: the input is not floating point.

    Reference:
        Srivastava et al., 2014; ``torch.nn.Dropout``.

    >>> import flownn as flow
    >>> Dropout(p=0)(flow.ones(2, 2))
    tensor([[1., 1.],
            [1., 1.]], dtype=flownn.float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements of ``input``."""
        return F.dropout(input, self.p, self.training, self.inplace, generator=self.generator)


class Dropout1d(_Dropout):
    """Zero random channels of sequences in training mode, and scale the others up so that the mean stays.

    Args:
        p: Probability of zeroing a channel.
        inplace: Write the result into the input's memory.
        generator: Where to draw from; None means the default generator, which `flownn.manual_seed` sets.

    Shape:
        Input (N, C, L) or (C, L); output the same; in evaluation mode the input itself.

    Raises:
        ValueError: ``p`` is not a probability.
        ShapeError: the input has another number of dims.
        DtypeError: the input is not floating point.

    Reference:
        Tompson et al., 2015; ``torch.nn.Dropout1d``.

    >>> import flownn as flow
    >>> channels = Dropout1d(0.5)(flow.ones(2, 3, 4)).reshape(6, -1)
    >>> all(channel.min() == channel.max() for channel in channels)
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop channels of ``input``."""
        return F.dropout1d(input, self.p, self.training, self.inplace, generator=self.generator)


class Dropout2d(_Dropout):
    """Zero random channels of images in training mode, and scale the others up so that the mean stays.

    Args:
        p: Probability of zeroing a channel.
        inplace: Write the result into the input's memory.
        generator: Where to draw from; None means the default generator, which `flownn.manual_seed` sets.

    Shape:
        Input (N, C, H, W), or (N, C, L) as in PyTorch; output the same; in evaluation mode the input itself.

    Raises:
        ValueError: ``p`` is not a probability.
        ShapeError: the input has another number of dims.
        DtypeError: the input is not floating point.

    Reference:
        Tompson et al., 2015; ``torch.nn.Dropout2d``.

    >>> import flownn as flow
    >>> channels = Dropout2d(0.5)(flow.ones(2, 3, 4, 4)).reshape(6, -1)
    >>> all(channel.min() == channel.max() for channel in channels)
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop channels of ``input``."""
        return F.dropout2d(input, self.p, self.training, self.inplace, generator=self.generator)


class Dropout3d(_Dropout):
    """Zero random channels of volumes in training mode, and scale the others up so that the mean stays.

    Args:
        p: Probability of zeroing a channel.
        inplace: Write the result into the input's memory.
        generator: Where to draw from; None means the default generator, which `flownn.manual_seed` sets.

    Shape:
        Input (N, C, D, H, W) or (C, D, H, W); output the same; in evaluation mode the input itself.

    Raises:
        ValueError: ``p`` is not a probability.
        ShapeError: the input has another number of dims.
        DtypeError: the input is not floating point.

    Reference:
        Tompson et al., 2015; ``torch.nn.Dropout3d``.

    >>> import flownn as flow
    >>> channels = Dropout3d(0.5)(flow.ones(2, 3, 4, 4, 4)).reshape(6, -1)
    >>> all(channel.min() == channel.max() for channel in channels)
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop channels of ``input``."""
        return F.dropout3d(input, self.p, self.training, self.inplace, generator=self.generator)


class AlphaDropout(_Dropout):
    """Set random elements to SELU's lower limit in training mode, and keep mean 0 and variance 1.

    Args:
        p: Probability of dropping an element.
        inplace: Write the result into the input's memory.
        generator: Where to draw from; None means the default generator, which `flownn.manual_seed` sets.

    Shape:
        Input of any shape; output the same; in evaluation mode the input itself.

    Raises:
        ValueError: ``p`` is not a probability.
        DtypeError: the input is not floating point.

    Reference:
        Klambauer et al., 2017; ``torch.nn.AlphaDropout``.

    >>> import flownn as flow
    >>> AlphaDropout(p=0)(flow.ones(2))
    tensor([1., 1.], dtype=flownn.float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements of ``input``."""
        return F.alpha_dropout(input, self.p, self.training, self.inplace, generator=self.generator)
