"""Every documented name against PyTorch, in generated cases: forward, gradients, state, refusals.

A failing case runs alone by its number: ``pytest tests/parity -k Conv2d-07``.
"""

from typing import Any

import pytest

from tests.conftest import Campaign
from tests.parity.run import check
from tests.parity.spec import IMPLEMENTED, MOST, Case
from tests.parity.table import ROWS

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", minversion="2.13", reason="compares with what PyTorch 2.13 does and refuses")

CASES = [case for row in ROWS for case in row.cases if row.name in IMPLEMENTED]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_as_pytorch(case: Case) -> None:
    check(case)


@pytest.mark.campaign
def test_other_combinations(campaign: Campaign) -> None:
    """One random combination of every row in each round."""
    for rng in campaign(300, 4):
        for row in ROWS:
            if row.name in IMPLEMENTED:
                choice = tuple(rng.randrange(len(values)) for values in row.values.values())
                case = Case(row, MOST + rng.randrange(10**6), choice)  # the number decides the data
                print(case)
                check(case)
