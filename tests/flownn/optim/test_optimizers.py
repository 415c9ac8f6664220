"""Update rules against plain formulas and PyTorch; groups; state there and back bit for bit."""

import copy
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import optim, serialize
from flownn.errors import GradientError

SHAPES = [(3, 4), (5,), (2, 1, 3)]
RULES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}),
]


def named(rule: Any) -> str:
    return f"{rule[0]}-{'-'.join(f'{k}={v}' for k, v in rule[1].items())}".replace(" ", "")


def parameters(dtype: Any = np.float64) -> list[flow.nn.Parameter]:
    rng = np.random.default_rng(0)
    return [flow.nn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]


def gradient(step: int, index: int, dtype: Any = np.float64) -> Any:
    return np.random.default_rng([step, index]).standard_normal(SHAPES[index]).astype(dtype)


def train(optimizer: Any, chosen: Any, steps: range) -> None:
    for step in steps:
        for index, p in enumerate(chosen):
            p.grad = flow.tensor(gradient(step, index, p.data.dtype))
        optimizer.step()


@pytest.mark.torch
@pytest.mark.parametrize("rule", RULES, ids=named)
def test_20_steps_agree_with_pytorch(rule: Any) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    name, options = rule
    ours = parameters()
    theirs = [torch.nn.Parameter(torch.tensor(p.data.copy())) for p in ours]
    mine, other = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(20):
        for index, (p, t) in enumerate(zip(ours, theirs, strict=True)):
            p.grad, t.grad = flow.tensor(gradient(step, index)), torch.tensor(gradient(step, index))
            if step == 7 and index == 1:
                p.grad = t.grad = None
        mine.step()
        other.step()
        for p, t in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_a_restored_optimizer_goes_on_bit_for_bit(rule: Any, tmp_path: Any) -> None:
    name, options = rule
    straight = parameters(np.float32)
    optimizer = getattr(optim, name)(straight, **options)
    train(optimizer, straight, range(10))
    tensors, rest = serialize.flatten(optimizer.state_dict())
    serialize.save(tensors, tmp_path / "optimizer.safetensors", {"rest": rest})
    middle = copy.deepcopy(straight)
    train(optimizer, straight, range(10, 20))

    path = tmp_path / "optimizer.safetensors"
    restored = getattr(optim, name)(middle, lr=99.0)
    restored.load_state_dict(serialize.unflatten(serialize.load(path), serialize.load_metadata(path)["rest"]))
    train(restored, middle, range(10, 20))
    for one, other in zip(straight, middle, strict=True):
        np.testing.assert_array_equal(one.data, other.data)


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_gradients_and_memory_are_left_alone(rule: Any) -> None:
    name, options = rule
    chosen = parameters()
    memory = [p.data for p in chosen]
    optimizer = getattr(optim, name)(chosen, **options)
    for step in range(3):
        train(optimizer, chosen, range(step, step + 1))
        for index, p in enumerate(chosen):
            np.testing.assert_array_equal(p.grad.data, gradient(step, index))
            assert p.data is memory[index]
    state = [value for entry in optimizer.state.values() for value in entry.values() if isinstance(value, flow.Tensor)]
    for value in state:
        assert not any(np.shares_memory(value.data, p.grad.data) for p in chosen)


def test_sgd_by_hand() -> None:
    p = flow.nn.Parameter(np.array([1.0]))
    sgd = optim.SGD([p], lr=0.1, momentum=0.5, weight_decay=0.2)
    p.grad = flow.tensor([0.3], dtype=flow.float64)
    sgd.step()  # direction 0.3 + 0.2 * 1 = 0.5 = velocity
    assert p.data[0] == pytest.approx(0.95)
    sgd.step()  # direction 0.3 + 0.2 * 0.95 = 0.49; velocity 0.25 + 0.49 = 0.74
    assert p.data[0] == pytest.approx(0.876)


def test_groups_have_options_of_their_own() -> None:
    first, second, third = parameters()
    sgd = optim.SGD([{"params": [first]}, {"params": second, "lr": 1.0}], lr=0.5)
    sgd.add_param_group({"params": [third], "lr": 2.0})
    before = [p.data.copy() for p in (first, second, third)]
    train(sgd, (first, second, third), range(1))
    for index, (p, old, lr) in enumerate(zip((first, second, third), before, (0.5, 1.0, 2.0), strict=True)):
        np.testing.assert_allclose(p.data, old - lr * gradient(0, index), rtol=1e-14)
    assert [group["lr"] for group in sgd.state_dict()["param_groups"]] == [0.5, 1.0, 2.0]
    assert [group["params"] for group in sgd.state_dict()["param_groups"]] == [[0], [1], [2]]


def test_zero_grad_and_closure() -> None:
    p = flow.nn.Parameter(flow.ones(2))
    sgd = optim.SGD([p], lr=0.1)

    def closure() -> Any:
        sgd.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with flow.no_grad():
        assert sgd.step(closure).item() == 2
    np.testing.assert_allclose(p.data, 0.8)
    sgd.zero_grad(set_to_none=False)
    assert p.grad is not None
    assert not p.grad.data.any()
    sgd.zero_grad()
    assert p.grad is None
    sgd.step()  # nothing to do
    np.testing.assert_allclose(p.data, 0.8)


def test_a_pending_backward_notices_the_step() -> None:
    p = flow.nn.Parameter(flow.ones(2))
    loss = (p * p).sum()
    loss.backward(retain_graph=True)
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(GradientError, match=r"SGD\.step"):
        loss.backward()


def test_wrong_arguments_are_named() -> None:
    p, q = flow.nn.Parameter(flow.ones(2)), flow.nn.Parameter(flow.ones(3))
    with pytest.raises(ValueError, match="SGD: expected lr of at least 0, got -1"):
        optim.SGD([p], lr=-1)
    with pytest.raises(ValueError, match="nesterov needs a momentum above 0 and dampening 0"):
        optim.SGD([p], nesterov=True)
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        optim.SGD([{"params": [p], "nesterov": True}])
    with pytest.raises(ValueError, match=r"unknown options \['moment'\]; it takes lr, momentum"):
        optim.SGD([{"params": [p], "moment": 0.9}])
    with pytest.raises(ValueError, match=r"shape \(2,\) is given twice"):
        optim.SGD([p, q, p])
    with pytest.raises(ValueError, match="at least one parameter"):
        optim.SGD([])
    with pytest.raises(TypeError, match="an iterable of parameters, got one tensor"):
        optim.SGD(p)
    with pytest.raises(TypeError, match="expected parameters to be tensors, got str"):
        optim.SGD(["weight"])
    with pytest.raises(ValueError, match="only leaves can be trained"):
        optim.SGD([p * 2])
    with pytest.raises(ValueError, match="two betas from 0 to below 1"):
        optim.Adam([p], betas=(0.9, 1.0))


def test_foreign_states_are_refused_and_change_nothing() -> None:
    p, q = flow.nn.Parameter(flow.ones(2)), flow.nn.Parameter(flow.ones(3))
    sgd = optim.SGD([p, q], lr=0.1, momentum=0.9)
    p.grad, q.grad = flow.ones(2), flow.ones(3)
    sgd.step()
    good = sgd.state_dict()
    with pytest.raises(ValueError, match=r"expected groups of \[1\] parameters, got \[2\]"):
        optim.SGD([p]).load_state_dict(good)
    with pytest.raises(ValueError, match=r"expected 0.momentum_buffer of shape \(3,\), got \(2,\)"):
        optim.SGD([q, p], momentum=0.9).load_state_dict(good)
    with pytest.raises(ValueError, match="unknown options"):
        optim.Adam([p, q]).load_state_dict(good)
    other = optim.SGD([p, q], lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match="for parameter 5 is not known"):
        other.load_state_dict({"state": {5: {}}, "param_groups": [{**good["param_groups"][0], "lr": 7.0}]})
    assert other.param_groups[0]["lr"] == 0.1


def test_loaded_state_is_a_copy() -> None:
    p = flow.nn.Parameter(flow.ones(2))
    one, other = optim.SGD([p], momentum=0.9), optim.SGD([p], momentum=0.9)
    p.grad = flow.ones(2)
    one.step()
    other.load_state_dict(one.state_dict())
    other.step()
    np.testing.assert_array_equal(one.state[p]["momentum_buffer"].data, 1)


def test_repr_lists_the_groups() -> None:
    text = repr(optim.SGD([flow.nn.Parameter(flow.ones(2))], lr=0.1))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0.0\n    lr: 0.1\n")
