"""The op decorator, what is recorded, the gradients that come of it, and what is refused."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import autograd
from flownn.autograd import op
from flownn.errors import DtypeError, GradientError, ShapeError
from tests.helpers.leaves import leaf

# ---------------------------------------------------------------- the op decorator


@op
def scale_by(xp: Any, x: Any, factor: Any = None, *, extra: float = 1.0) -> Any:
    """Doc of the body."""
    if factor is None:
        return x * extra, lambda g: (g * extra,)
    return x * factor * extra, lambda g: (g * factor * extra, lambda: g * x * extra)


@op(tuple_output=True)
def parts(xp: Any, x: Any) -> Any:
    def vjp(gs: list[Any]) -> Any:
        seen.append([None if g is None else g.copy() for g in gs])
        return (sum(g * k for k, g in zip((1, 10), gs[:2], strict=True) if g is not None),)

    return (x, x * 10, np.argsort(x)), vjp


seen: list[Any] = []


def test_a_0_dim_leaf_gets_the_sum_over_all_its_uses() -> None:
    x = flow.tensor(2.0, requires_grad=True)
    (x * 3 + x * 5 + x * 7 + x * 11 + flow.ones(2) * x).sum().backward()
    assert isinstance(x.grad.data, np.ndarray)
    assert x.grad.item() == 2 * (3 + 5 + 7 + 11) + 2


def test_inputs_by_position_by_name_and_left_out() -> None:
    x, factor = leaf(1, 2), leaf(3, 4)
    for result in (scale_by(x, factor), scale_by(x, factor=factor), scale_by(factor=factor, x=x)):
        assert result.tolist() == [3, 8]
        x.grad = factor.grad = None
        result.sum().backward()
        assert (x.grad.tolist(), factor.grad.tolist()) == ([3, 4], [1, 2])
    assert scale_by(x, extra=2).tolist() == scale_by(x, None, extra=2).tolist() == [2, 4]
    assert scale_by(2, extra=2).item() == 4
    assert scale_by(np.ones(2)).tolist() == [1, 1]
    assert (scale_by.__name__, scale_by.__doc__) == ("scale_by", "Doc of the body.")


def test_an_entry_is_evaluated_only_for_an_input_that_needs_it() -> None:
    def never() -> None:
        raise AssertionError("evaluated")

    @op
    def picky(xp: Any, x: Any, y: Any) -> Any:
        return x + y, lambda g: (g, never)

    x = leaf(1)
    picky(x, flow.zeros(1)).backward()
    assert x.grad.tolist() == [1]
    with pytest.raises(AssertionError, match="evaluated"):
        picky(flow.zeros(1), leaf(1)).backward()


def test_several_outputs_and_those_that_were_not_used() -> None:
    x = leaf(3, 1)
    seen.clear()
    first, second, order = parts(x)
    assert (first.requires_grad, second.requires_grad, order.requires_grad) == (True, True, False)
    (second * 2).sum().backward()
    assert x.grad.tolist() == [20, 20]
    assert seen[0][0] is None
    assert seen[0][2] is None
    x.grad = None
    first, second, _ = parts(x)
    autograd.backward([first, second], [flow.ones(2), flow.full((2,), 2.0)])
    assert x.grad.tolist() == [21, 21]
    assert len(seen) == 2  # both gradients came in one call


def test_a_wrong_vjp_is_named() -> None:
    @op
    def too_few(xp: Any, x: Any, y: Any) -> Any:
        return x + y, lambda g: (g,)

    @op
    def wrong_shape(xp: Any, x: Any) -> Any:
        return x.sum(), lambda g: (g,)

    @op
    def broken(xp: Any, x: Any) -> Any:
        return x * 1, lambda g: 1 / 0

    with pytest.raises(GradientError, match="too_few_backward: expected 2 gradients, one per array input, got 1"):
        too_few(leaf(1), leaf(1)).backward()
    with pytest.raises(GradientError, match=r"wrong_shape_backward: .* shape \(\) for an input of shape \(2,\)"):
        wrong_shape(leaf(1, 2)).backward()
    with pytest.raises(ZeroDivisionError) as caught:
        broken(leaf(1)).backward()
    assert caught.value.__notes__ == ["raised in broken_backward"]

    @op
    def broken_later(xp: Any, x: Any) -> Any:
        return x * 1, lambda g: (lambda: 1 / 0,)

    with pytest.raises(ZeroDivisionError) as caught:
        broken_later(leaf(1)).backward()
    assert caught.value.__notes__ == ["raised in broken_later_backward"]


def test_values_that_are_no_array_are_refused() -> None:
    with pytest.raises(DtypeError, match="scale_by: expected a tensor, an array or a number, got list"):
        scale_by([1.0])


# ---------------------------------------------------------------- gradients


def test_a_diamond_adds_up() -> None:
    x = leaf(2)
    y = x * 3
    (y * y + y).backward()
    assert x.grad.tolist() == [(2 * 6 + 1) * 3]


def test_a_leaf_used_in_many_places() -> None:
    x = leaf(2)
    (x * x * x + x - x / 2).backward()
    assert x.grad.tolist() == [12.5]


@pytest.mark.parametrize("shape", [(), (1,), (2, 2)])
@pytest.mark.parametrize("uses", [1, 2, 3, 4, 7])
def test_every_use_counts_also_of_a_0_dim_tensor(uses: int, shape: tuple[int, ...]) -> None:
    x = flow.full(shape, 2.0, dtype=flow.float64, requires_grad=True)
    y = x * 1
    total = flow.zeros(shape, dtype=flow.float64)
    for k in range(uses):
        total = total + y * y * k + x
    total.sum().backward()
    want = sum(4 * k + 1 for k in range(uses))
    assert isinstance(x.grad.data, np.ndarray)
    np.testing.assert_array_equal(x.grad.numpy(), np.full(shape, want))
    root = total.detach().requires_grad_()
    autograd.backward([root] * uses, [flow.ones_like(root)] * uses)
    np.testing.assert_array_equal(root.grad.numpy(), np.full(shape, uses))


def test_gradients_accumulate_over_backwards() -> None:
    x = leaf(1, 2)
    for _ in range(3):
        (x * x).sum().backward()
    assert x.grad.tolist() == [6, 12]


def test_broadcast_dims_are_summed() -> None:
    x, y = flow.ones(3, 1, requires_grad=True), flow.ones(2, 1, 4, requires_grad=True)
    (x + y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full((3, 1), 8))
    np.testing.assert_array_equal(y.grad.numpy(), np.full((2, 1, 4), 3))


def test_gradients_of_different_leaves_never_share_memory() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    seed = np.ones(2)
    (x + y).backward(seed)
    x.grad.fill_(9)
    assert (y.grad.tolist(), seed.tolist()) == ([1, 1], [1, 1])
    z = leaf(1, 2)
    z.backward(seed)  # a leaf is its own root
    z.grad.fill_(9)
    assert seed.tolist() == [1, 1]
    w = leaf(5, 6)
    w.sum().backward()  # the gradient of a sum is a read-only view of one number
    w.grad.add_(1)
    assert w.grad.tolist() == [2, 2]
    (g,) = autograd.grad(x + 0, x, seed)  # add passes the gradient on as it is
    g.fill_(9)
    y = x * 1
    (g,) = autograd.grad(y + 0, y, seed)
    g.fill_(9)
    assert seed.tolist() == [1, 1]


def test_an_input_without_gradient_still_lets_the_others_through() -> None:
    @op
    def nothing(xp: Any, x: Any) -> Any:
        return x * 1, lambda g: (None,)

    x = leaf(2)
    y = x * 3
    (nothing(y) + y).backward()
    assert x.grad.tolist() == [3]
    z = leaf(1)
    nothing(z).backward()
    assert z.grad is None


def test_the_gradient_argument() -> None:
    x = leaf(1, 2)
    (x * x).backward(flow.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2, 40]
    with pytest.raises(ShapeError, match=r"expected a gradient of shape \(2,\), got \(3,\)"):
        (x * x).backward(np.ones(3))
    with pytest.raises(GradientError, match=r"has shape \(2,\); pass the gradient"):
        (x * x).backward()


def test_a_chain_of_many_ops_needs_no_recursion() -> None:
    x = leaf(1)
    y = x
    for _ in range(20000):
        y = y + 1
    y.backward()
    assert x.grad.tolist() == [1]
    z = x
    for _ in range(100000):
        z = z + 1
    del z  # a graph that no backward has walked is freed as well
    gc.collect()


def test_create_graph_is_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match=r"create_graph=True: .* backward of multiply"):
        (leaf(1) * 2).backward(create_graph=True)


def test_grad_returns_gradients_of_leaves_and_results() -> None:
    x, other = leaf(2), leaf(1)
    y = x * 3
    z = y * y * other
    gx, gy = autograd.grad(z, [x, y])
    assert (gx.tolist(), gy.tolist()) == ([36], [12])
    assert x.grad is None
    assert other.grad is None
    unused = leaf(1)
    with pytest.raises(GradientError, match=r"no output depends on inputs \[1\]"):
        autograd.grad(x * 2, [x, unused])
    assert autograd.grad(x * 2, [x, unused], allow_unused=True)[1] is None
    (weighted,) = autograd.grad([x * 2, x * 3], x, [np.array([1.0]), np.array([10.0])])
    assert weighted.tolist() == [32]


def test_backward_into_some_tensors_only() -> None:
    x, y, unused = leaf(1, 2), leaf(3, 4), leaf(5)
    z = x * 2
    loss = (z * y).sum()
    loss.backward(inputs=[y, z, unused][:2], retain_graph=True)
    assert (x.grad, y.grad.tolist(), z.grad.tolist()) == (None, [2, 4], [3, 4])
    loss.backward(inputs=y, retain_graph=True)
    autograd.backward(loss, inputs=[x, unused], retain_graph=True)
    assert (x.grad.tolist(), y.grad.tolist(), unused.grad) == ([6, 8], [4, 8], None)


def test_nothing_to_differentiate() -> None:
    with pytest.raises(GradientError, match=r"shape \(2,\) and type float32 does not require a gradient"):
        flow.ones(2).backward()
    with pytest.raises(GradientError, match="only floating point tensors have gradients"):
        flow.ones(2, dtype=flow.int64, requires_grad=True)
    with pytest.raises(GradientError, match="use detach"):
        (leaf(1) * 2).requires_grad = False


# ---------------------------------------------------------------- the graph's life


def test_a_second_backward_needs_retain_graph() -> None:
    x = leaf(2)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8]
    with pytest.raises(GradientError, match=r"multiply_backward: a second backward .* retain_graph=True"):
        y.backward()
    shared = x * x
    (shared * 1).backward()
    x.grad = None
    with pytest.raises(GradientError, match="multiply_backward: a second backward"):
        (shared * 2 + x).backward()
    assert x.grad is None  # refused before any gradient was added


def test_no_grad_records_nothing() -> None:
    x = leaf(1)
    with flow.no_grad():
        y = x * 2
        with flow.enable_grad():
            z = x * 2
    assert (y.requires_grad, y.is_leaf, z.requires_grad) == (False, True, True)
    assert flow.is_grad_enabled()
    with pytest.raises(KeyError), flow.no_grad():
        raise KeyError
    assert flow.is_grad_enabled()


def test_grad_modes_as_decorators_and_switches() -> None:
    @flow.no_grad()
    def inside() -> bool:
        return flow.is_grad_enabled()

    assert not inside()
    assert flow.is_grad_enabled()
    mode = flow.no_grad()
    with mode, mode:
        assert not flow.is_grad_enabled()
    assert flow.is_grad_enabled()
    flow.set_grad_enabled(False)
    assert not flow.is_grad_enabled()
    flow.set_grad_enabled(True)
    with flow.set_grad_enabled(False):
        assert not flow.is_grad_enabled()
    assert flow.is_grad_enabled()

    @flow.set_grad_enabled(False)
    def also_inside() -> bool:
        return flow.is_grad_enabled()

    assert flow.is_grad_enabled()
    assert not also_inside()


def test_the_grad_mode_belongs_to_the_thread() -> None:
    found = []
    with flow.no_grad():
        thread = threading.Thread(target=lambda: found.append(flow.is_grad_enabled()))
        thread.start()
        thread.join(10)
    assert found == [True]


def test_threads_run_backwards_at_once() -> None:
    results: list[Any] = []

    def work(k: int) -> None:
        x = leaf(k)
        for _ in range(50):
            y = x
            for _ in range(20):
                y = y * 1
                y += 0
            y.backward()
        results.append((k, x.grad.tolist()))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [(k, [50]) for k in range(4)]
