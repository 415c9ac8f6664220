"""What the parity table covers: every name, every argument with two values, every pair of them, enough cases."""

import ast
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest

from tests.parity.exceptions import DIFFERENCES, WITHOUT_COUNTERPART, difference
from tests.parity.pairs import covering, pairs_of
from tests.parity.spec import DOCUMENTED, IMPLEMENTED, MOST, Row
from tests.parity.table import ROWS

NAMES = [row.name for row in ROWS]
ENOUGH = 3000
# Arguments that the text gives without a signature.
UNSIGNED = {
    "GELU": ["approximate"],
    "LogSigmoid": [],
    "Parameter": ["data", "requires_grad"],
    "Sigmoid": [],
    "Tanh": [],
}


def documented_arguments(name: str) -> list[str]:
    """Names of a documented class's or function's parameters."""
    if name in UNSIGNED:
        return UNSIGNED[name]
    documented = DOCUMENTED[name]
    if "alias_of" in documented:
        return documented_arguments(documented["alias_of"].split(".")[-1])
    arguments = ast.parse(f"def f{documented['signature']}: ...").body[0].args  # type: ignore[attr-defined]
    plain = [*arguments.args, *arguments.kwonlyargs]
    return [each.arg for each in [*plain, *filter(None, (arguments.vararg, arguments.kwarg))]]


def test_every_name_has_a_row_or_a_reason() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert sorted([*NAMES, *WITHOUT_COUNTERPART]) == sorted(DOCUMENTED)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_every_argument_has_two_values(row: Row) -> None:
    assert set(row.arguments) == set(documented_arguments(row.name))
    for name, values in row.arguments.items():
        texts = {repr(value) for value in values}
        assert len(texts) == len(values) >= 2, name


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_every_pair_of_values_is_met(row: Row) -> None:
    """Of arguments and of what varies in the input; where both libraries compute, if they do for that pair at all."""
    sizes = [len(values) for values in row.values.values()]
    met = {pair for case in row.cases for pair in pairs_of(case.choice)}
    missing = [
        ((i, a), (j, b))
        for i, j in combinations(range(len(sizes)), 2)
        for a in range(sizes[i])
        for b in range(sizes[j])
        if ((i, a), (j, b)) not in met
    ]
    assert not missing
    assert len({case.choice for case in row.cases}) == len(row.cases) <= MOST


def test_there_are_enough_cases() -> None:
    """As many as asked for, or the part of them that belongs to the names that exist so far."""
    here = [row for row in ROWS if row.name in IMPLEMENTED]
    missing = sorted(set(NAMES) - set(IMPLEMENTED))
    count = sum(len(row.cases) for row in here)
    print(f"{count} cases for {len(here)} of {len(ROWS)} names; not there yet: {', '.join(missing) or 'none'}")
    assert sum(len(row.cases) for row in ROWS) >= ENOUGH
    assert count >= ENOUGH * len(here) / len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_many_cases_compute_something(row: Row) -> None:
    computed = [case.c for case in row.cases if row.compares(case.c)]
    assert len(computed) >= max(15, len(row.cases) / 3)
    for factor in ("precision", "layout", "training"):
        assert {getattr(c, factor) for c in computed} >= set(row.values[factor]) - {"int64", "mixed"}, factor


def test_every_listed_difference_is_met() -> None:
    met = {id(difference(row.name, case.c)) for row in ROWS for case in row.cases}
    assert [each for each in DIFFERENCES if id(each) not in met] == []


@pytest.mark.parametrize("sizes", [(2,), (3, 2), (4, 3, 2, 2), (2, 5, 5)])
def test_covering_meets_every_pair_in_what_is_accepted(sizes: Sequence[int]) -> None:
    def accepts(choice: tuple[int, ...]) -> bool:
        return sum(choice) % 5 != 4

    def pairs(only_accepted: bool) -> set[Any]:
        chosen = [choice for choice in found if accepts(choice) or not only_accepted]
        return {pair for choice in chosen for pair in pairs_of(choice)}

    found = covering(sizes, accepts, 0, "seed")
    assert found == covering(sizes, accepts, 0, "seed")
    wanted = {
        ((i, a), (j, b))
        for i, j in combinations(range(len(sizes)), 2)
        for a in range(sizes[i])
        for b in range(sizes[j])
    }
    assert pairs(only_accepted=False) == wanted
    if len(sizes) > 2:  # another value completes an accepted combination
        assert pairs(only_accepted=True) == wanted
