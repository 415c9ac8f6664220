"""Einstein's notation against loops over every index, and PyTorch."""

import itertools
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from tests.helpers.op_cases import OpCase, asked


def slow(equation: str) -> Any:
    """Equations without ``...``: loop over all values of all letters."""
    left, right = equation.split("->")
    terms = left.split(",")

    def function(*arrays: Any) -> Any:
        sizes: dict[str, int] = {}
        for term, array in zip(terms, arrays, strict=True):
            for letter, size in zip(term, array.shape, strict=True):
                sizes[letter] = max(size, sizes.get(letter, 1))
        result = np.zeros([sizes[each] for each in right])
        for values in itertools.product(*map(range, sizes.values())):
            at = dict(zip(sizes, values, strict=True))
            product = 1.0
            for term, array in zip(terms, arrays, strict=True):
                product *= array[tuple(at[e] if n > 1 else 0 for e, n in zip(term, array.shape, strict=True))]
            result[tuple(at[each] for each in right)] += product
        return result

    return function


PLAIN: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]), ("bij,bjk->bik", [(2, 2, 3), (2, 3, 2)]), ("i,i->", [(4,), (4,)]),
    ("i,j->ij", [(2,), (3,)]), ("ij->ji", [(2, 3)]), ("ij->", [(2, 3)]), ("ij->j", [(2, 3)]), ("ii->", [(3, 3)]),
    ("ii->i", [(3, 3)]), ("iij->ji", [(2, 2, 3)]), ("ij,kl->il", [(2, 3), (4, 2)]), ("ij,ij->ij", [(2, 3), (2, 3)]),
    ("ij,jk,kl->il", [(2, 3), (3, 2), (2, 4)]), ("ijk,k->ij", [(2, 2, 3), (3,)]), ("i,->i", [(3,), ()]),
    ("ij,jj->i", [(2, 3), (3, 3)]), ("aij,ij->ij", [(2, 3, 2), (3, 2)]), ("ij,ij->i", [(2, 3), (2, 1)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]), ("ii,i->i", [(1, 1), (3,)]), ("iii->i", [(2, 2, 2)]),
    ("bhqd,bhkd->bhqk", [(2, 2, 3, 2), (2, 2, 2, 2)]), ("ij,kj->", [(2, 3), (2, 3)]),
]  # fmt: skip
DOTS: list[tuple[str, str, list[tuple[int, ...]]]] = [
    ("...ij,...jk->...ik", "bij,bjk->bik", [(2, 2, 3), (2, 3, 2)]),
    ("...ij,...jk->...ik", "bij,jk->bik", [(2, 2, 3), (3, 2)]),
    ("...ij,jk->...ik", "abij,jk->abik", [(2, 2, 1, 3), (3, 2)]),
    ("...i->...", "ai->a", [(2, 3)]), ("i...->...i", "iab->abi", [(2, 3, 2)]),
    ("...,...->...", "a,ba->ba", [(3,), (2, 3)]),
    ("...ij->ij", "bij->ij", [(2, 2, 3)]), ("ij,jk", "ij,jk->ik", [(2, 3), (3, 2)]), ("ba", "ba->ab", [(2, 3)]),
    ("...a,a", "ba,a->b", [(2, 3), (3,)]), (" i j , j -> i ", "ij,j->i", [(2, 3), (3,)]),
    ("b...i,b...i->b...", "bci,bci->bc", [(2, 1, 3), (2, 4, 3)]),
]  # fmt: skip

CASES = [
    *(OpCase(lambda *x, e=e: flow.einsum(e, *x), shapes, name=f"{e}-{shapes}".replace(" ", ""), expected=slow(e),
             rtol={"float16": 2e-2}, torch=lambda torch, *x, e=e: torch.einsum(e, *x)) for e, shapes in PLAIN),
    *(OpCase(lambda *x, e=e: flow.einsum(e, *x), shapes, name=f"{e}-{shapes}".replace(" ", ""), expected=slow(same),
             rtol={"float16": 2e-2}, torch=lambda torch, *x, e=e: torch.einsum(e, *x)) for e, same, shapes in DOTS),
    OpCase(lambda x, y: flow.tensordot(x, y, 2), [(2, 3, 4), (3, 4, 2)], name="tensordot", rtol={"float16": 2e-2},
           expected=lambda x, y: np.tensordot(x, y, 2), torch=lambda torch, x, y: torch.tensordot(x, y, 2)),
    OpCase(lambda x, y: flow.tensordot(x, y, ([0, -1], [1, 0])), [(2, 3, 4), (4, 2)], name="tensordot-named",
           rtol={"float16": 2e-2}, expected=lambda x, y: np.tensordot(x, y, ([0, 2], [1, 0])),
           torch=lambda torch, x, y: torch.tensordot(x, y, ([0, -1], [1, 0]))),
    OpCase(lambda x, y: flow.tensordot(x, y, 0), [(2,), (3,)], name="tensordot-outer", expected=np.outer,
           torch=lambda torch, x, y: torch.tensordot(x, y, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_types_and_a_list_of_operands() -> None:
    x = flow.tensor([[1, 2], [3, 4]], dtype=flow.int32)
    result = flow.einsum("ij,jk->ik", [x, x])
    assert (result.tolist(), result.dtype) == ([[7, 10], [15, 22]], flow.int32)
    half = flow.einsum("ij,jk->ik", x.bfloat16(), x.bfloat16())
    assert (half.tolist(), half.dtype) == ([[7, 10], [15, 22]], flow.bfloat16)
    assert flow.einsum("ij,jk->ik", flow.zeros(0, 2), flow.zeros(2, 3)).shape == (0, 3)
    assert flow.einsum("ij->i", flow.zeros(2, 0)).tolist() == [0, 0]


def test_one_operand_is_not_kept_for_the_backward() -> None:
    x = flow.ones(2, 3, requires_grad=True) * 1
    y = flow.einsum("ij->j", x)
    x.mul_(2)  # no error in the backward: the gradient needs no value
    y.sum().backward()


@pytest.mark.parametrize(("equation", "shapes", "message"), [
    ("ij,jk->ik", [(2, 3)], "has 2 operands, got 1"), ("ij,jk->ik", [(2, 3), (4, 2)], "has the sizes 3 and 4"),
    ("ij->ik", [(2, 3)], "must name dims of the operands"), ("ij->ii", [(2, 2)], "each once"),
    ("i1->i", [(2, 2)], "expected letters"), ("ij->i", [(2, 2, 2)], "does not name the dims of an operand with 3"),
    ("ijk->i", [(2, 2)], "does not name the dims"), ("......->", [(2,)], "at most one"),
])  # fmt: skip
def test_errors_say_what_is_wrong(equation: str, shapes: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        flow.einsum(equation, *map(flow.zeros, shapes))


def test_other_errors() -> None:
    with pytest.raises(DtypeError, match="einsum: expected operands of one type"):
        flow.einsum("i,i->", flow.zeros(2), flow.zeros(2).double())
    with pytest.raises(ShapeError, match="tensordot: dims"):
        flow.tensordot(flow.zeros(2, 3), flow.zeros(2, 3), 1)
    with pytest.raises(ShapeError, match="from 0 to 1 dims"):
        flow.tensordot(flow.zeros(2), flow.zeros(2, 3), 2)
