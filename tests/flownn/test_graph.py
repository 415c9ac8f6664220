"""What a vjp may give or be beside plain: summands, and vjps that overwrite what they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.autograd import OverwritingVjp, Summand, op
from tests.helpers.leaves import leaf


def test_a_summand_is_offered_the_gradient_that_has_arrived_where_nobody_else_holds_that() -> None:
    held = np.ones(2)
    offered: list[Any] = []

    def after(first: Any) -> flow.Tensor:
        """Two ops use one result: the gradient of the second, then the summand of the first."""

        @op
        def adds(xp: Any, x: Any) -> Any:
            def compute(onto: Any) -> Any:
                offered.append(onto)
                if onto is None:
                    return np.full(2, 2.0)
                onto += 2
                return onto

            return x * 1, lambda g: (Summand(compute),)

        @op
        def comes_first(xp: Any, x: Any) -> Any:
            return x * 1, lambda g: (first,)

        x = leaf(1, 2)
        y = x * 1
        total = adds(y).sum() + comes_first(y).sum()  # the newest op runs first
        total.backward()
        assert x.grad.tolist() == [3, 3]
        return x

    after(lambda: np.ones(2))
    assert offered.pop() is not None
    after(lambda: held)
    assert offered.pop() is None
    assert held.tolist() == [1, 1]
    with flow.autograd.detect_anomaly():  # every contribution is looked at alone
        after(lambda: np.ones(2))
    assert offered == [None]


def negate(told: list[bool]) -> Any:
    """-x, with a vjp that writes into the gradient where it may, and notes whether it may."""

    @op
    def negated(xp: Any, x: Any) -> Any:
        def vjp(g: Any, mine: bool, last: bool) -> Any:
            told.append(mine)
            return (xp.negative(g, out=g) if mine else -g,)

        return -x, OverwritingVjp(vjp)

    return negated


def test_a_vjp_may_overwrite_a_gradient_that_nobody_else_holds() -> None:
    told: list[bool] = []
    x = leaf(2, 3)
    (negate(told)(x) * 5).sum().backward()
    assert told == [True]
    assert x.grad.tolist() == [-5, -5]


def test_a_vjp_hears_whether_it_is_called_again() -> None:
    heard: list[bool] = []

    @op
    def hears(xp: Any, x: Any) -> Any:
        return x * 1, OverwritingVjp(lambda g, mine, last: heard.append(last) or (g,))

    y = hears(leaf(2)) * 3
    y.backward(retain_graph=True)
    y.backward()
    assert heard == [False, True]


def test_the_gradients_of_several_outputs_are_never_a_vjps_own() -> None:
    told: list[bool] = []

    @op(tuple_output=True)
    def both(xp: Any, x: Any) -> Any:
        return (x * 1, x * 2), OverwritingVjp(lambda g, mine, last: told.append(mine) or (g[0] + 2 * g[1],))

    x = leaf(2, 3)
    first, second = both(x)
    (first + second).sum().backward()
    assert told == [False]
    assert x.grad.tolist() == [3, 3]


@pytest.mark.parametrize("why", ["the caller", "another op", "a view", "a hook", "a saved value", "inputs"])
def test_a_vjp_must_leave_a_gradient_that_somebody_else_holds(why: str) -> None:
    told: list[bool] = []
    x, other = leaf(2, 3), leaf(0, 0)
    y = negate(told)(x)
    seen: list[Any] = []
    held = np.array([5.0, 5.0])
    kept = [held]
    if why == "the caller":
        y.backward(flow.from_numpy(held))
    elif why == "another op":  # an addition gives the same array to both of its inputs, the newest runs first
        (negate(told)(other) + y).backward(flow.from_numpy(held))
    elif why == "a view":

        @op
        def shows(xp: Any, x: Any) -> Any:
            return x * 1, lambda g: (held.reshape(1, 2)[0],)

        shows(y).sum().backward()
    elif why == "a hook":
        y.register_hook(lambda g: seen.append(g.data) or g * 1)
        kept = seen
        (y * 5).sum().backward()
    elif why == "a saved value":

        @op
        def gives_what_it_saved(xp: Any, x: Any) -> Any:
            return x * 1, lambda g: (held,)

        gives_what_it_saved(y).sum().backward(retain_graph=True)
    else:
        (found,) = flow.autograd.grad((y * 5).sum(), y, retain_graph=True)
        (grad_x,) = flow.autograd.grad((y * 5).sum(), x)
        assert found.tolist() == [5, 5]
        assert grad_x.tolist() == [-5, -5]
        return
    assert not any(told)
    assert [each.tolist() for each in kept] == [[5, 5]]
    assert x.grad.tolist() == [-5, -5]
