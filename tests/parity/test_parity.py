"""Every documented name against PyTorch, in generated cases: forward, gradients, state, refusals.

A failing case runs alone by its number: ``pytest tests/parity -k Conv2d-07``.
"""

from typing import Any

import pytest

from tests.parity.exceptions import difference
from tests.parity.run import check_message, compare, run_ours, run_theirs
from tests.parity.spec import IMPLEMENTED, Case
from tests.parity.table import ROWS

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="compares with PyTorch")

CASES = [case for row in ROWS for case in row.cases if row.name in IMPLEMENTED]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_as_pytorch(case: Case) -> None:
    refusal = None
    try:
        theirs, start, fixed = run_theirs(case)
    except Exception as error:
        refusal = error
    known = difference(case.row.name, case.c)
    if known is None:
        assert (refusal is None) == case.accepted, f"the row is wrong about PyTorch, which says: {refusal}"
    if known is not None or refusal is not None:
        expected = known.here if known is not None else "refused"
        error = refusal_of(case)
        assert (error is None) == (expected == "accepted"), f"{expected} here: {error}; PyTorch: {refusal}"
        if error is not None:
            check_message(case, error)
        return
    compare(case, run_ours(case, start, fixed), theirs)


def refusal_of(case: Case) -> Exception | None:
    """What we raise, if we do."""
    try:
        run_ours(case, None, {})
    except Exception as error:
        return error
    return None
