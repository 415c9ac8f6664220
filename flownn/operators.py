"""What tensors compute, as operators and methods: a table from Python's names to the ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from flownn import sampling
from flownn.operators_in_place import InPlaceOperators
from flownn.ops import (
    activation,
    arithmetic,
    compare,
    distance,
    elementwise,
    layout,
    linalg,
    products,
    rearrange,
    reduce,
    scan,
    special,
    statistics,
)
from flownn.ops import diagonal as diagonals
from flownn.ops import index as indexing
from flownn.ops import matmul as multiplication
from flownn.ops import scatter as scattering
from flownn.ops import shape as shapes
from flownn.ops import softmax as softmaxes
from flownn.ops import sort as ordering
from flownn.ops.axes import axis_of

if TYPE_CHECKING:
    from flownn.tensor import Tensor


class Operators(InPlaceOperators):
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
    fmod = arithmetic.fmod
    float_power = arithmetic.float_power
    atan2 = arctan2 = arithmetic.atan2
    hypot = arithmetic.hypot
    copysign = arithmetic.copysign
    heaviside = arithmetic.heaviside
    gcd = arithmetic.gcd
    lcm = arithmetic.lcm
    xlogy = arithmetic.xlogy
    logaddexp = arithmetic.logaddexp
    logaddexp2 = arithmetic.logaddexp2
    lerp = arithmetic.lerp
    addcmul = arithmetic.addcmul
    addcdiv = arithmetic.addcdiv

    def __pos__(self) -> Self:
        return self

    positive = __pos__

    # ------------------------------------------------------------ products

    matmul = __matmul__ = multiplication.matmul
    bmm = multiplication.bmm
    mm = products.mm
    mv = products.mv
    dot = products.dot
    vdot = products.dot
    inner = products.inner
    outer = ger = products.outer
    kron = products.kron
    cross = products.cross
    trace = products.trace
    addmm = products.addmm
    addmv = products.addmv
    addr = products.addr
    addbmm = products.addbmm
    baddbmm = products.baddbmm

    def __rmatmul__(self, other: Any) -> Tensor:
        result: Tensor = multiplication.matmul(other, self)
        return result

    # ------------------------------------------------------------ comparison, logic, choice

    eq = compare.eq
    equal = compare.equal
    ne = not_equal = __ne__ = compare.not_equal  # type: ignore[assignment]
    lt = less = __lt__ = compare.less
    le = less_equal = __le__ = compare.less_equal
    gt = greater = __gt__ = compare.greater
    ge = greater_equal = __ge__ = compare.greater_equal
    isclose = compare.isclose
    allclose = compare.allclose
    isin = compare.isin
    logical_and = compare.logical_and
    logical_or = compare.logical_or
    logical_xor = compare.logical_xor
    logical_not = compare.logical_not
    bitwise_and = __and__ = __rand__ = compare.bitwise_and
    bitwise_or = __or__ = __ror__ = compare.bitwise_or
    bitwise_xor = __xor__ = __rxor__ = compare.bitwise_xor
    bitwise_not = __invert__ = compare.bitwise_not
    bitwise_left_shift = __lshift__ = compare.bitwise_left_shift
    bitwise_right_shift = __rshift__ = compare.bitwise_right_shift
    signbit = compare.signbit
    isposinf = compare.isposinf
    isneginf = compare.isneginf
    isnan = compare.isnan
    isinf = compare.isinf
    isfinite = compare.isfinite
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    fmax = arithmetic.fmax
    fmin = arithmetic.fmin
    clamp = clip = elementwise.clamp
    clamp_min = arithmetic.clamp_min
    clamp_max = arithmetic.clamp_max
    masked_fill = compare.masked_fill

    def __eq__(self, other: object) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else compare.eq(self, other)

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor where ``condition`` is true, else ``other``."""
        result: Tensor = compare.where(condition, self, other)
        return result

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
    asinh = arcsinh = special.asinh
    acosh = arccosh = special.acosh
    atanh = arctanh = special.atanh
    exp2 = special.exp2
    erf = elementwise.erf
    erfc = special.erfc
    erfinv = special.erfinv
    lgamma = special.lgamma
    digamma = special.digamma
    sinc = special.sinc
    logit = special.logit
    nan_to_num = special.nan_to_num
    deg2rad = special.deg2rad
    rad2deg = special.rad2deg
    frac = special.frac
    floor = elementwise.floor
    ceil = elementwise.ceil
    trunc = fix = elementwise.trunc
    round = elementwise.round_
    sign = sgn = elementwise.sign
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
    var_mean = statistics.var_mean
    std_mean = statistics.std_mean
    nansum = statistics.nansum
    nanmean = statistics.nanmean
    norm = distance.norm
    dist = distance.dist
    logsumexp = reduce.logsumexp
    count_nonzero = statistics.count_nonzero
    cumsum = scan.cumsum
    cumprod = scan.cumprod
    cummax = scan.cummax
    cummin = scan.cummin
    logcumsumexp = scan.logcumsumexp
    max = reduce.max
    min = reduce.min
    amax = reduce.amax
    amin = reduce.amin
    argmax = reduce.argmax
    aminmax = statistics.aminmax
    argmin = reduce.argmin
    all = reduce.all
    any = reduce.any

    # ------------------------------------------------------------ order and counting

    sort = ordering.sort
    argsort = ordering.argsort
    msort = ordering.msort
    topk = ordering.topk
    kthvalue = ordering.kthvalue
    median = ordering.median
    nanmedian = ordering.nanmedian
    mode = ordering.mode
    quantile = ordering.quantile
    nanquantile = ordering.nanquantile
    unique = statistics.unique
    unique_consecutive = statistics.unique_consecutive
    bincount = statistics.bincount
    histc = statistics.histc

    # ------------------------------------------------------------ random numbers, linear algebra

    bernoulli = sampling.bernoulli
    multinomial = sampling.multinomial
    det = linalg.det
    slogdet = linalg.slogdet
    inverse = linalg.inv

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
    transpose = swapaxes = swapdims = shapes.transpose
    adjoint = rearrange.adjoint
    movedim = moveaxis = shapes.movedim
    ravel = rearrange.ravel
    t = shapes.t
    expand = broadcast_to = shapes.expand
    expand_as = shapes.expand_as
    contiguous = layout.contiguous
    clone = layout.clone
    repeat = shapes.repeat
    repeat_interleave = rearrange.repeat_interleave
    tile = rearrange.tile
    flip = shapes.flip
    fliplr = rearrange.fliplr
    flipud = rearrange.flipud
    roll = rearrange.roll
    rot90 = rearrange.rot90
    tril = diagonals.tril
    triu = diagonals.triu
    diag = diagonals.diag
    diagflat = diagonals.diagflat
    diagonal = diagonals.diagonal
    diag_embed = diagonals.diag_embed
    diff = rearrange.diff
    split = shapes.split
    tensor_split = rearrange.tensor_split
    hsplit = rearrange.hsplit
    vsplit = rearrange.vsplit
    dsplit = rearrange.dsplit
    chunk = shapes.chunk
    unbind = shapes.unbind
    unfold = rearrange.unfold

    # ------------------------------------------------------------ indexing

    __getitem__ = indexing.getitem
    index_select = indexing.index_select
    gather = indexing.gather
    masked_select = indexing.masked_select
    nonzero = indexing.nonzero

    argwhere = indexing.argwhere
    select = indexing.select
    narrow = indexing.narrow
    take = indexing.take
    take_along_dim = indexing.take_along_dim
    index_add = scattering.index_add
    index_copy = scattering.index_copy
    index_fill = scattering.index_fill
    index_put = scattering.index_put
    masked_scatter = scattering.masked_scatter
    scatter_add = scattering.scatter_add
    scatter_reduce = scattering.scatter_reduce
    scatter = scattering.scatter
