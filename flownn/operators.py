"""What tensors compute, as operators and methods: a table from Python's names to the ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from flownn import inplace
from flownn.graph import TensorBase
from flownn.ops import activation, compare, elementwise, reduce
from flownn.ops import index as indexing
from flownn.ops import matmul as products
from flownn.ops import shape as shapes
from flownn.ops import softmax as softmaxes
from flownn.ops.axes import axis_of
from flownn.random import Generator, default_generator

if TYPE_CHECKING:
    from flownn.tensor import Tensor


def _in_place(name: str, op: Callable[..., Tensor]) -> Callable[..., Any]:
    """A method that puts the op's result into the tensor's own memory and returns the tensor."""

    def method(self: Any, *operands: Any, **attrs: Any) -> Any:
        inplace.replace(self, name, op, *operands, **attrs)
        return self

    method.__name__ = name
    method.__doc__ = f"`{name.strip('_')}` into the tensor's own memory; a recorded graph continues from the result."
    return method


class Operators(TensorBase):
    """Everything that a tensor can be asked to compute."""

    # ------------------------------------------------------------ arithmetic

    add = __add__ = __radd__ = elementwise.add
    sub = subtract = __sub__ = elementwise.subtract
    __rsub__ = elementwise.reversed_subtract
    mul = multiply = __mul__ = __rmul__ = elementwise.multiply
    div = divide = elementwise.divide
    true_divide = __truediv__ = elementwise.true_divide
    __rtruediv__ = elementwise.reversed_divide
    floor_divide = __floordiv__ = elementwise.floor_divide
    __rfloordiv__ = elementwise.reversed_floor_divide
    remainder = __mod__ = elementwise.remainder
    __rmod__ = elementwise.reversed_remainder
    pow = __pow__ = elementwise.power
    __rpow__ = elementwise.reversed_power
    neg = negative = __neg__ = elementwise.negative
    abs = absolute = __abs__ = elementwise.absolute
    matmul = __matmul__ = products.matmul
    bmm = products.bmm

    def __rmatmul__(self, other: Any) -> Tensor:
        return products.matmul(other, self)

    def __pos__(self) -> Self:
        return self

    # ------------------------------------------------------------ comparison, logic, choice

    eq = compare.equal
    ne = __ne__ = compare.not_equal  # type: ignore[assignment]
    lt = __lt__ = compare.less
    le = __le__ = compare.less_equal
    gt = __gt__ = compare.greater
    ge = __ge__ = compare.greater_equal
    logical_and = compare.logical_and
    logical_or = compare.logical_or
    logical_xor = compare.logical_xor
    logical_not = compare.logical_not
    __and__ = __rand__ = compare.bitwise_and
    __or__ = __ror__ = compare.bitwise_or
    __xor__ = __rxor__ = compare.bitwise_xor
    __invert__ = compare.bitwise_not
    isnan = compare.isnan
    isinf = compare.isinf
    isfinite = compare.isfinite
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    clamp = clip = elementwise.clamp
    masked_fill = compare.masked_fill

    def __eq__(self, other: object) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else compare.equal(self, other)

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor where ``condition`` is true, else ``other``."""
        return compare.where(condition, self, other)

    # ------------------------------------------------------------ functions of single elements

    exp = elementwise.exp
    expm1 = elementwise.expm1
    log = elementwise.log
    log1p = elementwise.log1p
    log2 = elementwise.log2
    log10 = elementwise.log10
    sqrt = elementwise.sqrt
    rsqrt = elementwise.rsqrt
    square = elementwise.square
    reciprocal = elementwise.reciprocal
    sin = elementwise.sin
    cos = elementwise.cos
    tan = elementwise.tan
    asin = arcsin = elementwise.asin
    acos = arccos = elementwise.acos
    atan = arctan = elementwise.atan
    sinh = elementwise.sinh
    cosh = elementwise.cosh
    tanh = activation.tanh
    erf = elementwise.erf
    floor = elementwise.floor
    ceil = elementwise.ceil
    trunc = elementwise.trunc
    round = elementwise.round_
    sign = elementwise.sign
    relu = activation.relu
    sigmoid = activation.sigmoid
    prelu = activation.prelu

    def hardshrink(self, lambd: float = 0.5) -> Tensor:
        """The values, but 0 from ``-lambd`` to ``lambd``."""
        return activation.hardshrink(self, lambd=lambd)

    def softmax(self, dim: int) -> Tensor:
        """``exp(x) / sum(exp(x))`` along ``dim``."""
        return softmaxes.softmax(self, axis=axis_of("softmax", self.data.ndim, dim))

    def log_softmax(self, dim: int) -> Tensor:
        """``log(softmax(x))`` along ``dim``."""
        return softmaxes.log_softmax(self, axis=axis_of("log_softmax", self.data.ndim, dim))

    # ------------------------------------------------------------ reductions

    sum = reduce.sum
    mean = reduce.mean
    prod = reduce.prod
    var = reduce.var
    std = reduce.std
    norm = reduce.norm
    logsumexp = reduce.logsumexp
    cumsum = reduce.cumsum
    max = reduce.max
    min = reduce.min
    amax = reduce.amax
    amin = reduce.amin
    argmax = reduce.argmax
    argmin = reduce.argmin
    all = reduce.all
    any = reduce.any

    # ------------------------------------------------------------ shape

    reshape = shapes.reshape
    reshape_as = shapes.reshape_as
    view = shapes.view
    view_as = shapes.view_as
    flatten = shapes.flatten
    unflatten = shapes.unflatten
    squeeze = shapes.squeeze
    unsqueeze = shapes.unsqueeze
    permute = shapes.permute
    transpose = swapaxes = shapes.transpose
    movedim = shapes.movedim
    t = shapes.t
    expand = broadcast_to = shapes.expand
    expand_as = shapes.expand_as
    contiguous = shapes.contiguous
    repeat = shapes.repeat
    flip = shapes.flip
    split = shapes.split
    chunk = shapes.chunk
    unbind = shapes.unbind
    clone = elementwise.clone

    # ------------------------------------------------------------ indexing

    __getitem__ = indexing.getitem
    index_select = indexing.index_select
    gather = indexing.gather
    masked_select = indexing.masked_select
    nonzero = indexing.nonzero

    def __setitem__(self, key: Any, value: Any) -> None:
        inplace.assign(self, "index assignment", key, value)

    # ------------------------------------------------------------ in place

    add_ = __iadd__ = _in_place("add_", elementwise.add)
    sub_ = subtract_ = __isub__ = _in_place("sub_", elementwise.subtract)
    mul_ = multiply_ = __imul__ = _in_place("mul_", elementwise.multiply)
    div_ = divide_ = __itruediv__ = _in_place("div_", elementwise.divide)
    pow_ = __ipow__ = _in_place("pow_", elementwise.power)
    __ifloordiv__ = _in_place("floor_divide_", elementwise.floor_divide)
    neg_ = _in_place("neg_", elementwise.negative)
    abs_ = _in_place("abs_", elementwise.absolute)
    exp_ = _in_place("exp_", elementwise.exp)
    sqrt_ = _in_place("sqrt_", elementwise.sqrt)
    relu_ = _in_place("relu_", activation.relu)
    sigmoid_ = _in_place("sigmoid_", activation.sigmoid)
    tanh_ = _in_place("tanh_", activation.tanh)
    clamp_ = clip_ = _in_place("clamp_", elementwise.clamp)
    masked_fill_ = _in_place("masked_fill_", compare.masked_fill)

    def copy_(self, source: Any) -> Self:
        """Take the values of ``source``, which broadcasts to this shape and is converted to this type."""
        inplace.assign(self, "copy_", ..., source)
        return self

    def fill_(self, value: Any) -> Self:
        """Set every element to one number."""
        inplace.assign(self, "fill_", ..., value)
        return self

    def zero_(self) -> Self:
        """Set every element to 0."""
        inplace.assign(self, "zero_", ..., 0)
        return self

    def uniform_(self, low: float = 0.0, high: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Draw every element uniformly from [low, high).

        Args:
            low: Lower end.
            high: Upper end.
            generator: Where to draw from; None means the default generator.
        """
        drawn = (generator or default_generator).uniform(self.data.shape, np.dtype(np.float64))
        inplace.assign(self, "uniform_", ..., drawn * (high - low) + low)
        return self

    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Draw every element from a normal distribution.

        Args:
            mean: Its centre.
            std: Its standard deviation.
            generator: Where to draw from; None means the default generator.
        """
        drawn = (generator or default_generator).normal(self.data.shape, np.dtype(np.float64))
        inplace.assign(self, "normal_", ..., drawn * std + mean)
        return self
