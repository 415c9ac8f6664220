"""Update rules against plain formulas and PyTorch; groups; state there and back bit for bit."""

import copy
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import optim, serialize
from flownn.errors import GradientError
from tests.helpers.update_rules import LAMB, RULES, named

SHAPES = [(3, 4), (5,), (2, 1, 3)]


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


def slow_lamb(
    values: list[Any], step: int, memory: dict[int, Any], *, lr: float, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8, weight_decay: float = 0.0, adam_w_mode: bool = True, do_bias_correction: bool = True,
    maximize: bool = False,
) -> list[Any]:  # fmt: skip
    """You et al., 2020, algorithm 2, with OneFlow's trust ratio, element by element."""
    result = []
    for index, value in enumerate(values):
        mean, square, count = memory.setdefault(index, [np.zeros(value.shape), np.zeros(value.shape), 0])
        g = gradient(step, index) * (-1 if maximize else 1)
        update, moved = np.empty(value.shape), np.empty(value.shape)
        memory[index][2] = count = count + 1
        for place in np.ndindex(*value.shape):
            slope = g[place] if adam_w_mode else g[place] + weight_decay * value[place]
            mean[place] = betas[0] * mean[place] + (1 - betas[0]) * slope
            square[place] = betas[1] * square[place] + (1 - betas[1]) * slope**2
            first = mean[place] / (1 - betas[0] ** count) if do_bias_correction else mean[place]
            second = square[place] / (1 - betas[1] ** count) if do_bias_correction else square[place]
            update[place] = first / (np.sqrt(second) + eps)
        sizes = [np.sqrt((each**2).sum()) for each in (value, update)]
        ratio = sizes[0] / sizes[1] if min(sizes) > 0 else 1.0
        for place in np.ndindex(*value.shape):
            decay = weight_decay * value[place] if adam_w_mode else 0.0
            moved[place] = value[place] - lr * ratio * (update[place] + decay)
        result.append(moved)
    return result


@pytest.mark.parametrize("rule", LAMB, ids=named)
def test_20_steps_of_lamb_follow_the_definition(rule: Any) -> None:
    chosen = parameters()
    chosen[1].data[...] = 0  # whose first step has ratio 1
    values, memory = [p.data.copy() for p in chosen], {}
    lamb = optim.LAMB(chosen, **rule[1])
    for step in range(20):
        train(lamb, chosen, range(step, step + 1))
        values = slow_lamb(values, step, memory, **rule[1])
        for p, value in zip(chosen, values, strict=True):
            np.testing.assert_allclose(p.data, value, rtol=1e-11, atol=1e-13)


def test_lamb_without_gradient_stays() -> None:
    p = flow.nn.Parameter(flow.ones(3))
    p.grad = flow.zeros(3)
    optim.LAMB([p]).step()
    np.testing.assert_array_equal(p.data, 1)
    with pytest.raises(NotImplementedError, match="LAMB: amsgrad=True is not available"):
        optim.LAMB([p], amsgrad=True)


@pytest.mark.parametrize(("rule", "decay"), [(optim.Adam, 0.0), (optim.AdamW, 0.5)])
def test_adam_without_correction_by_hand(rule: Any, decay: float) -> None:
    p = flow.nn.Parameter(np.array([1.0]))
    adam = rule([p], lr=0.1, betas=(0.5, 0.75), eps=0.0, weight_decay=decay, do_bias_correction=False)
    p.grad = flow.tensor([2.0], dtype=flow.float64)
    adam.step()  # mean 1, mean square 1
    value = 1.0 * (1 - 0.1 * decay) - 0.1
    assert p.data[0] == pytest.approx(value)
    adam.step()  # mean 1.5, mean square 1.75
    assert p.data[0] == pytest.approx(value * (1 - 0.1 * decay) - 0.1 * 1.5 / np.sqrt(1.75))


@pytest.mark.torch
@pytest.mark.parametrize("rule", RULES, ids=named)
def test_states_of_pytorch_there_and_back(rule: Any) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    name, options = rule
    ours = parameters()
    theirs = [torch.nn.Parameter(torch.tensor(p.data.copy())) for p in ours]
    first = getattr(torch.optim, name)(theirs, **options)

    def step_there(optimizer: Any, step: int) -> None:
        for index, t in enumerate(theirs):
            t.grad = torch.tensor(gradient(step, index))
        optimizer.step()

    for step in range(5):
        step_there(first, step)
    for p, t in zip(ours, theirs, strict=True):
        p.data[...] = t.detach().numpy()
    mine = getattr(optim, name)(ours)
    mine.load_state_dict(first.state_dict())
    train(mine, ours, range(5, 10))
    for step in range(5, 10):
        step_there(first, step)
    for p, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=1e-11, atol=1e-13)

    state = mine.state_dict()
    state["state"] = {
        number: {key: torch.tensor(v.data) if isinstance(v, flow.Tensor) else v for key, v in values.items()}
        for number, values in state["state"].items()
    }
    second = getattr(torch.optim, name)(theirs)
    second.load_state_dict(state)
    train(mine, ours, range(10, 15))
    for step in range(10, 15):
        step_there(second, step)
    for p, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.torch
def test_a_state_of_bfloat16_comes_from_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    t, p = torch.nn.Parameter(torch.ones(3).bfloat16()), flow.nn.Parameter(flow.ones(3).bfloat16())
    t.grad = torch.tensor([0.1, 0.2, 0.3]).bfloat16()
    theirs, ours = torch.optim.SGD([t], momentum=0.9), optim.SGD([p], momentum=0.9)
    theirs.step()
    ours.load_state_dict(theirs.state_dict())
    kept = ours.state[p]["momentum_buffer"].data
    assert kept.dtype == p.data.dtype
    np.testing.assert_array_equal(kept.astype(np.float32), t.grad.float().numpy())


@pytest.mark.torch
def test_adam_and_adamw_do_not_take_each_others_states() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    state = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).state_dict()
    with pytest.raises(ValueError, match=r"Adam\.load_state_dict: this is a state of AdamW"):
        optim.Adam([flow.nn.Parameter(flow.ones(2))]).load_state_dict(state)


@pytest.mark.parametrize("rule", [*RULES, *LAMB], ids=named)
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


@pytest.mark.parametrize("rule", [*RULES, *LAMB], ids=named)
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
    for rule in (optim.Adam, optim.LAMB):
        with pytest.raises(ValueError, match="two betas from 0 to below 1"):
            rule([p], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match=r"RMSprop: expected alpha from 0 to 1, got 1\.5"):
        optim.RMSprop([p], alpha=1.5)
    with pytest.raises(ValueError, match=r"Adadelta: expected rho from 0 to 1, got -0\.5"):
        optim.Adadelta([p], rho=-0.5)
    with pytest.raises(ValueError, match="Adagrad: expected lr_decay of at least 0, got -1"):
        optim.Adagrad([p], lr_decay=-1)


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
    with pytest.raises(ValueError, match="expected lr of at least 0, got -1"):
        other.load_state_dict({**good, "param_groups": [{**good["param_groups"][0], "lr": -1}]})
    assert other.param_groups[0]["lr"] == 0.1
    assert not other.state


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
