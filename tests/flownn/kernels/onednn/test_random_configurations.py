"""Every kernel of oneDNN in random configurations: as exact as the portable one, and never a crash.

Rows are in the ``rows_*.py`` beside this file; a kernel that has a body but no row is an error. A crash takes the whole
process along: what was printed last on the terminal names the thousand of rounds to start again from, with ``-s``.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flownn.kernels import providers, registered
from tests.conftest import Campaign
from tests.flownn.kernels.onednn.table import Row

ROWS: list[Row] = [
    row
    for path in sorted(Path(__file__).parent.glob("rows_*.py"))
    for row in importlib.import_module(f"tests.flownn.kernels.onednn.{path.stem}").ROWS
]
ORDERS = 64  # to which a comparison that fails is extended
pytestmark = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")


def converted(args: Sequence[Any], dtype: Any) -> list[Any]:
    """Copies, so that what a body writes into stays apart; floats in ``dtype`` with the layout that they have."""
    return [
        arg.astype(dtype) if isinstance(arg, np.ndarray) and arg.dtype == np.float32
        else arg.copy() if isinstance(arg, np.ndarray)
        else arg
        for arg in args
    ]  # fmt: skip


def describe(args: Sequence[Any]) -> str:
    return ", ".join(
        f"{arg.dtype}{arg.shape} strides {arg.strides}" if isinstance(arg, np.ndarray) else repr(arg) for arg in args
    )


def shuffled(args: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """The same with the numbers of every float array in another order, each a little larger or smaller.

    Dense, but what is one number in several places (a broadcast view) stays it.
    """

    def one(arg: Any) -> Any:
        if not isinstance(arg, np.ndarray) or arg.dtype != np.float32:
            return arg
        once = arg[tuple(slice(None) if stride else slice(1) for stride in arg.strides)].copy(order="K")
        once.T.flat = rng.permutation(once.ravel()) * rng.uniform(0.99, 1.01, once.size)
        return np.broadcast_to(once, arg.shape)

    return [one(arg) for arg in args]


def errors(row: Row, args: Sequence[Any]) -> list[tuple[float, float, float]] | None:
    """The body's largest error, the portable one's, and the largest number, of each result; None if it declines."""
    body = row.kernel.provider_body("onednn")
    declined = False

    def asked(*call: Any) -> Any:
        nonlocal declined
        result = body(*call)
        declined = result is NotImplemented
        return None if declined else result

    before = [arg.tobytes() if isinstance(arg, np.ndarray) else None for arg in args]
    mine = row.run(asked, args)
    if declined:
        for arg, was in zip(args, before, strict=True):
            assert not isinstance(arg, np.ndarray) or arg.tobytes() == was, f"{row}: declined, but wrote"
        return None
    with np.errstate(over="ignore"):  # as in a backward: an exponential may be inf where its reciprocal is meant
        reference = row.run(row.kernel.portable, converted(args, np.float64))
        portable = row.run(row.kernel.portable, converted(args, np.float32))
    found = []
    for which, (a, b, c) in enumerate(zip(mine, reference, portable, strict=True)):
        assert a.shape == b.shape, f"{row}: result {which} has shape {a.shape}, expected {b.shape}"
        assert a.dtype == c.dtype, f"{row}: result {which} is {a.dtype}, expected {c.dtype}"
        found.append(tuple(float(np.abs(x).max(initial=0)) for x in (a - b, c - b, b)))
    return found  # type: ignore[return-value]


def check(row: Row, args: Sequence[Any]) -> bool:
    """Compare the body's results with float64's; False where it declines.

    The largest error of few numbers is a matter of luck, and that of sums that happen to cancel out says nothing: where
    the body's is too large, both compute again from such numbers in another order, each a little larger or smaller, up
    to 64 times, and the largest of all are compared. Where the portable body is right by luck, or exact as for a single
    product, two roundings of the largest number are allowed.
    """
    found = errors(row, args)
    if found is None:
        return False
    for which, (error, own, scale) in enumerate(found):
        for seed in range(ORDERS):
            if error <= allowed(row, own, scale):
                break
            again = errors(row, shuffled(args, np.random.default_rng(seed)))
            if again is None:  # whether moments are served depends on the numbers, too
                continue
            error, own, scale = map(max, (error, own, scale), again[which])
        assert error <= allowed(row, own, scale), (
            f"{row}: result {which} is off by {error} at most, the portable one by {own}, of {scale}"
        )
    return True


def allowed(row: Row, own: float, scale: float) -> float:
    """The largest error for the portable body's and the largest number."""
    return float(min(max(4 * own, np.finfo(np.float32).eps * scale), row.largest * scale))


def test_every_body_has_a_row() -> None:
    with_body = {name for name, entry in registered().items() if "onednn" in entry.providers}
    assert with_body == {row.kernel.name for row in ROWS}


@pytest.mark.campaign
@pytest.mark.timeout(4 * 3600)
def test_as_exact_as_the_portable_body(campaign: Campaign, capfd: pytest.CaptureFixture[str]) -> None:
    with providers.use_kernels("onednn"):  # small arrays too
        _run(campaign, capfd)


def _run(campaign: Campaign, capfd: pytest.CaptureFixture[str]) -> None:
    served: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for number, rng in enumerate(campaign(100_000, 1_000)):
        if number % 1000 == 0 and number:
            last = capfd.readouterr().out.splitlines()[-1]
            with capfd.disabled():
                print(f"\n{last}", flush=True)
        row = ROWS[rng.randrange(len(ROWS))]
        args = row.draw(rng)
        print(f"{row}: {describe(args)}")
        asked[str(row)] += 1
        served[str(row)] += check(row, args)
    print({name: f"{served[name]} of {count}" for name, count in asked.items()})
    if sum(asked.values()) > 100 * len(ROWS):
        for name, count in asked.items():  # what declines everything is not tested
            assert served[name] > count / 4, f"{name}: served only {served[name]} of {count}"
