"""Activation layers: rectifiers, exponential units and smooth gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from flownn import creation
from flownn.inplace import replace
from flownn.nn import functional as F
from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter
from flownn.ops import activation
from flownn.tensor import Tensor

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Activation",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
]


class Activation(Module):
    """Base class of activations: keeps the attributes, calls ``op`` with them, prints them in ``repr``.

    Args:
        inplace: Write the result into the input's memory.
        attrs: Keyword arguments of the op.
    """

    op: ClassVar[Callable[..., Any]]

    def __init__(self, *, inplace: bool = False, **attrs: Any) -> None:
        super().__init__()
        self.inplace = inplace
        self._names = tuple(attrs)
        for name, value in attrs.items():
            setattr(self, name, value)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function."""
        attrs = {name: getattr(self, name) for name in self._names}
        if self.inplace:
            replace(input, f"{type(self).__name__}(inplace=True)", type(self).op, **attrs)
            return input
        result: Tensor = type(self).op(input, **attrs)
        return result

    def extra_repr(self) -> str:
        """The attributes, and ``inplace`` where it is set."""
        parts = [f"{name}={getattr(self, name)!r}" for name in self._names]
        return ", ".join([*parts, "inplace=True"] if self.inplace else parts)


class ReLU(Activation):
    """Replace negative elements by zero.

    Args:
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Reference:
        ``torch.nn.ReLU``.

    >>> import flownn as flow
    >>> ReLU()(flow.tensor([1.0, -2.0, 3.0]))
    tensor([1., 0., 3.], dtype=flownn.float32)
    """

    op = staticmethod(activation.relu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class LeakyReLU(Activation):
    """Scale negative elements down: ``x`` where positive, ``negative_slope * x`` elsewhere.

    Args:
        negative_slope: Factor of negative elements.
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.LeakyReLU``.

    >>> import flownn as flow
    >>> LeakyReLU(0.1)(flow.tensor([0.2, -3.0]))
    tensor([ 0.2000, -0.3000], dtype=flownn.float32)
    """

    op = staticmethod(activation.leaky_relu)

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__(inplace=inplace, negative_slope=negative_slope)


class PReLU(Module):
    """Scale negative elements by a learned factor, one for all or one per channel.

    Weight decay pulls the factor to 0; leave it out for this parameter.

    Args:
        num_parameters: 1, or the number of channels.
        init: First value of the factors.
        device: Where to keep them; None means the cpu.
        dtype: Their element type; None means the default type.

    Shape:
        Input of any shape, whose dim 1 counts the channels (without a dim 1 there is one); output the same.
        ``weight`` is (num_parameters,).

    Raises:
        ShapeError: ``num_parameters`` is neither 1 nor the number of channels.
        DtypeError: the input has another type than the factors.

    Reference:
        He et al., 2015; ``torch.nn.PReLU``.

    >>> import flownn as flow
    >>> PReLU()(flow.tensor([[1.0, -2.0]]))
    tensor([[ 1.0000, -0.5000]], dtype=flownn.float32, grad_fn=<prelu_backward>)
    """

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if num_parameters < 1:
            raise ValueError(f"PReLU: expected a positive num_parameters, got {num_parameters}")
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(creation.full((num_parameters,), float(init), dtype=dtype, device=device))

    def forward(self, input: Tensor) -> Tensor:
        """Scale the negative elements of ``input``."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """The number of factors."""
        return f"num_parameters={self.num_parameters}"


class ELU(Activation):
    """Let negative elements approach ``-alpha``: ``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere.

    Args:
        alpha: Minus the value that very negative elements get.
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        Clevert et al., 2015; ``torch.nn.ELU``.

    >>> import flownn as flow
    >>> ELU()(flow.tensor([-0.5, 0.0, 0.5]))
    tensor([-0.3935,  0.0000,  0.5000], dtype=flownn.float32)
    """

    op = staticmethod(activation.elu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace=inplace, alpha=alpha)


class CELU(Activation):
    """Let negative elements approach ``-alpha`` with slope 1 at 0: there ``alpha * (exp(x / alpha) - 1)``.

    Args:
        alpha: Minus the value that very negative elements get; not 0.
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Raises:
        ValueError: ``alpha`` is 0.
        DtypeError: the input is not floating point.

    Reference:
        Barron, 2017; ``torch.nn.CELU``.

    >>> import flownn as flow
    >>> CELU(alpha=0.5)(flow.tensor([-0.5, 0.0, 0.5]))
    tensor([-0.3161,  0.0000,  0.5000], dtype=flownn.float32)
    """

    op = staticmethod(activation.celu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace=inplace, alpha=alpha)


class SELU(Activation):
    """Apply the `ELU` whose alpha and scale keep mean 0 and variance 1 from layer to layer.

    Initialise the layer before it with ``kaiming_normal_(weight, nonlinearity="linear")``.

    Args:
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same: ``scale * x`` where positive, ``scale * alpha * (exp(x) - 1)`` elsewhere,
        scale = 1.0507009873554805, alpha = 1.6732632423543772.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        Klambauer et al., 2017; ``torch.nn.SELU``.

    >>> import flownn as flow
    >>> SELU()(flow.tensor([1.0, 2.0, 3.0]))
    tensor([1.0507, 2.1014, 3.1521], dtype=flownn.float32)
    """

    op = staticmethod(activation.selu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class Sigmoid(Activation):
    """Map every element to 0 .. 1: ``1 / (1 + exp(-x))``.

    Shape:
        Input of any shape; output the same. Integers give the default floating point type.

    Reference:
        ``torch.nn.Sigmoid``.

    >>> import flownn as flow
    >>> Sigmoid()(flow.tensor([-1.0, 0.0, 1.0]))
    tensor([0.2689, 0.5000, 0.7311], dtype=flownn.float32)
    """

    op = staticmethod(activation.sigmoid)

    def __init__(self) -> None:
        super().__init__()


class LogSigmoid(Activation):
    """Take the logarithm of the sigmoid, exact also where the sigmoid underflows.

    Shape:
        Input of any shape; output the same.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.LogSigmoid``.

    >>> import flownn as flow
    >>> LogSigmoid()(flow.tensor([-0.5, 0.0, 0.5]))
    tensor([-0.9741, -0.6931, -0.4741], dtype=flownn.float32)
    """

    op = staticmethod(activation.log_sigmoid)

    def __init__(self) -> None:
        super().__init__()


class Tanh(Activation):
    """Map every element to -1 .. 1: the hyperbolic tangent.

    Shape:
        Input of any shape; output the same. Integers give the default floating point type.

    Reference:
        ``torch.nn.Tanh``.

    >>> import flownn as flow
    >>> Tanh()(flow.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.7616,  0.0000,  0.7616], dtype=flownn.float32)
    """

    op = staticmethod(activation.tanh)

    def __init__(self) -> None:
        super().__init__()


class Softsign(Activation):
    """Map every element to -1 .. 1, slowly: ``x / (1 + abs(x))``.

    Args:
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same. Integers give the default floating point type.

    Reference:
        ``torch.nn.Softsign``; ``inplace`` as in ``oneflow.nn.Softsign``.

    >>> import flownn as flow
    >>> Softsign()(flow.tensor([1.0, 2.0, 3.0]))
    tensor([0.5000, 0.6667, 0.7500], dtype=flownn.float32)
    """

    op = staticmethod(activation.softsign)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class Softplus(Activation):
    """Smooth the rectifier, for results that are always positive: ``log(1 + exp(beta * x)) / beta``.

    Args:
        beta: How sharp the bend at 0 is.
        threshold: Where ``beta * x`` exceeds it the result is ``x``.

    Shape:
        Input of any shape; output the same.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        ``torch.nn.Softplus``.

    >>> import flownn as flow
    >>> Softplus()(flow.tensor([-0.5, 0.0, 0.5]))
    tensor([0.4741, 0.6931, 0.9741], dtype=flownn.float32)
    """

    op = staticmethod(activation.softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class SiLU(Activation):
    """Multiply every element by its sigmoid; also called swish.

    Args:
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        Elfwing et al., 2017; ``torch.nn.SiLU``.

    >>> import flownn as flow
    >>> SiLU()(flow.tensor([1.0, 2.0, 3.0]))
    tensor([0.7311, 1.7616, 2.8577], dtype=flownn.float32)
    """

    op = staticmethod(activation.silu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class Mish(Activation):
    """Multiply every element by the hyperbolic tangent of its softplus.

    Args:
        inplace: Write the result into the input's memory.

    Shape:
        Input of any shape; output the same.

    Raises:
        DtypeError: the input is not floating point.

    Reference:
        Misra, 2019; ``torch.nn.Mish``.

    >>> import flownn as flow
    >>> Mish()(flow.tensor([1.0, 2.0, 3.0]))
    tensor([0.8651, 1.9440, 2.9865], dtype=flownn.float32)
    """

    op = staticmethod(activation.mish)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class GELU(Activation):
    """Multiply every element by the probability that a standard normal number is below it.

    Args:
        approximate: "none" for the error function, ``x / 2 * (1 + erf(x / sqrt(2)))``, or "tanh" for
            ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``.

    Shape:
        Input of any shape; output the same.

    Raises:
        ValueError: another ``approximate``.
        DtypeError: the input is not floating point.

    Reference:
        Hendrycks and Gimpel, 2016; ``torch.nn.GELU``. The text of ``oneflow.nn.GELU`` states the formula with tanh,
        its code computes the error function; they differ by less than 0.0005.

    >>> import flownn as flow
    >>> GELU()(flow.tensor([-0.5, 0.0, 0.5]))
    tensor([-0.1543,  0.0000,  0.3457], dtype=flownn.float32)
    """

    op = staticmethod(activation.gelu)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__(approximate=approximate)


class GLU(Activation):
    """Multiply the first half of a dim by the sigmoid of the second.

    Args:
        dim: Dim to halve.

    Shape:
        Input (..., M, ...) with an even M at ``dim``; output (..., M / 2, ...).

    Raises:
        ShapeError: there is no such dim, or its size is odd.
        DtypeError: the input is not floating point.

    Reference:
        Dauphin et al., 2016; ``torch.nn.GLU``.

    >>> import flownn as flow
    >>> GLU()(flow.tensor([[1.0, 2.0, 3.0, 4.0]]))
    tensor([[0.9526, 1.9640]], dtype=flownn.float32)
    """

    op = staticmethod(activation.glu)

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim=dim)
