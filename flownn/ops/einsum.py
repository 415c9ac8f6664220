"""Sums of products in Einstein's notation, with a gradient for every equation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flownn import dtypes
from flownn.autograd import op
from flownn.backend import Array
from flownn.errors import ShapeError
from flownn.ops.matmul import require_one_dtype
from flownn.ops.shape import permute, reshape

if TYPE_CHECKING:
    from flownn.tensor import Tensor

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def parse(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """A letter for each dim of each operand, and those of the result; the dims of ``...`` have letters too.

    Args:
        equation: Such as ``"...ij,jk->...ik"``.
        ndims: Number of dims of each operand.

    Raises:
        ShapeError: the equation does not fit the operands.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ShapeError(f"einsum: {equation!r} has {len(terms)} operands, got {len(ndims)}")
    for term in [*terms, right]:
        letters = term.replace("...", "", 1)
        if not all(each in _LETTERS for each in letters):
            raise ShapeError(f"einsum: expected letters and at most one '...' per operand, got {term!r}")
    free = [each for each in _LETTERS if each not in equation]
    hidden = [ndim - len(term.replace("...", "")) for term, ndim in zip(terms, ndims, strict=True)]
    for term, ndim, extra in zip(terms, ndims, hidden, strict=True):
        if extra < 0 or (extra and "..." not in term):
            raise ShapeError(f"einsum: {term!r} does not name the dims of an operand with {ndim}")
    most = max((extra for term, extra in zip(terms, hidden, strict=True) if "..." in term), default=0)
    if most > len(free):
        raise ShapeError(f"einsum: more than {len(_LETTERS)} different dims in {equation!r}")
    ellipsis = "".join(free[:most])
    inputs = [term.replace("...", ellipsis[most - extra :]) for term, extra in zip(terms, hidden, strict=True)]
    if arrow:
        output = right.replace("...", ellipsis)
    else:
        named = left.replace("...", "").replace(",", "")
        output = ellipsis + "".join(sorted(each for each in set(named) if named.count(each) == 1))
    if len(set(output)) < len(output) or not set(output) <= set("".join(inputs)):
        raise ShapeError(f"einsum: the result in {equation!r} must name dims of the operands, each once")
    return inputs, output


def _check_sizes(equation: str, inputs: list[str], arrays: Sequence[Array]) -> None:
    """Refuse dims of one letter whose sizes differ; size 1 broadcasts."""
    sizes: dict[str, int] = {}
    for term, array in zip(inputs, arrays, strict=True):
        for letter, size in zip(term, array.shape, strict=True):
            known = sizes.setdefault(letter, size)
            if known == 1:
                sizes[letter] = size
            elif size not in (1, known):
                raise ShapeError(f"einsum: a dim of {equation!r} has the sizes {known} and {size}")


def _contract(xp: Any, inputs: list[str], output: str, arrays: Sequence[Array]) -> Any:
    return xp.einsum(f"{','.join(inputs)}->{output}", *arrays, optimize=len(arrays) > 1)


def _to_diagonal(xp: Any, g: Array, term: str, letters: str, shape: tuple[int, ...]) -> Any:
    """Zeros but for ``g`` where the dims with the same letter have the same position."""
    places = {
        letter: xp.arange(size).reshape([-1 if each == letter else 1 for each in letters])
        for letter, size in zip(letters, g.shape, strict=True)
    }
    whole = xp.zeros(shape, g.dtype)
    whole[tuple(places[letter] for letter in term)] = g
    return whole


@op
def _einsum(xp: Any, *arrays: Array, inputs: list[str], output: str) -> Any:
    dtype = arrays[0].dtype
    wide = dtypes.accumulator(dtype) or dtype
    shapes = [array.shape for array in arrays]
    factors = [array.astype(wide, copy=False) for array in arrays]
    y = _contract(xp, inputs, output, factors)
    if len(factors) == 1:
        factors = []  # the gradient needs no values

    def of_operand(i: int, g: Array) -> Any:
        letters = "".join(dict.fromkeys(inputs[i]))
        other_inputs = [*inputs[:i], *inputs[i + 1 :]]
        known = set(output).union(*other_inputs)
        found = "".join(letter for letter in letters if letter in known)
        part = _contract(xp, [output, *other_inputs], found, [g, *factors[:i], *factors[i + 1 :]])
        own = dict(zip(inputs[i], shapes[i], strict=True))
        # a letter of this operand alone was summed: its gradient is the same everywhere
        part = part.reshape([part.shape[found.index(each)] if each in found else 1 for each in letters])
        part = xp.broadcast_to(part, [max(own[each], have) for each, have in zip(letters, part.shape, strict=True)])
        if len(letters) == len(inputs[i]):
            return part  # the engine sums dims that were broadcast
        spread = tuple(axis for axis, each in enumerate(letters) if own[each] != part.shape[axis])
        return _to_diagonal(xp, part.sum(axis=spread, keepdims=True), inputs[i], letters, shapes[i])

    def vjp(g: Array) -> Any:
        g = g.astype(wide, copy=False)
        return [lambda i=i: of_operand(i, g) for i in range(len(shapes))]

    return xp.asarray(y).astype(dtype, copy=False), vjp


def einsum(equation: str, *operands: Any) -> Tensor:
    """Multiply elements whose dims have the same letters, and sum over the letters that the result lacks.

    Args:
        equation: Letters for the dims of each operand and, after ``->``, of the result; ``...`` for dims that
            broadcast. Without ``->`` the result has the dims of ``...`` and the letters that occur once, sorted.
        *operands: Tensors of one type, or one list of them.

    Raises:
        ShapeError: the equation does not fit the operands, or sizes differ.
        DtypeError: the operands have different types.

    Reference:
        ``torch.einsum``: size 1 broadcasts also under a letter, and ``...`` may be left out of the result to sum it.

    >>> import flownn as flow
    >>> einsum("ij,j->i", flow.tensor([[1, 2], [3, 4]]), flow.tensor([1, 10])).tolist()
    [21, 43]
    """
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    arrays = [each.data for each in tensors]
    require_one_dtype("einsum", *arrays)
    inputs, output = parse(equation, [array.ndim for array in arrays])
    _check_sizes(equation, inputs, arrays)
    return _einsum(*tensors, inputs=inputs, output=output)


def tensordot(x: Tensor, y: Tensor, dims: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """Sum of products over dims of both tensors.

    Args:
        x: Any shape.
        y: Any shape.
        dims: How many last dims of ``x`` go with the first of ``y``; or the dims of each, two lists.

    Raises:
        ShapeError: there is no such dim, or sizes differ.
        DtypeError: the operands have different types.
    """
    ndims = x.data.ndim, y.data.ndim
    if isinstance(dims, int):
        if not 0 <= dims <= min(ndims):
            raise ShapeError(f"tensordot: expected from 0 to {min(ndims)} dims, got {dims}")
        first, second = list(range(ndims[0] - dims, ndims[0])), list(range(dims))
    else:
        first, second = ([each % max(n, 1) for each in names] for names, n in zip(dims, ndims, strict=True))
    shapes = x.data.shape, y.data.shape
    if len(first) != len(second) or [shapes[0][i] for i in first] != [shapes[1][i] for i in second]:
        raise ShapeError(
            f"tensordot: dims {first} of {tuple(shapes[0])} do not match dims {second} of {tuple(shapes[1])}"
        )
    rows = [i for i in range(ndims[0]) if i not in first]
    columns = [i for i in range(ndims[1]) if i not in second]
    count = math.prod(shapes[0][i] for i in first)
    left = reshape(permute(x, *rows, *first), math.prod(shapes[0][i] for i in rows), count)
    right = reshape(permute(y, *second, *columns), count, math.prod(shapes[1][i] for i in columns))
    return reshape(left @ right, [*(shapes[0][i] for i in rows), *(shapes[1][i] for i in columns)])
