"""Functions with a gradient of the user's own."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.autograd import Function
from flownn.errors import GradientError
from tests.helpers.leaves import leaf


class Scale(Function):
    """``x * y * factor``, with an argument that is no tensor."""

    @staticmethod
    def forward(ctx: Any, x: Any, factor: float, y: Any) -> Any:
        ctx.save_for_backward(x, y, None)
        ctx.factor = factor
        assert not flow.is_grad_enabled()
        return x * y * factor

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y, nothing = ctx.saved_tensors
        assert nothing is None
        assert not flow.is_grad_enabled()
        return (
            g * y * ctx.factor if ctx.needs_input_grad[0] else None,
            None,
            g * x * ctx.factor if ctx.needs_input_grad[2] else None,
        )


class SquareAndCube(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        order = x.argsort()
        ctx.save_for_backward(x)
        ctx.mark_non_differentiable(order)
        return x * x, x**3, order

    @staticmethod
    def backward(ctx: Any, square: Any, cube: Any, order: Any) -> Any:
        (x,) = ctx.saved_tensors
        seen.append((square, cube, order))
        return 2 * x * square + 3 * x * x * cube


seen: list[Any] = []


def test_arguments_with_and_without_gradient() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    z = Scale.apply(x, 10.0, y)
    assert z.tolist() == [30, 80]
    assert "Scale_backward" in repr(z)
    (z * 2).sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([60, 80], [20, 40])
    x.grad = None
    Scale.apply(x, 10.0, y.detach()).sum().backward()
    assert x.grad.tolist() == [30, 40]
    assert flow.autograd.gradcheck(lambda a, b: Scale.apply(a, 3.0, b), (leaf(1, 2), leaf(3, 4)))


def test_nothing_is_recorded_where_nothing_needs_a_gradient() -> None:
    x = leaf(1, 2)
    assert not Scale.apply(x.detach(), 1.0, x.detach()).requires_grad
    with flow.no_grad():
        assert not Scale.apply(x, 1.0, x).requires_grad


def test_several_results_and_zeros_for_those_not_used() -> None:
    x = leaf(2, 1)
    square, cube, order = SquareAndCube.apply(x)
    assert (square.requires_grad, cube.requires_grad, order.requires_grad) == (True, True, False)
    seen.clear()
    cube.sum().backward()
    assert x.grad.tolist() == [12, 3]
    assert [each.tolist() for each in seen[0]] == [[0, 0], [1, 1], [0, 0]]
    assert seen[0][2].dtype is flow.int64


def test_none_for_results_not_used_if_asked_for() -> None:
    class Both(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx: Any, first: Any, second: Any) -> Any:
            assert first is None
            return second * 2

    x = leaf(3)
    Both.apply(x)[1].sum().backward()
    assert x.grad.tolist() == [2]


def test_the_form_with_setup_context() -> None:
    class Exp(Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x.exp()

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            assert len(inputs) == 1
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0]

    assert flow.autograd.gradcheck(Exp.apply, leaf(0.5, -1))


def test_a_saved_tensor_that_was_overwritten_is_an_error() -> None:
    x, y = leaf(1, 2) * 1, leaf(3, 4)
    z = Scale.apply(x, 1.0, y)
    x.add_(1)
    with pytest.raises(GradientError, match=r"Scale_backward: needs a value .* add_ has overwritten"):
        z.sum().backward()


def test_an_input_that_is_changed_in_place() -> None:
    class DoubleInPlace(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.data[...] *= 2
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = leaf(1, 2)
    y = x * 3
    saved = y * y
    z = DoubleInPlace.apply(y)
    assert z is y
    assert y.tolist() == [6, 12]
    (y * 5).sum().backward(retain_graph=True)
    assert x.grad.tolist() == [30, 30]
    with pytest.raises(GradientError, match="DoubleInPlace has overwritten"):
        saved.sum().backward()
    with pytest.raises(GradientError, match="a leaf that requires a gradient cannot be changed in place"):
        DoubleInPlace.apply(x)


def test_an_input_that_is_returned_stays_itself() -> None:
    class Same(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 7

    x = leaf(1)
    y = Same.apply(x)
    assert x.is_leaf
    assert y is not x
    y.sum().backward()
    assert x.grad.tolist() == [7]


def test_what_was_saved_is_freed_with_the_graph() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    z = Scale.apply(x, 1.0, y)
    kept = weakref.ref(z.grad_fn.edges[0].vjp)
    assert kept() is not None
    z.sum().backward()
    gc.collect()
    assert kept() is None
    with pytest.raises(GradientError, match="second backward"):
        z.sum().backward()


def test_gradients_of_another_type_and_broadcast_arguments() -> None:
    class Add(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x + y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g.double(), g

    x, y = flow.ones(1, requires_grad=True), flow.ones(2, 3, requires_grad=True)
    Add.apply(x, y).sum().backward()
    assert (x.grad.tolist(), x.grad.dtype, y.grad.shape) == ([6], flow.float32, (2, 3))


class Wrong(Function):
    returned: Any = None

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        return x + y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return Wrong.returned


@pytest.mark.parametrize(("returned", "message"), [
    (lambda: flow.ones(2), "expected 2 gradients, one per argument of apply, got 1"),
    (lambda: (flow.ones(2),) * 3, "expected 2 gradients, one per argument of apply, got 3"),
    (lambda: (np.ones(2), None), "expected tensors or None, got ndarray"),
    (lambda: (flow.ones(3), None), "cannot have been broadcast"),
])  # fmt: skip
def test_a_wrong_backward_is_named(returned: Any, message: str) -> None:
    Wrong.returned = returned()
    x = flow.ones(2, requires_grad=True)
    with pytest.raises(GradientError, match=message):
        Wrong.apply(x, x).sum().backward()


def test_extra_none_is_fine_as_in_torch() -> None:
    Wrong.returned = (flow.ones(2), None, None)
    x = flow.ones(2, requires_grad=True)
    Wrong.apply(x, x).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_other_mistakes() -> None:
    class Nothing(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return 3

    class SavesANumber(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(3)

    class ForgetsDirty(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x + 1

    for function, error, message in (
        (Nothing, TypeError, "Nothing.forward: expected a tensor"),
        (SavesANumber, TypeError, "save_for_backward: expected tensors or None, got int"),
        (ForgetsDirty, GradientError, "must be returned"),
        (Function, NotImplementedError, "define forward as a staticmethod"),
    ):
        with pytest.raises(error, match=message):
            function.apply(flow.ones(1, requires_grad=True) * 1)  # type: ignore[attr-defined]
