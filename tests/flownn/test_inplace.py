"""Changing tensors in place: values, gradients, and the changes that a backward must refuse."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import autograd, overwritten
from flownn.errors import DtypeError, GradientError, ShapeError
from tests.helpers.gradcheck import check_vjp


@pytest.mark.parametrize(("change", "want"), [
    (lambda x: x.add_(1), [2.0, 5.0]), (lambda x: x.add_(x, alpha=2), [3.0, 12.0]), (lambda x: x.sub_(1), [0.0, 3.0]),
    (lambda x: x.mul_(x), [1.0, 16.0]), (lambda x: x.div_(2), [0.5, 2.0]), (lambda x: x.pow_(2), [1.0, 16.0]),
    (lambda x: x.neg_(), [-1.0, -4.0]), (lambda x: x.sqrt_(), [1.0, 2.0]), (lambda x: x.clamp_(2, 3), [2.0, 3.0]),
    (lambda x: x.zero_(), [0.0, 0.0]), (lambda x: x.fill_(7), [7.0, 7.0]), (lambda x: x.copy_([5, 6]), [5.0, 6.0]),
    (lambda x: x.masked_fill_(x > 2, 0), [1.0, 0.0]), (lambda x: x.__iadd__(1), [2.0, 5.0]),
    (lambda x: x.__ifloordiv__(3), [0.0, 1.0]),
])  # fmt: skip
def test_the_memory_and_the_tensor_stay_the_same(change: Any, want: list[float]) -> None:
    array = np.array([1.0, 4.0])
    x = flow.from_numpy(array)
    assert change(x) is x
    assert x.data is array
    assert array.tolist() == want


@pytest.mark.parametrize("change", [
    lambda y, z: y.add_(z), lambda y, z: y.mul_(z), lambda y, z: z.mul_(y), lambda y, z: y.div_(z),
    lambda y, z: y.mul_(y), lambda y, z: y.exp_(), lambda y, z: y.sub_(z, alpha=3).relu_(), lambda y, z: y.copy_(z),
    lambda y, z: y.zero_(), lambda y, z: y.fill_(3).add_(z), lambda y, z: y.clamp_(-0.5, 0.5), lambda y, z: y.pow_(3),
])  # fmt: skip
def test_gradients_go_through_the_change(change: Any, rng: np.random.Generator) -> None:
    def function(x: Any, z: Any) -> Any:
        y, z = x * 2, z * 1.5
        change(y, z)
        return y + z

    check_vjp(function, rng.standard_normal((2, 3)), 2 + rng.random((2, 3)), rng=rng)


def test_a_saved_value_that_was_overwritten_is_an_error_that_names_both_ops() -> None:
    x = flow.ones(3, requires_grad=True)
    y = x * 2
    z = y * y
    y.add_(1)
    with pytest.raises(GradientError, match=r"multiply_backward: needs a value of shape \(3,\) .* but add_ has"):
        z.sum().backward()
    result = x.exp()
    result += 1  # exp keeps its result
    with pytest.raises(GradientError, match=r"exp_backward: .* add_"):
        result.sum().backward()
    weight = flow.ones(3, requires_grad=True)
    product = x * weight
    with flow.no_grad():
        weight[0] = 5
    with pytest.raises(GradientError, match="index assignment has overwritten"):
        product.sum().backward()


@pytest.mark.parametrize("through", [
    lambda y: y.detach(), lambda y: y[:2], lambda y: y.view(3, 1), lambda y: flow.from_numpy(y.numpy()),
])  # fmt: skip
def test_it_does_not_matter_through_which_tensor_the_memory_was_overwritten(through: Any) -> None:
    y = flow.ones(3, requires_grad=True) * 2
    z = y * y
    with flow.no_grad():
        through(y).mul_(2)
    with pytest.raises(GradientError, match="mul_ has overwritten"):
        z.sum().backward()


def test_overwriting_what_nothing_saved_is_fine() -> None:
    x = flow.ones(3, requires_grad=True)
    y = x + 1
    z = y + 1
    y.mul_(5)  # add saves nothing
    z += x  # as in a residual block
    other = flow.ones(3)
    kept = x * other.clone()
    other.zero_()
    (z.relu() + kept).sum().backward()
    assert x.grad.tolist() == [3, 3, 3]


def test_changes_behind_the_back_are_noticed_when_they_are_marked() -> None:
    x = flow.ones(3, requires_grad=True)
    y = x * x
    x.data[...] = 5
    autograd.mark_overwritten(x.data, "SGD.step")
    with pytest.raises(GradientError, match=r"multiply_backward: .* SGD.step"):
        y.sum().backward()


def test_the_table_of_changes_forgets_memory_that_is_gone() -> None:
    gc.collect()
    before = len(overwritten._last_change)
    for _ in range(10):
        flow.ones(3).add_(1)
    gc.collect()
    assert len(overwritten._last_change) <= before


def test_leaves_and_their_views_are_protected() -> None:
    x = flow.ones(3, requires_grad=True)
    for change in (lambda: x.add_(1), lambda: x.__setitem__(0, 1), lambda: x.zero_(), lambda: x.uniform_()):
        with pytest.raises(GradientError, match="a leaf that requires a gradient cannot be changed in place"):
            change()
    with pytest.raises(GradientError, match=r"\(through a view\)"):
        x[:2].add_(1)
    assert x.tolist() == [1, 1, 1]
    with flow.no_grad():
        x.add_(1)
        x[0] = 7
    assert x.tolist() == [7, 2, 2]


def test_a_plain_tensor_becomes_part_of_the_graph() -> None:
    x = flow.ones(3, requires_grad=True)
    result = flow.zeros(2, 3)
    result[0] = x * 2
    result[1].add_(x)
    assert (result.requires_grad, result.tolist()) == (True, [[2, 2, 2], [1, 1, 1]])
    result.sum().backward()
    assert x.grad.tolist() == [3, 3, 3]


@pytest.mark.parametrize("view", [
    lambda y: y[:2], lambda y: y[::-2], lambda y: y.view(3, 1).T, lambda y: y.expand(2, 3), lambda y: y.unfold(0, 2, 1),
    lambda y: y[1], lambda y: y[:0],
])  # fmt: skip
def test_older_views_go_on_as_parts_of_what_the_base_became(view: Any, rng: np.random.Generator) -> None:
    def function(x: Any) -> Any:
        y = x * 2
        older, other = view(y), y[1:]
        y.mul_(x)
        assert older.tolist() == view(y).tolist()
        before = older * 3
        other.sin_()
        y[0] = x[1]
        return before.sum() + (older * older).sum() + y.exp().sum()

    check_vjp(function, rng.standard_normal(3), rng=rng)


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(4))
def test_random_programs_of_views_and_changes_are_those_of_torch(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(seed)
    agreed = 0
    for _ in range(100):
        program, inputs = rng.integers(0, 1 << 30, (8, 3)), rng.standard_normal((2, 3, 4))
        try:
            want = run_program(torch, program, inputs)
        except RuntimeError:
            continue  # PyTorch's counters refuse a little more
        got = run_program(flow, program, inputs)
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
        agreed += 1
    assert agreed > 20


def run_program(module: Any, program: Any, inputs: Any) -> list[Any]:
    """Take views, change tensors and compute from them as the numbers say; the result and the gradients."""
    leaves = [module.tensor(each, requires_grad=True) for each in inputs]
    live = [leaves[0] * 1.5, leaves[1] * 0.5]
    parts = []
    for which, action, partner in program[: 2 + program[0, 0] % 7]:
        y, other = live[which % len(live)], live[partner % len(live)]
        ndim, fits = len(y.shape), tuple(y.shape) == tuple(live[partner % len(live)].shape)
        match int(action % 13):
            case 0 if ndim:
                live.append(y[int(partner) % y.shape[0]])
            case 1 if ndim:
                live.append(y[1:])
            case 2 if ndim == 2:
                live.append(y.T)
            case 3:
                live.append(y.reshape(-1))
            case 4 if ndim == 2:
                live.append(y.diagonal())
            case 5:
                live.append(y * 3)
            case 6:
                y.sin_()
            case 7:
                y.add_(1.0).mul_(2)
            case 8 if ndim:
                y[0] = 0.5
            case 9 if fits:
                y.mul_(other)
            case 10 if fits:
                y.copy_(other * other)
            case 11:
                parts.append((y * y).sum())
            case _:
                parts.append(y.exp().sum())
    total = sum(((y * 1.1).sum() for y in live), sum(parts))
    total.backward()
    return [total.item(), *(np.zeros((3, 4)) if each.grad is None else np.array(each.grad.tolist()) for each in leaves)]


def test_many_views_leave_no_trace() -> None:
    x = flow.zeros(1000)
    for i in range(1000):
        x[i].fill_(1)
    assert x.sum().item() == 1000
    assert len(x._views or ()) < 100


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: x.add_(flow.ones(2, 3)), ShapeError, r"add_: a result of shape \(2, 3\) does not fit into \(3,\)"),
    (lambda x: x.long().mul_(1.5), DtypeError, "mul_: a result of type float32 does not fit into int64"),
    (lambda x: x.copy_(flow.ones(4)), ShapeError, "copy_"),
    (lambda x: x.expand(2, 3).add_(1), ValueError, "read-only"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.ones(3))


# ---------------------------------------------------------------- through which doors memory changes


@pytest.mark.parametrize("optimizer", [
    lambda x: flow.optim.SGD([x], lr=0.1), lambda x: flow.optim.SGD([x], lr=0.1, momentum=0.9),
    lambda x: flow.optim.Adam([x], lr=0.1), lambda x: flow.optim.AdamW([x], lr=0.1),
])  # fmt: skip
def test_an_optimizer_step_between_forward_and_backward_is_an_error_that_names_it(optimizer: Any) -> None:
    weight = flow.nn.Parameter(flow.ones(3))
    steps = optimizer(weight)
    loss = (weight * weight).sum()
    loss.backward(retain_graph=True)
    steps.step()
    with pytest.raises(GradientError, match=r"multiply_backward: .*\w\.step has overwritten"):
        loss.backward()
    steps.zero_grad()
    (weight * weight).sum().backward()  # a graph from after the step is fine


@pytest.mark.parametrize("view", [
    lambda y: y[1:], lambda y: y.view(3, 1), lambda y: y.unsqueeze(0), lambda y: y.expand(2, 3), lambda y: y.T,
    lambda y: y.narrow(0, 0, 1), lambda y: y.unfold(0, 2, 1), lambda y: y.split(1)[2], lambda y: y.unbind()[0],
    lambda y: y[::-1], lambda y: y.detach()[:1],
])  # fmt: skip
def test_a_view_that_an_op_saved_sees_changes_of_its_base(view: Any) -> None:
    y = flow.ones(3, requires_grad=True) * 2
    part = view(y)
    factor = flow.ones(part.shape, requires_grad=True)
    z = part * factor  # saves the view
    y.add_(1)
    with pytest.raises(GradientError, match="add_ has overwritten"):
        z.sum().backward()


def test_the_base_that_an_op_saved_sees_changes_of_its_views() -> None:
    for change in (
        lambda y: y[0].fill_(3), lambda y: y.detach().zero_(), lambda y: y.T.mul_(2), lambda y: y.unbind()[1].neg_(),
        lambda y: y.__setitem__(slice(1), 5.0), lambda y: y.numpy().__setitem__(0, 1) or y.detach().zero_(),
    ):  # fmt: skip
        y = flow.ones(3, requires_grad=True) * 2
        z = y * y
        change(y)
        with pytest.raises(GradientError, match="has overwritten"):
            z.sum().backward()


def test_parts_that_do_not_overlap_count_as_one_memory() -> None:
    y = flow.ones(4, requires_grad=True) * 2
    z = y[:2] * y[:2]
    y[2:].add_(1)
    with pytest.raises(GradientError, match="add_ has overwritten"):
        z.sum().backward()


def test_a_copy_is_safe() -> None:
    x = flow.ones(3, requires_grad=True)
    y = x * 2
    z = y.clone() * y.clone()
    y.zero_()
    z.sum().backward()
    assert x.grad.tolist() == [8, 8, 8]


@pytest.mark.parametrize("op", [
    lambda y: y * 3, lambda y: 3 * y, lambda y: y / 3, lambda y: y + 3, lambda y: 3 - y, lambda y: -y,
    lambda y: y.sum(), lambda y: y.mean(), lambda y: y.reshape(1, 3), lambda y: y[1], lambda y: y.relu(),
    lambda y: y.exp(),
    lambda y: flow.cat([y, y]), lambda y: y.cumsum(0), lambda y: y.sort().values, lambda y: y.roll(1),
    lambda y: flow.einsum("i->", y), lambda y: y.index_add(0, flow.tensor([0]), flow.ones(1)), lambda y: y.sigmoid(),
    lambda y: y.tile(2), lambda y: y.gather(0, flow.tensor([0])), lambda y: y.var_mean()[1], lambda y: y.clone(),
])  # fmt: skip
def test_what_needs_no_value_of_its_input_keeps_none(op: Any) -> None:
    x = flow.ones(3, requires_grad=True)
    y = x * 2
    z = op(y).clone()  # of views, whose memory is changed
    with flow.no_grad():
        y.add_(1)
    z.sum().backward()
    assert x.grad.shape == (3,)


def test_changes_before_the_forward_and_after_the_backward_are_fine() -> None:
    x = flow.ones(3, requires_grad=True)
    y = x * 2
    y.add_(1)
    z = y * y
    z.sum().backward()
    y.zero_()
    assert x.grad.tolist() == [12, 12, 12]


def test_a_chain_of_changes_of_one_tensor() -> None:
    def function(x: Any) -> Any:
        y = x * 2
        y.sin_().mul_(y).add_(x).tanh_().index_add_(0, flow.tensor([0, 0]), x[1:3])
        y[1:] = y[:-1].clone() * 3
        y.clamp_(-2, 2).lerp_(x, 0.3)
        return y

    check_vjp(function, np.array([0.3, -0.7, 1.1]), rng=np.random.default_rng(0))


def test_a_saved_index_or_mask_may_not_change_either() -> None:
    x = flow.ones(3, requires_grad=True)
    index = flow.tensor([0, 1])
    y = x[index]
    index.fill_(2)
    with pytest.raises(GradientError, match="fill_ has overwritten"):
        y.sum().backward()


def test_threads_change_tensors_at_once() -> None:
    # the table of changes is shared by all threads; each has graphs of its own
    def work(seed: int) -> None:
        for i in range(50):
            x = flow.full((4,), float(seed), requires_grad=True)
            y = x * 2
            y.add_(i).mul_(2)
            (y * y).sum().backward()
            want = [2 * (2 * (2 * seed + i)) * 4] * 4
            if x.grad.tolist() != want:
                failed.append((x.grad.tolist(), want))

    failed: list[Any] = []
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
