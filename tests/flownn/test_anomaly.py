"""Anomaly mode names the op and the line; gradcheck; grad modes around generators."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import autograd
from flownn.errors import GradientError


def faulty(x: Any) -> Any:
    return flow.log(x).sum()  # the culprit


@pytest.mark.parametrize("mode", [autograd.detect_anomaly, lambda: autograd.set_detect_anomaly(True)])
def test_the_op_and_the_line_of_its_call_are_named(mode: Any) -> None:
    x = flow.tensor([1.0, 0.0], requires_grad=True)
    with mode():
        assert autograd.is_anomaly_enabled()
        y = faulty(x * 1)
        with pytest.raises(GradientError) as caught:
            (y * 2).backward()
    assert not autograd.is_anomaly_enabled()
    message = str(caught.value)
    assert "log_backward: the gradient of input 0, of shape (2,), has an infinity in 1 places" in message
    assert "test_anomaly.py" in message
    assert "return flow.log(x).sum()  # the culprit" in message
    assert "flownn/ops" not in message
    faulty(x).backward()  # off again: nothing is checked
    assert x.grad.tolist()[1] == float("inf")


def test_nan_is_found_and_the_search_can_be_off() -> None:
    x = flow.tensor([0.0], requires_grad=True)
    with autograd.detect_anomaly():
        y = flow.sqrt(x) * 0
        with pytest.raises(GradientError, match=r"sqrt_backward: .* has NaN in 1 places"):
            y.sum().backward()
    with autograd.detect_anomaly(check_nan=False):
        (flow.sqrt(x) * 0).sum().backward()
    assert np.isnan(x.grad.item())


def test_an_error_in_a_backward_tells_the_line_of_the_forward() -> None:
    class Fails(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x + 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            raise RuntimeError("broken")

    x = flow.ones(1, requires_grad=True)
    with autograd.detect_anomaly():
        y = Fails.apply(x)  # here it was called
        with pytest.raises(RuntimeError, match="broken") as caught:
            y.backward()
    notes = "".join(caught.value.__notes__)
    assert "raised in Fails_backward" in notes
    assert "# here it was called" in notes


def test_a_graph_from_before_the_mode_has_no_line() -> None:
    x = flow.tensor([0.0], requires_grad=True)
    y = flow.log(x)
    with autograd.detect_anomaly(), pytest.raises(GradientError, match="before anomaly mode was on"):
        y.sum().backward()


def test_the_switch_without_a_block() -> None:
    switch = autograd.set_detect_anomaly(True)
    assert autograd.is_anomaly_enabled()
    with switch:
        pass
    assert not autograd.is_anomaly_enabled()


def test_good_gradients_pass() -> None:
    x = flow.ones(3, requires_grad=True)
    with autograd.detect_anomaly():
        first, second = (x * 2).split([1, 2])
        (first.sum() + second.sum()).backward()
    assert x.grad.tolist() == [2, 2, 2]


# ---------------------------------------------------------------- gradcheck


def doubled(*values: float) -> Any:
    return flow.tensor(values, dtype=flow.float64, requires_grad=True)


def test_gradcheck_accepts_what_is_right() -> None:
    assert autograd.gradcheck(lambda x, y: (x * y, x.sum(), y > 0), (doubled(1, 2), doubled(3, 4)))
    assert autograd.gradcheck(flow.exp, doubled(1))
    assert autograd.gradcheck(lambda x, n: x * n, (doubled(1, 2), 3))
    assert autograd.gradcheck(lambda x: flow.zeros(2, dtype=flow.float64), doubled(1))


def test_gradcheck_names_the_derivative_that_is_wrong() -> None:
    @autograd.op
    def wrong(xp: Any, x: Any) -> Any:
        return x * x, lambda g: (g * np.array([2, 4, 5.0]),)

    x = doubled(1, 2, 3)
    assert not autograd.gradcheck(wrong, x, raise_exception=False)
    with pytest.raises(GradientError, match=r"element 2 of output 0 by element 2 of input 0 is 5\.0 by"):
        autograd.gradcheck(wrong, x)
    with pytest.raises(ValueError, match="requires a gradient, got none"):
        autograd.gradcheck(flow.exp, x.detach())


# ---------------------------------------------------------------- grad modes


def test_generators_run_in_the_mode_and_their_callers_do_not() -> None:
    seen: list[Any] = []

    @flow.no_grad()
    def steps(n: int) -> Iterator[bool]:
        try:
            for _ in range(n):
                sent = yield flow.is_grad_enabled()
                seen.append(sent)
        except KeyError:
            yield flow.is_grad_enabled()
        finally:
            seen.append(("end", flow.is_grad_enabled()))
        return "done"

    run: Any = steps(2)
    assert next(run) is False
    assert flow.is_grad_enabled()
    assert run.send("a") is False
    with pytest.raises(StopIteration) as stopped:
        run.send("b")
    assert stopped.value.value == "done"
    assert seen == ["a", "b", ("end", False)]
    seen.clear()
    run = steps(5)
    next(run)
    assert run.throw(KeyError("x")) is False
    run.close()
    assert seen == [("end", False)]
    run = steps(5)
    next(run)
    with pytest.raises(ZeroDivisionError):
        run.throw(ZeroDivisionError())
    assert flow.is_grad_enabled()


def test_decorators_without_call() -> None:
    @flow.no_grad
    def off() -> bool:
        return flow.is_grad_enabled()

    @flow.enable_grad
    def on() -> bool:
        return flow.is_grad_enabled()

    @flow.inference_mode
    def inference() -> tuple[bool, bool]:
        return flow.is_grad_enabled(), flow.is_inference_mode_enabled()

    with flow.no_grad():
        assert on()
    assert not off()
    assert inference() == (False, True)
    assert off.__name__ == "off"
    assert (flow.is_grad_enabled(), flow.is_inference_mode_enabled()) == (True, False)


def test_inference_mode_is_stronger_than_enable_grad() -> None:
    x = flow.ones(1, requires_grad=True)
    with flow.inference_mode():
        with flow.enable_grad():
            assert not (x * 2).requires_grad
        with flow.set_grad_enabled(True):
            assert not (x * 2).requires_grad
        with flow.inference_mode(False):
            assert (x * 2).requires_grad
            assert not flow.is_inference_mode_enabled()
        made = x * 2
    assert (made * x).requires_grad
    with pytest.raises(RuntimeError), flow.inference_mode():
        raise RuntimeError
    assert (flow.is_grad_enabled(), flow.is_inference_mode_enabled()) == (True, False)

    @flow.inference_mode(False)
    def records() -> bool:
        return (x * 2).requires_grad

    with flow.inference_mode():
        assert records()


def test_inference_mode_belongs_to_the_thread() -> None:
    found = []
    with flow.inference_mode():
        thread = threading.Thread(
            target=lambda: found.append((flow.is_grad_enabled(), flow.is_inference_mode_enabled()))
        )
        thread.start()
        thread.join(10)
    assert found == [(True, False)]


def test_grad_with_zeros_for_unused_inputs() -> None:
    x, y = flow.ones(2, requires_grad=True), flow.ones(3, requires_grad=True)
    first, second = autograd.grad((x * 3).sum(), (x, y), materialize_grads=True)
    assert (first.tolist(), second.tolist()) == ([3, 3], [0, 0, 0])
