"""What tensors compute into their own memory: each function of elements again, under its name with ``_``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from flownn import backend, inplace
from flownn.graph import TensorBase
from flownn.ops import activation, arithmetic, compare, elementwise, products, scan, scatter, special
from flownn.ops import diagonal as diagonals
from flownn.random import Generator, default_generator


def _in_place(name: str, op: Callable[..., Any]) -> Callable[..., Any]:
    """A method that puts the op's result into the tensor's own memory and returns the tensor."""

    def method(self: Any, *operands: Any, **attrs: Any) -> Any:
        inplace.replace(self, name, op, *operands, **attrs)
        return self

    method.__name__ = name
    method.__doc__ = f"`{name.strip('_')}` into the tensor's own memory; a recorded graph continues from the result."
    return method


class InPlaceOperators(TensorBase):
    """Everything that a tensor can be asked to become."""

    # ------------------------------------------------------------ arithmetic

    add_ = __iadd__ = _in_place("add_", elementwise.add)
    sub_ = subtract_ = __isub__ = _in_place("sub_", elementwise.subtract)
    mul_ = multiply_ = __imul__ = _in_place("mul_", elementwise.multiply)
    div_ = divide_ = __itruediv__ = _in_place("div_", elementwise.divide)
    true_divide_ = _in_place("true_divide_", elementwise.true_divide)
    floor_divide_ = __ifloordiv__ = _in_place("floor_divide_", elementwise.floor_divide)
    remainder_ = __imod__ = _in_place("remainder_", elementwise.remainder)
    fmod_ = _in_place("fmod_", arithmetic.fmod)
    pow_ = __ipow__ = _in_place("pow_", elementwise.power)
    float_power_ = _in_place("float_power_", arithmetic.float_power)
    atan2_ = arctan2_ = _in_place("atan2_", arithmetic.atan2)
    hypot_ = _in_place("hypot_", arithmetic.hypot)
    copysign_ = _in_place("copysign_", arithmetic.copysign)
    xlogy_ = _in_place("xlogy_", arithmetic.xlogy)
    lerp_ = _in_place("lerp_", arithmetic.lerp)
    addcmul_ = _in_place("addcmul_", arithmetic.addcmul)
    addcdiv_ = _in_place("addcdiv_", arithmetic.addcdiv)
    clamp_ = clip_ = _in_place("clamp_", elementwise.clamp)
    clamp_min_ = _in_place("clamp_min_", arithmetic.clamp_min)
    clamp_max_ = _in_place("clamp_max_", arithmetic.clamp_max)

    heaviside_ = _in_place("heaviside_", arithmetic.heaviside)
    gcd_ = _in_place("gcd_", arithmetic.gcd)
    lcm_ = _in_place("lcm_", arithmetic.lcm)
    addmm_ = _in_place("addmm_", products.addmm)
    addmv_ = _in_place("addmv_", products.addmv)
    addr_ = _in_place("addr_", products.addr)
    addbmm_ = _in_place("addbmm_", products.addbmm)
    baddbmm_ = _in_place("baddbmm_", products.baddbmm)

    # ------------------------------------------------------------ functions of single elements

    neg_ = negative_ = _in_place("neg_", elementwise.negative)
    abs_ = absolute_ = _in_place("abs_", elementwise.absolute)
    sign_ = sgn_ = _in_place("sign_", elementwise.sign)
    exp_ = _in_place("exp_", elementwise.exp)
    exp2_ = _in_place("exp2_", special.exp2)
    expm1_ = _in_place("expm1_", elementwise.expm1)
    log_ = _in_place("log_", elementwise.log)
    log1p_ = _in_place("log1p_", elementwise.log1p)
    log2_ = _in_place("log2_", elementwise.log2)
    log10_ = _in_place("log10_", elementwise.log10)
    sqrt_ = _in_place("sqrt_", elementwise.sqrt)
    rsqrt_ = _in_place("rsqrt_", elementwise.rsqrt)
    square_ = _in_place("square_", elementwise.square)
    reciprocal_ = _in_place("reciprocal_", elementwise.reciprocal)
    sin_ = _in_place("sin_", elementwise.sin)
    cos_ = _in_place("cos_", elementwise.cos)
    tan_ = _in_place("tan_", elementwise.tan)
    asin_ = arcsin_ = _in_place("asin_", elementwise.asin)
    acos_ = arccos_ = _in_place("acos_", elementwise.acos)
    atan_ = arctan_ = _in_place("atan_", elementwise.atan)
    sinh_ = _in_place("sinh_", elementwise.sinh)
    cosh_ = _in_place("cosh_", elementwise.cosh)
    tanh_ = _in_place("tanh_", activation.tanh)
    asinh_ = arcsinh_ = _in_place("asinh_", special.asinh)
    acosh_ = arccosh_ = _in_place("acosh_", special.acosh)
    atanh_ = arctanh_ = _in_place("atanh_", special.atanh)
    erf_ = _in_place("erf_", elementwise.erf)
    erfc_ = _in_place("erfc_", special.erfc)
    erfinv_ = _in_place("erfinv_", special.erfinv)
    lgamma_ = _in_place("lgamma_", special.lgamma)
    digamma_ = _in_place("digamma_", special.digamma)
    sinc_ = _in_place("sinc_", special.sinc)
    sigmoid_ = _in_place("sigmoid_", activation.sigmoid)
    logit_ = _in_place("logit_", special.logit)
    relu_ = _in_place("relu_", activation.relu)
    floor_ = _in_place("floor_", elementwise.floor)
    ceil_ = _in_place("ceil_", elementwise.ceil)
    round_ = _in_place("round_", elementwise.round_)
    trunc_ = fix_ = _in_place("trunc_", elementwise.trunc)
    frac_ = _in_place("frac_", special.frac)
    nan_to_num_ = _in_place("nan_to_num_", special.nan_to_num)
    deg2rad_ = _in_place("deg2rad_", special.deg2rad)
    rad2deg_ = _in_place("rad2deg_", special.rad2deg)

    # ------------------------------------------------------------ comparison, logic

    eq_ = _in_place("eq_", compare.eq)
    ne_ = not_equal_ = _in_place("ne_", compare.not_equal)
    lt_ = less_ = _in_place("lt_", compare.less)
    le_ = less_equal_ = _in_place("le_", compare.less_equal)
    gt_ = greater_ = _in_place("gt_", compare.greater)
    ge_ = greater_equal_ = _in_place("ge_", compare.greater_equal)
    logical_and_ = _in_place("logical_and_", compare.logical_and)
    logical_or_ = _in_place("logical_or_", compare.logical_or)
    logical_xor_ = _in_place("logical_xor_", compare.logical_xor)
    logical_not_ = _in_place("logical_not_", compare.logical_not)
    bitwise_and_ = __iand__ = _in_place("bitwise_and_", compare.bitwise_and)
    bitwise_or_ = __ior__ = _in_place("bitwise_or_", compare.bitwise_or)
    bitwise_xor_ = __ixor__ = _in_place("bitwise_xor_", compare.bitwise_xor)
    bitwise_not_ = _in_place("bitwise_not_", compare.bitwise_not)
    bitwise_left_shift_ = __ilshift__ = _in_place("bitwise_left_shift_", compare.bitwise_left_shift)
    bitwise_right_shift_ = __irshift__ = _in_place("bitwise_right_shift_", compare.bitwise_right_shift)

    # ------------------------------------------------------------ parts

    masked_fill_ = _in_place("masked_fill_", compare.masked_fill)
    masked_scatter_ = _in_place("masked_scatter_", scatter.masked_scatter)
    index_add_ = _in_place("index_add_", scatter.index_add)
    index_copy_ = _in_place("index_copy_", scatter.index_copy)
    index_fill_ = _in_place("index_fill_", scatter.index_fill)
    index_put_ = _in_place("index_put_", scatter.index_put)
    scatter_ = _in_place("scatter_", scatter.scatter)
    scatter_add_ = _in_place("scatter_add_", scatter.scatter_add)
    scatter_reduce_ = _in_place("scatter_reduce_", scatter.scatter_reduce)
    fill_diagonal_ = _in_place("fill_diagonal_", diagonals.fill_diagonal)
    tril_ = _in_place("tril_", diagonals.tril)
    triu_ = _in_place("triu_", diagonals.triu)
    cumsum_ = _in_place("cumsum_", scan.cumsum)
    cumprod_ = _in_place("cumprod_", scan.cumprod)

    def __setitem__(self, key: Any, value: Any) -> None:
        inplace.assign(self, "index assignment", key, value)

    # ------------------------------------------------------------ whole values

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

    # ------------------------------------------------------------ random values

    def _draw(self, name: str, values: Any) -> Self:
        inplace.assign(self, name, ..., backend.to_device(values, backend.device_of(self.data)))
        return self

    def uniform_(self, low: float = 0.0, high: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Draw every element uniformly from [low, high).

        Args:
            low: Lower end.
            high: Upper end.
            generator: Where to draw from; None means the default generator.
        """
        drawn = (generator or default_generator).uniform(self.data.shape, np.dtype(np.float64))
        return self._draw("uniform_", drawn * (high - low) + low)

    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Draw every element from a normal distribution.

        Args:
            mean: Its centre.
            std: Its standard deviation.
            generator: Where to draw from; None means the default generator.
        """
        drawn = (generator or default_generator).normal(self.data.shape, np.dtype(np.float64))
        return self._draw("normal_", drawn * std + mean)

    def bernoulli_(self, p: Any = 0.5, *, generator: Generator | None = None) -> Self:
        """Set every element to 1 with probability ``p``, else to 0.

        Args:
            p: A number, or a tensor that broadcasts to this shape.
            generator: Where to draw from; None means the default generator.

        Raises:
            ValueError: a probability outside [0, 1].
        """
        chance = np.asarray(backend.to_device(p.data, backend.CPU) if isinstance(p, TensorBase) else p, np.float64)
        if not ((chance >= 0) & (chance <= 1)).all():
            raise ValueError("bernoulli_: expected probabilities from 0 to 1")
        drawn = (generator or default_generator).uniform(self.data.shape, np.dtype(np.float64))
        return self._draw("bernoulli_", (drawn < chance).astype(np.float64))

    def random_(self, low: int = 0, high: int | None = None, *, generator: Generator | None = None) -> Self:
        """Draw every element from the integers from ``low`` to ``high - 1``; ``random_(high)`` starts at 0.

        Args:
            low: Smallest integer.
            high: One more than the largest.
            generator: Where to draw from; None means the default generator.

        Raises:
            ValueError: ``high`` is not above ``low``.
        """
        start, end = (0, low) if high is None else (low, high)
        if end <= start:
            raise ValueError(f"random_: expected high above low, got {start} and {end}")
        return self._draw("random_", (generator or default_generator).integers(start, end, self.data.shape))

    def exponential_(self, lambd: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Draw every element from the exponential distribution.

        Args:
            lambd: Its rate, above 0.
            generator: Where to draw from; None means the default generator.

        Raises:
            ValueError: ``lambd`` is not positive.
        """
        if not lambd > 0:
            raise ValueError(f"exponential_: expected a positive rate, got {lambd}")
        drawn = (generator or default_generator).uniform(self.data.shape, np.dtype(np.float64))
        return self._draw("exponential_", -np.log1p(-drawn) / lambd)
