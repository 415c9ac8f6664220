"""Element types, their names and how two of them combine.

A `dtype` is a small immutable object, one per element type; NumPy takes it wherever it takes a dtype of its own.
Promotion follows PyTorch: bool < integer < floating point, and of two operands in the same category the one with
dims decides over a 0-dim tensor, which decides over a Python number.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from typing import Any, Final

import ml_dtypes
import numpy as np

from flownn.errors import DtypeError


class dtype:
    """One element type of tensors.

    Args:
        name: Name in this package, such as ``"float32"``.
        numpy_dtype: The same type for NumPy.
    """

    __slots__ = ("dtype", "name")

    def __init__(self, name: str, numpy_dtype: Any) -> None:
        self.name: Final = name
        self.dtype: Final[np.dtype[Any]] = np.dtype(numpy_dtype)  # under this name NumPy finds it

    @property
    def itemsize(self) -> builtins.int:
        """Bytes per element."""
        return self.dtype.itemsize

    @property
    def is_floating_point(self) -> builtins.bool:
        """Whether the type holds fractions, and so can carry a gradient."""
        return category(self.dtype) == FLOATING

    def __repr__(self) -> str:
        return f"flownn.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


class HostOnly(dtype):
    """An element type of `flownn.host_tensor.HostTensor`: Python objects, which no array of numbers can hold.

    Args:
        name: Name in this package.
    """

    __slots__ = ()

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]

    @property  # type: ignore[misc]
    def dtype(self) -> Any:
        """There is none.

        Raises:
            DtypeError: always.
        """
        raise DtypeError(
            f"{self!r}: no array can have this type; its tensors come from readers and decoders (flownn.nn), and stay "
            "as they are until a decoder makes numbers of them"
        )

    @property
    def itemsize(self) -> builtins.int:
        """0: the elements have no common size."""
        return 0

    @property
    def is_floating_point(self) -> builtins.bool:
        """False."""
        return False


float16 = half = dtype("float16", np.float16)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16)
float32 = dtype("float32", np.float32)
float64 = double = dtype("float64", np.float64)
int8 = char = dtype("int8", np.int8)
int16 = short = dtype("int16", np.int16)
int32 = dtype("int32", np.int32)
int64 = long = dtype("int64", np.int64)
uint8 = dtype("uint8", np.uint8)
bool_ = dtype("bool", np.bool_)
record = HostOnly("of_record")  # parsed OFRecord messages
tensor_buffer = HostOnly("tensor_buffer")  # arrays, each with its own shape and type

_ALL = (float16, bfloat16, float32, float64, int8, int16, int32, int64, uint8, bool_)
_BY_NUMPY: dict[Any, dtype] = {each.dtype: each for each in _ALL}
_BY_NAME = {each.name: each for each in _ALL} | {"float": float32, "double": float64, "half": float16, "int": int32}
_BY_NAME |= {each.name: each for each in (record, tensor_buffer)} | {"char": char}
_BY_PYTHON = {builtins.float: float32, builtins.int: int64, builtins.bool: bool_}

BOOLEAN, INTEGER, FLOATING = 0, 1, 2
_CATEGORY = {"b": BOOLEAN, "i": INTEGER, "u": INTEGER, "f": FLOATING}
BFLOAT16: Final[np.dtype[Any]] = bfloat16.dtype

_default = float32


def category(numpy_dtype: np.dtype[Any]) -> builtins.int:
    """BOOLEAN, INTEGER or FLOATING, in the order in which they win over each other."""
    found = _CATEGORY.get(numpy_dtype.kind)
    if found is None:
        if numpy_dtype != BFLOAT16:  # NumPy itself calls it a void type
            raise DtypeError(f"tensors hold {', '.join(each.name for each in _ALL)}; got {numpy_dtype}")
        return FLOATING
    return found


def as_dtype(value: Any) -> dtype:
    """The `dtype` that ``value`` names.

    Args:
        value: A `dtype`, its name, a NumPy dtype or scalar type, or ``float`` (float32), ``int`` (int64), ``bool``.

    Raises:
        DtypeError: tensors cannot hold this type.

    >>> as_dtype("int32"), as_dtype(np.float64), as_dtype(bool)
    (flownn.int32, flownn.float64, flownn.bool)
    """
    if isinstance(value, dtype):
        return value
    if isinstance(value, str) and value in _BY_NAME:
        return _BY_NAME[value]
    if isinstance(value, type) and value in _BY_PYTHON:
        return _BY_PYTHON[value]
    try:
        return _BY_NUMPY[np.dtype(value).newbyteorder("=")]
    except (KeyError, TypeError):
        names = ", ".join(each.name for each in _ALL)
        raise DtypeError(f"dtype: expected one of {names}; got {value!r}") from None


def get_default_dtype() -> dtype:
    """The floating point type of new tensors whose type nothing else decides."""
    return _default


def set_default_dtype(value: Any) -> None:
    """Set the floating point type of new tensors whose type nothing else decides; float32 at the start.

    Raises:
        DtypeError: ``value`` is no floating point type.
    """
    global _default
    chosen = as_dtype(value)
    if not chosen.is_floating_point:
        raise DtypeError(f"set_default_dtype: expected a floating point type, got {chosen}")
    _default = chosen


def promote_types(first: Any, second: Any) -> dtype:
    """The smallest type of PyTorch's table that holds both.

    >>> promote_types("uint8", "int8"), promote_types("int64", "float16"), promote_types("bfloat16", "float16")
    (flownn.int16, flownn.float16, flownn.float32)
    """
    return _BY_NUMPY[promote(as_dtype(first).dtype, as_dtype(second).dtype)]


def promote(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any]:
    """`promote_types` on NumPy dtypes."""
    if first == second:
        return first
    one, other = category(first), category(second)
    if one != other:
        return first if one > other else second
    if {first, second} == {float16.dtype, BFLOAT16}:  # which NumPy does not know how to combine
        return float32.dtype
    return np.promote_types(first, second)


def accumulator(numpy_dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type in which to add up many values of this one; None where NumPy's own choice is right."""
    return float32.dtype if numpy_dtype.itemsize == 2 and category(numpy_dtype) == FLOATING else None


def result_dtype(operands: Iterable[Any]) -> np.dtype[Any]:
    """The type in which arrays and Python numbers are combined, by PyTorch's rules.

    A 0-dim array counts only if its category is above that of every array with dims, and a Python number only if its
    category is above that of every array; then a float brings the default type and an int int64.
    """
    levels: list[np.dtype[Any] | None] = [None, None, None]  # arrays with dims, 0-dim arrays, Python numbers
    for operand in operands:
        if operand is None:
            continue
        kind = getattr(operand, "dtype", None)
        if kind is not None:
            level = 0 if operand.ndim else 1
        elif isinstance(operand, builtins.bool):
            level, kind = 2, bool_.dtype
        elif isinstance(operand, builtins.int):
            level, kind = 2, int64.dtype
        elif isinstance(operand, builtins.float):
            level, kind = 2, _default.dtype
        else:
            raise DtypeError(f"expected tensors, arrays or real numbers, got {type(operand).__name__}")
        known = levels[level]
        levels[level] = kind if known is None else promote(known, kind)
    result: np.dtype[Any] | None = None
    for kind in levels:
        if kind is not None and (result is None or category(kind) > category(result)):
            result = kind
    if result is None:
        raise DtypeError("expected at least one operand")
    return result


@dataclass(frozen=True)
class finfo:
    """What a floating point type can hold.

    Args:
        of: The type; None means the default one.

    Raises:
        DtypeError: it is no floating point type.

    >>> finfo("float16").max, finfo("bfloat16").bits
    (65504.0, 16)
    """

    of: InitVar[Any] = None
    bits: builtins.int = field(init=False)
    eps: builtins.float = field(init=False)  # distance from 1 to the next number
    max: builtins.float = field(init=False)
    min: builtins.float = field(init=False)  # the most negative number
    tiny: builtins.float = field(init=False)  # the smallest positive number of full precision
    smallest_normal: builtins.float = field(init=False)  # the same
    resolution: builtins.float = field(init=False)  # 10 to the power of minus the decimal digits
    dtype: builtins.str = field(init=False)

    def __post_init__(self, of: Any) -> None:
        kind = _default if of is None else as_dtype(of)
        if not kind.is_floating_point:
            raise DtypeError(f"finfo: expected a floating point type, got {kind}; see iinfo")
        found = ml_dtypes.finfo(kind.dtype)
        for name in ("eps", "max", "min", "tiny", "smallest_normal"):
            object.__setattr__(self, name, float(getattr(found, name)))
        object.__setattr__(self, "resolution", 10.0 ** -int(found.precision))
        object.__setattr__(self, "bits", 8 * kind.itemsize)
        object.__setattr__(self, "dtype", kind.name)


@dataclass(frozen=True)
class iinfo:
    """What an integer type can hold.

    Args:
        of: The type.

    Raises:
        DtypeError: it is no integer type.

    >>> iinfo("int8").min, iinfo("uint8").max
    (-128, 255)
    """

    of: InitVar[Any]
    bits: builtins.int = field(init=False)
    max: builtins.int = field(init=False)
    min: builtins.int = field(init=False)
    dtype: builtins.str = field(init=False)

    def __post_init__(self, of: Any) -> None:
        kind = as_dtype(of)
        if category(kind.dtype) != INTEGER:
            raise DtypeError(f"iinfo: expected an integer type, got {kind}; see finfo")
        found = np.iinfo(kind.dtype)
        object.__setattr__(self, "max", int(found.max))
        object.__setattr__(self, "min", int(found.min))
        object.__setattr__(self, "bits", 8 * kind.itemsize)
        object.__setattr__(self, "dtype", kind.name)
