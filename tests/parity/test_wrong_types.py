"""Arguments of a type that PyTorch refuses are refused by an error of our own that names them."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.parity.run import check_message, refusal_of, run_theirs
from tests.parity.spec import IMPLEMENTED, Case, Row
from tests.parity.table import ROWS

pytestmark = pytest.mark.torch
pytest.importorskip("torch", minversion="2.13", reason="compares with what PyTorch 2.13 refuses")


BUILT = ("args", "kwargs", "modules", "parameters")  # these are made by the rows from what stands there


def wrong_values(values: Any) -> list[Any]:
    """What none of these values is like: text, and a fraction where there are only whole numbers."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds or not kinds <= {bool, int, float, tuple, list}:
        return []
    return ["x"] if kinds & {bool, float} else ["x", 2.5]


def wrong_arguments() -> Iterator[tuple[Row, str, Any]]:
    for row in ROWS:
        if row.name in IMPLEMENTED and row.name != "CropMirrorNormalize":  # not one of PyTorch's
            for name, values in row.arguments.items():
                if name not in BUILT:
                    yield from ((row, name, value) for value in wrong_values(values))


def named(value: Any) -> str:
    return value.name if isinstance(value, Row) else str(value)


@pytest.mark.parametrize(("row", "name", "value"), list(wrong_arguments()), ids=named)
def test_a_wrong_type_is_named(row: Row, name: str, value: Any) -> None:
    usual = next(case for case in row.cases if row.compares(case.c))
    case = Case(row, usual.number, usual.choice)
    case.__dict__["c"] = SimpleNamespace(**{**vars(usual.c), name: value})
    try:
        run_theirs(case)
    except Exception:
        error = refusal_of(case)
        assert error is not None
        check_message(case, error)
