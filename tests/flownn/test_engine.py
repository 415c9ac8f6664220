"""The engine: what it keeps, frees and copies, in which order gradients arrive, hooks and sinks."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.autograd import PlacedGradient, op
from flownn.errors import GradientError, ShapeError
from tests.helpers.leaves import leaf

# ---------------------------------------------------------------- memory


def test_what_no_closure_keeps_is_freed_and_backward_frees_the_rest() -> None:
    x = leaf(1, 2)
    summed, squared = x + 1, x * 2
    kept = (summed + 1) + (squared * squared)
    not_saved, saved = weakref.ref(summed.data), weakref.ref(squared.data)
    del summed, squared
    assert not_saved() is None
    assert saved() is not None
    kept.sum().backward()
    assert saved() is None


def test_a_fresh_gradient_is_taken_over_without_a_copy() -> None:
    made: list[Any] = []

    @op
    def source(xp: Any, x: Any) -> Any:
        def fresh() -> Any:
            made.append(weakref.ref(array := np.ones(2)))
            return array

        return x * 1, lambda g: (fresh,)

    x = leaf(1, 2)
    source(x).sum().backward()
    assert made[0]() is x.grad.data


def test_a_gradient_that_somebody_holds_is_copied() -> None:
    held = np.ones(2)

    @op
    def source(xp: Any, x: Any) -> Any:
        return x * 1, lambda g: (held,)

    x = leaf(1, 2)
    source(x).sum().backward()
    assert x.grad.data is not held


def made_by(make: Any) -> Any:
    """An op whose gradient is ``make()``."""

    @op
    def source(xp: Any, x: Any) -> Any:
        return x * 1, lambda g: (make,)

    return source


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (2, 1, 0)])
def test_a_fresh_gradient_in_another_order_of_memory_is_taken_over(order: tuple[int, ...]) -> None:
    shape = (2, 3, 4)
    made: list[Any] = []

    def fresh() -> Any:
        array = np.arange(24.0).reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
        made.append(weakref.ref(array.base))
        return array

    x = flow.ones(*shape, dtype=flow.float64, requires_grad=True)
    made_by(fresh)(x).sum().backward()
    assert x.grad.data.base is made[0]()
    assert x.grad.data.base is not None


def test_a_view_of_something_else_is_copied() -> None:
    held, large = np.ones((1, 2)), np.ones((2, 2))
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(4.0), 3)[:, :2]  # overlapping, as large as its memory

    for make in (lambda: held.reshape(2), lambda: large[0], lambda: np.broadcast_to(np.ones(1), (2,)),
                 lambda: np.ones(4)[:2], lambda: np.ones(4)[::2]):  # fmt: skip
        x = leaf(1, 2)
        made_by(make)(x).sum().backward()
        assert x.grad.data.base is None
    x = flow.ones(2, 2, dtype=flow.float64, requires_grad=True)
    made_by(lambda: windows)(x).sum().backward()
    x.grad.add_(1)
    assert x.grad.tolist() == [[1, 2], [2, 3]]
    assert held.tolist() == [[1, 1]]


def test_what_one_op_saved_and_received_is_freed_before_the_next_one_runs() -> None:
    alive: list[int] = []
    arrays: list[weakref.ref[Any]] = []

    @op
    def remembers(xp: Any, x: Any) -> Any:
        saved, later = np.ones(2), np.ones(2)
        arrays.extend((weakref.ref(saved), weakref.ref(later)))

        def vjp(g: Any) -> Any:
            alive.append(sum(each() is not None for each in arrays))
            sent = g * saved
            arrays.append(weakref.ref(sent))
            return (lambda: sent * later,)

        return x * 1, vjp

    x = leaf(1, 2)
    y = x
    for _ in range(3):
        y = remembers(y)
    y.sum().backward()
    assert alive == [6, 4, 2]  # and nothing of what the ones before sent


def test_a_sum_of_gradients_is_made_in_place_where_nobody_else_holds_the_first() -> None:
    made: list[Any] = []

    def permuted() -> Any:
        made.append(weakref.ref(array := np.ones((2, 3)).T))
        return array

    def whole() -> Any:
        made.append(weakref.ref(array := np.ones((3, 2), order="F")))
        return array

    def part() -> Any:
        made.append(weakref.ref(array := np.ones((3, 3)).T[:, :2]))
        return array

    held = np.ones((3, 2), order="F")

    def of_another() -> Any:
        made.append(weakref.ref(array := held.T.T))
        return array

    for make, in_place in ((whole, True), (permuted, True), (part, False), (of_another, False), (lambda: held, False)):
        made.clear()
        got: list[Any] = []
        x = flow.ones(3, 2, dtype=flow.float64, requires_grad=True)
        y = x * 1
        y.register_hook(lambda g, got=got: got.append(g.data))
        (made_by(make)(y) + made_by(make)(y)).sum().backward()
        assert any(got[0] is each() for each in made) == in_place
        assert got[0].tolist() == [[2, 2]] * 3
        assert got[0].flags.f_contiguous  # the sum has the order of what was summed
        assert x.grad.data.flags.f_contiguous
    assert held.tolist() == [[1, 1]] * 3


# ---------------------------------------------------------------- hooks and sinks


def test_hooks_of_leaves_and_results_see_and_replace_the_whole_gradient() -> None:
    x = leaf(2)
    y = x * 3
    got: list[Any] = []
    y.register_hook(lambda g: got.append(g.tolist()))
    doubled = x.register_hook(lambda g: g * 2)
    (y + y).backward(retain_graph=True)
    assert (got, x.grad.tolist()) == ([[2]], [12])
    x.register_hook(lambda g: got.append(flow.is_grad_enabled())).remove()
    noted = x.register_hook(lambda g: got.append(flow.is_grad_enabled()))
    y.backward(retain_graph=True)
    assert got == [[2], [1], False]
    noted.remove()
    doubled.remove()
    doubled.remove()
    x.grad = None
    (y + y).backward()
    assert x.grad.tolist() == [6]
    with pytest.raises(GradientError, match="requires no gradient"):
        flow.ones(1).register_hook(print)
    x.register_hook(lambda g: g.reshape(1, 1))
    with pytest.raises(ShapeError, match=r"hook of a leaf: expected a gradient of shape \(1,\)"):
        (x * 1).backward()


def test_retain_grad_and_hooks_after_accumulation() -> None:
    x = leaf(2)
    y = x * 3
    y.retain_grad()
    seen_by_hook: list[Any] = []
    handle = x.register_post_accumulate_grad_hook(lambda p: seen_by_hook.append(p.grad.tolist()))
    (y * y).backward()
    assert (y.grad.tolist(), seen_by_hook) == ([12], [[36]])
    handle.remove()
    (x * 1).backward()
    assert len(seen_by_hook) == 1
    with pytest.raises(GradientError, match="only leaves"):
        y.register_post_accumulate_grad_hook(print)


class Sink:
    """Records when a leaf's gradient was ready."""

    factor = 1.0

    def __init__(self, name: str, events: list[str], shape: Any, callbacks: bool = False) -> None:
        self.name, self.events, self.callbacks = name, events, callbacks
        self.buffer = np.full(shape, np.nan)

    def ready(self, run: Any, multiplied: bool) -> None:
        self.events.append(f"{self.name} ready {self.buffer.tolist()}")
        if self.callbacks:
            run.at_end(lambda: self.events.append(f"{self.name} end {threading.current_thread().name}"))
            run.at_failure(lambda: self.events.append(f"{self.name} failed"))


def watched(name: str, events: list[str]) -> Any:
    """The identity, noting when the backward passes."""

    @op
    def identity(xp: Any, x: Any) -> Any:
        def vjp(g: Any) -> Any:
            events.append(f"{name} passed")
            return (g,)

        return x * 1, vjp

    return identity


def test_a_leaf_is_ready_before_the_rest_of_the_backward() -> None:
    events: list[str] = []
    early, late = leaf(2), leaf(3)
    early.grad_sink, late.grad_sink = Sink("early", events, 1, True), Sink("late", events, 1, True)
    y = watched("input side", events)(early * 1)
    z = watched("output side", events)(y * late)
    z.backward()
    me = threading.current_thread().name
    assert events == [
        "output side passed", "late ready [2.0]", "input side passed", "early ready [3.0]",
        f"late end {me}", f"early end {me}",
    ]  # fmt: skip
    assert late.grad.data is late.grad_sink.buffer


def test_one_branch_is_followed_to_its_leaves_before_the_next_starts() -> None:
    events: list[str] = []
    x, z = leaf(2), leaf(3)
    x.grad_sink, z.grad_sink = Sink("x", events, 1), Sink("z", events, 1)
    left = watched("left 1", events)(watched("left 2", events)(x))
    right = watched("right 1", events)(watched("right 2", events)(z))
    (left + right).backward()
    assert events == ["right 1 passed", "right 2 passed", "z ready [1.0]",
                      "left 1 passed", "left 2 passed", "x ready [1.0]"]  # fmt: skip


def test_a_leaf_that_is_used_twice_is_ready_once_and_complete() -> None:
    events: list[str] = []
    x = leaf(2)
    x.grad_sink = Sink("x", events, 1)
    (watched("a", events)(x * 3) + watched("b", events)(x * x)).backward()
    assert events[-1] == "x ready [7.0]"
    assert len(events) == 3


def test_a_sink_accumulates_over_backwards_and_takes_over_a_foreign_gradient() -> None:
    events: list[str] = []
    x = leaf(2)
    x.grad_sink = Sink("x", events, 1)
    (x * 3).backward()
    (x * 3).backward()
    assert x.grad.data is x.grad_sink.buffer
    assert x.grad.tolist() == [6]
    x.grad = flow.tensor([10.0], dtype=flow.float64)
    (x * 3).backward()
    assert x.grad.tolist() == [13]
    x.grad = None
    (x * 3).backward()
    assert events == [f"x ready [{value}]" for value in (3.0, 6.0, 13.0, 3.0)]


class Halving(Sink):
    """Asks for half of each gradient, as one of two ranks would."""

    factor = 0.5

    def ready(self, run: Any, multiplied: bool) -> None:
        self.events.append(f"{self.name} ready {self.buffer.tolist()}, multiplied: {multiplied}")
        if not multiplied:
            self.buffer *= self.factor


def test_a_first_gradient_is_multiplied_on_its_way_to_the_sink_and_a_sum_is_not() -> None:
    events: list[str] = []
    x = leaf(2)
    x.grad_sink = Halving("x", events, 1)
    (x * 3).backward()
    assert x.grad.data is x.grad_sink.buffer
    (x * 3).backward()
    assert events == ["x ready [1.5], multiplied: True", "x ready [4.5], multiplied: False"]
    assert x.grad.tolist() == [2.25]


def test_a_hook_after_accumulation_sees_the_gradient_without_the_sinks_factor() -> None:
    events: list[str] = []
    x = leaf(2)
    x.grad_sink = Halving("x", events, 1)
    x.register_post_accumulate_grad_hook(lambda tensor: events.append(str(tensor.grad.tolist())))
    (x * 3).backward()
    assert events == ["[3.0]", "x ready [3.0], multiplied: False"]
    assert x.grad.tolist() == [1.5]


def triple(calls: list[Any]) -> Any:
    """Three times x, with a gradient that notes what it was asked to be written into."""

    @op
    def tripled(xp: Any, x: Any) -> Any:
        def vjp(g: Any) -> Any:
            def compute(out: Any = None, factor: float = 1.0) -> Any:
                calls.append((out, factor))
                return 3 * g if out is None else xp.multiply(3 * g, factor, out=out)

            return (PlacedGradient(compute),)

        return 3 * x, vjp

    return tripled


def test_a_placed_gradient_is_written_into_the_sink() -> None:
    events: list[str] = []
    calls: list[Any] = []
    x = leaf(2)
    x.grad_sink = Halving("x", events, 1)
    triple(calls)(x).backward()
    assert len(calls) == 1
    assert calls[0][0] is x.grad.data is x.grad_sink.buffer
    assert events == ["x ready [1.5], multiplied: True"]
    assert x.grad.tolist() == [1.5]


@pytest.mark.parametrize("why", ["no sink", "used twice", "used before", "hook", "later hook", "grad", "a result"])
def test_a_placed_gradient_has_its_own_memory_where_more_is_done_with_it(why: str) -> None:
    calls: list[Any] = []
    x = leaf(2)
    tripled = triple(calls)
    expected = 1.5
    if why != "no sink":
        x.grad_sink = Halving("x", [], 1)
    if why == "hook":
        x.register_hook(lambda g: g * 2)
        expected = 3.0
    if why == "later hook":
        x.register_post_accumulate_grad_hook(lambda tensor: None)
    if why == "used before":
        tripled(x).backward()
        calls.clear()
        expected = 2.25
    if why == "used twice":
        (tripled(x) + tripled(x)).backward()
        expected = 3.0
    elif why == "a result":
        tripled(x * 1).backward()
    elif why == "grad":
        found = flow.autograd.grad(tripled(x), x)
        assert x.grad is None
        assert np.isnan(x.grad_sink.buffer).all()
        assert found[0].tolist() == [3.0]
    else:
        tripled(x).backward()
    assert set(calls) == {(None, 1.0)}
    if why != "grad":
        assert x.grad.tolist() == [3.0 if why == "no sink" else expected]


def test_failures_call_at_failure_instead_of_at_end() -> None:
    @op
    def broken(xp: Any, x: Any) -> Any:
        return x * 1, lambda g: 1 / 0

    events: list[str] = []
    late, early = leaf(1), leaf(1)
    late.grad_sink = Sink("late", events, 1, True)
    with pytest.raises(ZeroDivisionError):
        (broken(early) * late).backward()
    assert events == ["late ready [1.0]", "late failed"]

    class EndFails(Sink):
        def ready(self, run: Any, multiplied: bool) -> None:
            super().ready(run, multiplied)

            def fail() -> None:
                raise TimeoutError("peer is gone")

            run.at_end(fail)

    events.clear()
    late.grad_sink = EndFails("late", events, 1, True)
    with pytest.raises(TimeoutError, match="peer is gone"):
        (late * 1).backward()
    assert events[-1] == "late failed"


def test_a_backward_inside_a_backward() -> None:
    inner = leaf(5)

    @op
    def nested(xp: Any, x: Any) -> Any:
        def vjp(g: Any) -> Any:
            (inner * inner).backward()
            return (g,)

        return x * 1, vjp

    x = leaf(1)
    nested(x * 2).backward()
    assert (x.grad.tolist(), inner.grad.tolist()) == ([2], [10])


def test_an_aligned_array_of_which_nobody_knows_is_added_to_in_place() -> None:
    addresses: list[int] = []

    @op
    def aligned(xp: Any, x: Any) -> Any:
        def fresh() -> Any:
            raw = np.empty(3 * 8 + 64, np.uint8)
            array = raw[64 - raw.ctypes.data % 64 :][:24].view(np.float64)
            array[:] = 1
            addresses.append(array.ctypes.data)
            return array

        return x * 1, lambda g: (fresh,)

    x = leaf(1, 2, 3)
    (aligned(x) + aligned(x)).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]
    assert x.grad.data.ctypes.data in addresses
