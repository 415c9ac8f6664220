"""Every public function on tensors, under each name that it has as ``flownn.<name>``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flownn import creation, sampling
from flownn.dtypes import as_dtype, dtype, result_dtype
from flownn.errors import ShapeError
from flownn.graph import TensorBase
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
from flownn.ops import einsum as einstein
from flownn.ops import index as indexing
from flownn.ops import matmul as multiplication
from flownn.ops import scatter as scattering
from flownn.ops import shape as shapes
from flownn.ops import sort as ordering

if TYPE_CHECKING:
    from flownn.tensor import Tensor

# fmt: off
__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "adjoint",
    "all", "allclose", "amax", "amin", "aminmax", "any", "arange", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "argmax", "argmin", "argsort", "argwhere", "as_tensor", "asin", "asinh", "atan", "atan2",
    "atanh", "atleast_1d", "atleast_2d", "atleast_3d", "baddbmm", "bernoulli", "bincount", "bitwise_and",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "block_diag", "bmm",
    "broadcast_shapes", "broadcast_tensors", "broadcast_to", "bucketize", "cat", "cdist", "ceil", "chunk", "clamp",
    "clamp_max", "clamp_min", "clip", "clone", "column_stack", "concat", "concatenate", "copysign", "cos", "cosh",
    "count_nonzero", "cross", "cummax", "cummin", "cumprod", "cumsum", "deg2rad", "det", "diag", "diag_embed",
    "diagflat", "diagonal", "diff", "digamma", "dist", "div", "divide", "dot", "dsplit", "dstack", "einsum", "empty",
    "empty_like", "eq", "equal", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "eye", "fix", "flatten", "flip",
    "fliplr", "flipud", "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "frac", "from_dlpack",
    "from_numpy", "full", "full_like", "gather", "gcd", "ge", "ger", "greater", "greater_equal", "gt", "heaviside",
    "histc", "hsplit", "hstack", "hypot", "index_add", "index_copy", "index_fill", "index_put", "index_select",
    "inner", "inverse", "is_floating_point", "is_tensor", "isclose", "isfinite", "isin", "isinf", "isnan", "isneginf",
    "isposinf", "kron", "kthvalue", "lcm", "le", "lerp", "less", "less_equal", "lgamma", "linspace", "log", "log1p",
    "log2", "log10", "log_softmax", "logaddexp", "logaddexp2", "logcumsumexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logit", "logspace", "logsumexp", "lt", "masked_fill", "masked_scatter",
    "masked_select", "matmul", "max", "maximum", "mean", "median", "meshgrid", "min", "minimum", "mm", "mode",
    "moveaxis", "movedim", "msort", "mul", "multinomial", "multiply", "mv", "nan_to_num", "nanmean", "nanmedian",
    "nanquantile", "nansum", "narrow", "ne", "neg", "negative", "nonzero", "norm", "normal", "not_equal", "numel",
    "ones", "ones_like", "outer", "permute", "pow", "power", "prod", "quantile", "rad2deg", "rand", "rand_like",
    "randint", "randint_like", "randn", "randn_like", "randperm", "ravel", "reciprocal", "relu", "remainder",
    "repeat_interleave", "reshape", "result_type", "roll", "rot90", "round", "row_stack", "rsqrt", "scatter",
    "scatter_add", "scatter_reduce", "searchsorted", "select", "sgn", "sigmoid", "sign", "signbit", "sin", "sinc",
    "sinh", "slogdet", "softmax", "sort", "split", "sqrt", "square", "squeeze", "stack", "std", "std_mean", "sub",
    "subtract", "sum", "swapaxes", "swapdims", "t", "take", "take_along_dim", "tan", "tanh", "tensor", "tensor_split",
    "tensordot", "tile", "topk", "trace", "transpose", "tril", "tril_indices", "triu", "triu_indices", "true_divide",
    "trunc", "unbind", "unflatten", "unique", "unique_consecutive", "unsqueeze", "var", "var_mean", "vdot", "vsplit",
    "vstack", "where", "xlogy", "zeros", "zeros_like",
]
# fmt: on

# ---------------------------------------------------------------- creation

arange = creation.arange
as_tensor = creation.as_tensor
empty = creation.empty
empty_like = creation.empty_like
eye = creation.eye
from_dlpack = creation.from_dlpack
from_numpy = creation.from_numpy
full = creation.full
full_like = creation.full_like
linspace = creation.linspace
logspace = creation.logspace
ones = creation.ones
ones_like = creation.ones_like
rand = creation.rand
rand_like = creation.rand_like
randint = creation.randint
randn = creation.randn
randn_like = creation.randn_like
randperm = creation.randperm
tensor = creation.tensor
tril_indices = creation.tril_indices
triu_indices = creation.triu_indices
zeros = creation.zeros
zeros_like = creation.zeros_like

# ---------------------------------------------------------------- sampling

bernoulli = sampling.bernoulli
multinomial = sampling.multinomial
normal = sampling.normal
randint_like = sampling.randint_like

# ---------------------------------------------------------------- activation

relu = activation.relu
sigmoid = activation.sigmoid
tanh = activation.tanh

# ---------------------------------------------------------------- arithmetic

addcdiv = arithmetic.addcdiv
addcmul = arithmetic.addcmul
atan2 = arctan2 = arithmetic.atan2
clamp_max = arithmetic.clamp_max
clamp_min = arithmetic.clamp_min
copysign = arithmetic.copysign
heaviside = arithmetic.heaviside
gcd = arithmetic.gcd
lcm = arithmetic.lcm
float_power = arithmetic.float_power
fmax = arithmetic.fmax
fmin = arithmetic.fmin
fmod = arithmetic.fmod
hypot = arithmetic.hypot
lerp = arithmetic.lerp
logaddexp = arithmetic.logaddexp
logaddexp2 = arithmetic.logaddexp2
xlogy = arithmetic.xlogy

# ---------------------------------------------------------------- compare

allclose = compare.allclose
bitwise_and = compare.bitwise_and
bitwise_left_shift = compare.bitwise_left_shift
bitwise_not = compare.bitwise_not
bitwise_or = compare.bitwise_or
bitwise_right_shift = compare.bitwise_right_shift
bitwise_xor = compare.bitwise_xor
eq = compare.eq
equal = compare.equal
greater = gt = compare.greater
greater_equal = ge = compare.greater_equal
isclose = compare.isclose
isfinite = compare.isfinite
isin = compare.isin
isinf = compare.isinf
isnan = compare.isnan
isneginf = compare.isneginf
isposinf = compare.isposinf
less = lt = compare.less
less_equal = le = compare.less_equal
logical_and = compare.logical_and
logical_not = compare.logical_not
logical_or = compare.logical_or
logical_xor = compare.logical_xor
masked_fill = compare.masked_fill
not_equal = ne = compare.not_equal
signbit = compare.signbit
where = compare.where

# ---------------------------------------------------------------- distance

dist = distance.dist
norm = distance.norm

# ---------------------------------------------------------------- einsum

einsum = einstein.einsum
tensordot = einstein.tensordot

# ---------------------------------------------------------------- elementwise

absolute = abs = elementwise.absolute
acos = arccos = elementwise.acos
add = elementwise.add
asin = arcsin = elementwise.asin
atan = arctan = elementwise.atan
ceil = elementwise.ceil
clamp = clip = elementwise.clamp
cos = elementwise.cos
cosh = elementwise.cosh
divide = div = elementwise.divide
erf = elementwise.erf
exp = elementwise.exp
expm1 = elementwise.expm1
floor = elementwise.floor
floor_divide = elementwise.floor_divide
log = elementwise.log
log10 = elementwise.log10
log1p = elementwise.log1p
log2 = elementwise.log2
maximum = elementwise.maximum
minimum = elementwise.minimum
multiply = mul = elementwise.multiply
negative = neg = elementwise.negative
power = pow = elementwise.power
reciprocal = elementwise.reciprocal
remainder = elementwise.remainder
round = elementwise.round_
rsqrt = elementwise.rsqrt
sign = sgn = elementwise.sign
sin = elementwise.sin
sinh = elementwise.sinh
sqrt = elementwise.sqrt
square = elementwise.square
subtract = sub = elementwise.subtract
tan = elementwise.tan
true_divide = elementwise.true_divide
trunc = fix = elementwise.trunc

# ---------------------------------------------------------------- index

argwhere = indexing.argwhere
gather = indexing.gather
index_select = indexing.index_select
masked_select = indexing.masked_select
narrow = indexing.narrow
nonzero = indexing.nonzero
select = indexing.select
take = indexing.take
take_along_dim = indexing.take_along_dim

# ---------------------------------------------------------------- layout

clone = layout.clone

# ---------------------------------------------------------------- matmul

bmm = multiplication.bmm
matmul = multiplication.matmul

# ---------------------------------------------------------------- products

addbmm = products.addbmm
addmm = products.addmm
addmv = products.addmv
addr = products.addr
baddbmm = products.baddbmm
cdist = products.cdist
cross = products.cross
dot = vdot = products.dot
inner = products.inner
kron = products.kron
mm = products.mm
mv = products.mv
outer = ger = products.outer
trace = products.trace

# ---------------------------------------------------------------- linalg

det = linalg.det
slogdet = linalg.slogdet
inverse = linalg.inv

# ---------------------------------------------------------------- rearrange

adjoint = rearrange.adjoint
atleast_1d = rearrange.atleast_1d
atleast_2d = rearrange.atleast_2d
atleast_3d = rearrange.atleast_3d
block_diag = diagonals.block_diag
column_stack = rearrange.column_stack
diag = diagonals.diag
diag_embed = diagonals.diag_embed
diagflat = diagonals.diagflat
diagonal = diagonals.diagonal
diff = rearrange.diff
dstack = rearrange.dstack
fliplr = rearrange.fliplr
flipud = rearrange.flipud
hstack = rearrange.hstack
meshgrid = rearrange.meshgrid
ravel = rearrange.ravel
repeat_interleave = rearrange.repeat_interleave
roll = rearrange.roll
rot90 = rearrange.rot90
tensor_split = rearrange.tensor_split
hsplit = rearrange.hsplit
vsplit = rearrange.vsplit
dsplit = rearrange.dsplit
tile = rearrange.tile
tril = diagonals.tril
triu = diagonals.triu
vstack = row_stack = rearrange.vstack

# ---------------------------------------------------------------- reduce

all = reduce.all
amax = reduce.amax
amin = reduce.amin
any = reduce.any
argmax = reduce.argmax
argmin = reduce.argmin
logsumexp = reduce.logsumexp
max = reduce.max
mean = reduce.mean
min = reduce.min
prod = reduce.prod
std = reduce.std
sum = reduce.sum
var = reduce.var

# ---------------------------------------------------------------- scan

cummax = scan.cummax
cummin = scan.cummin
cumprod = scan.cumprod
cumsum = scan.cumsum
logcumsumexp = scan.logcumsumexp

# ---------------------------------------------------------------- scatter

index_add = scattering.index_add
index_copy = scattering.index_copy
index_fill = scattering.index_fill
index_put = scattering.index_put
masked_scatter = scattering.masked_scatter
scatter = scattering.scatter
scatter_add = scattering.scatter_add
scatter_reduce = scattering.scatter_reduce

# ---------------------------------------------------------------- shape

broadcast_to = shapes.broadcast_to
cat = concat = concatenate = shapes.cat
chunk = shapes.chunk
flatten = shapes.flatten
flip = shapes.flip
movedim = moveaxis = shapes.movedim
permute = shapes.permute
reshape = shapes.reshape
split = shapes.split
squeeze = shapes.squeeze
stack = shapes.stack
t = shapes.t
transpose = swapaxes = swapdims = shapes.transpose
unbind = shapes.unbind
unflatten = shapes.unflatten
unsqueeze = shapes.unsqueeze

# ---------------------------------------------------------------- sort

argsort = ordering.argsort
bucketize = ordering.bucketize
kthvalue = ordering.kthvalue
median = ordering.median
mode = ordering.mode
msort = ordering.msort
nanmedian = ordering.nanmedian
quantile = ordering.quantile
nanquantile = ordering.nanquantile
searchsorted = ordering.searchsorted
sort = ordering.sort
topk = ordering.topk

# ---------------------------------------------------------------- special

acosh = arccosh = special.acosh
asinh = arcsinh = special.asinh
atanh = arctanh = special.atanh
deg2rad = special.deg2rad
digamma = special.digamma
erfc = special.erfc
erfinv = special.erfinv
exp2 = special.exp2
frac = special.frac
lgamma = special.lgamma
logit = special.logit
nan_to_num = special.nan_to_num
rad2deg = special.rad2deg
sinc = special.sinc

# ---------------------------------------------------------------- statistics

aminmax = statistics.aminmax
bincount = statistics.bincount
count_nonzero = statistics.count_nonzero
histc = statistics.histc
nanmean = statistics.nanmean
nansum = statistics.nansum
std_mean = statistics.std_mean
unique = statistics.unique
unique_consecutive = statistics.unique_consecutive
var_mean = statistics.var_mean

# ---------------------------------------------------------------- about tensors


def softmax(x: Tensor, dim: int) -> Tensor:
    """``exp(x) / sum(exp(x))`` along ``dim``."""
    return x.softmax(dim)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """``log(softmax(x))`` along ``dim``."""
    return x.log_softmax(dim)


def is_tensor(x: Any) -> bool:
    """Whether it is a tensor."""
    return isinstance(x, TensorBase)


def is_floating_point(x: Tensor) -> bool:
    """Whether the element type holds fractions."""
    return x.is_floating_point()


def numel(x: Tensor) -> int:
    """Number of elements."""
    return x.numel()


def result_type(x: Any, y: Any) -> dtype:
    """The type in which two operands, tensors or numbers, are combined."""
    return as_dtype(result_dtype([getattr(x, "data", x), getattr(y, "data", y)]))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors as views of the one shape that they broadcast to.

    Raises:
        ShapeError: they do not broadcast.
    """
    shape = broadcast_shapes(*(each.data.shape for each in tensors))
    return tuple(broadcast_to(each, shape) for each in tensors)


def broadcast_shapes(*sizes: Any) -> tuple[int, ...]:
    """The shape that tensors of these shapes broadcast to.

    Raises:
        ShapeError: they do not broadcast.
    """
    try:
        return np.broadcast_shapes(*(tuple(shape) for shape in sizes))
    except ValueError:
        names = ", ".join(str(tuple(each)) for each in sizes)
        raise ShapeError(f"broadcast_shapes: {names} do not broadcast") from None
