"""Parameters joined and cut give what `Optimizer.update` gives for each of them alone, bit by bit."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import optim
from flownn.errors import GradientError
from flownn.optim import blocks
from tests.helpers.update_rules import LAMB, RULES, named

Rule = tuple[str, dict[str, Any]]


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits at which small test arrays are cut."""
    monkeypatch.setattr(blocks, "HOST", blocks.Limits(8, 20))


def one_by_one(rule: type[optim.Optimizer]) -> type[optim.Optimizer]:
    """The rule as defined: an ``update`` that overrides another is not marked, so it gets whole parameters."""

    def update(self: Any, *args: Any) -> None:
        rule.update(self, *args)

    return type(rule.__name__, (rule,), {"update": update})


def arrays(rng: np.random.Generator, dtype: Any) -> list[Any]:
    """Parameters of all sizes and orders of memory: small ones, cut ones, with gaps, permuted, 0-dim, empty."""
    made = [rng.standard_normal(shape) for shape in [(3,), (2, 4), (), (0, 3), (8,), (9,), (7, 9), (5, 4, 3, 2), (41,)]]
    made += [rng.standard_normal((5, 3, 3, 4)).transpose(0, 3, 1, 2), rng.standard_normal((3, 2)).T]
    made += [rng.standard_normal((6, 16))[:, ::2], rng.standard_normal((4, 4))[:, 1:3], rng.standard_normal((1, 30))]
    return [np.array(each, dtype, order="K") if each.flags.forc else each.astype(dtype) for each in made]


def set_gradients(parameters: list[Any], step: int, dtype: Any) -> None:
    """New ones: some are missing in some steps, some lie in memory in another order than the parameter."""
    rng = np.random.default_rng([7, step])
    for index, p in enumerate(parameters):
        g = rng.standard_normal(p.shape).astype(dtype)
        if index % 3 == 1 and p.data.ndim > 1:
            g = np.asfortranarray(g)
        elif p.data.ndim == 4:
            g = np.copy(g.transpose(0, 2, 3, 1), order="C").transpose(0, 3, 1, 2)
        p.grad = None if (step + index) % 5 == 2 else flow.from_numpy(g)


def states(optimizer: optim.Optimizer) -> list[dict[str, Any]]:
    return [
        {name: each.data if isinstance(each, flow.Tensor) else each for name, each in state.items()}
        for _, state in sorted(optimizer.state_dict()["state"].items())
    ]


def assert_same(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    for p, q in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(p.data, q.data, strict=True)
    for mine, yours in zip(states(one[1]), states(other[1]), strict=True):
        assert list(mine) == list(yours)
        for name, value in mine.items():
            np.testing.assert_array_equal(value, yours[name], strict=True)


def pair_of(rule: Rule, dtype: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Parameters and optimizer, twice: joined and cut, and one by one."""
    rng = np.random.default_rng(3)
    values = arrays(rng, dtype)
    made = []
    for cls in (getattr(optim, rule[0]), one_by_one(getattr(optim, rule[0]))):
        parameters = [flow.nn.Parameter(np.copy(each, order="K")) for each in values]
        parameters.append(flow.nn.Parameter(values[6].copy()[:, 1:8]))  # dense it is not
        groups = [{"params": parameters[::2]}, {"params": parameters[1::2], "lr": 0.03}]
        made.append((parameters, cls(groups, **rule[1])))
    return made[0], made[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", [*RULES, *LAMB], ids=named)
def test_every_rule_in_blocks_is_the_rule_one_by_one(rule: Rule, dtype: Any, small_limits: None) -> None:
    one, other = pair_of(rule, dtype)
    for step in range(6):
        for parameters, optimizer in (one, other):
            set_gradients(parameters, step, dtype)
            optimizer.step()
        assert_same(one, other)


@pytest.mark.gpu
@pytest.mark.skipif(not flow.cuda.is_available(), reason="no GPU that CuPy can use")
@pytest.mark.parametrize("rule", [*RULES, *LAMB], ids=named)
def test_every_rule_on_a_gpu_joined_is_the_rule_one_by_one(rule: Rule) -> None:
    results = []
    for cls in (getattr(optim, rule[0]), one_by_one(getattr(optim, rule[0]))):
        values = arrays(np.random.default_rng(3), np.float32)
        parameters = [flow.nn.Parameter(flow.from_numpy(each).cuda()) for each in values]
        optimizer = cls(parameters, **rule[1])
        for step in range(4):
            set_gradients(parameters, step, np.float32)
            for p in parameters:
                p.grad = None if p.grad is None else p.grad.cuda()
            optimizer.step()
        results.append([p.detach().cpu().numpy() for p in parameters])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("rule", [RULES[3], RULES[7], LAMB[1]], ids=named)
def test_copies_pickles_and_loaded_states_go_on_alike(rule: Rule, small_limits: None) -> None:
    one, other = pair_of(rule, np.float32)

    def step(number: int) -> None:
        for parameters, optimizer in (one, other):
            set_gradients(parameters, number, np.float32)
            optimizer.step()

    step(0)
    step(1)
    one = copy.deepcopy(one)
    step(2)
    assert_same(one, other)
    one = pickle.loads(pickle.dumps(one))
    step(3)
    assert_same(one, other)
    fresh = getattr(optim, rule[0])([{"params": each["params"]} for each in one[1].param_groups], **rule[1])
    fresh.load_state_dict(one[1].state_dict())
    one = (one[0], fresh)
    step(4)
    assert_same(one, other)
    for parameters, optimizer in (one, other):  # one's own array for a parameter, and one more group
        parameters[1].data = np.full_like(parameters[1].data, 0.5)
        extra = flow.nn.Parameter(np.linspace(0, 1, 5, dtype=np.float32))
        parameters.append(extra)
        optimizer.add_param_group({"params": [extra]})
    step(5)
    step(6)
    assert_same(one, other)


def test_small_parameters_are_one_call_and_large_ones_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = optim.SGD.update

    def noted(self: Any, xp: Any, value: Any, *rest: Any) -> None:
        sizes.append(value.size)
        plain(self, xp, value, *rest)

    monkeypatch.setattr(optim.SGD, "update", blocks.elementwise(noted))
    parameters = [flow.nn.Parameter(flow.ones(size)) for size in (3, 200000, *[10] * 20, 5000, 7)]
    for p in parameters:
        p.grad = flow.ones(*p.shape)
    sgd = optim.SGD(parameters, momentum=0.9)
    for _ in range(2):
        sizes.clear()
        sgd.step()
        assert sorted(sizes) == sorted([210, 5000, 200000 - 3 * 65536, *[65536] * 3])
    assert max(each.size for each in sgd._scratch.values()) == 65536


def test_parameters_in_one_piece_of_memory_move_one_after_the_other() -> None:
    results = []
    for cls in (optim.SGD, one_by_one(optim.SGD)):
        memory = np.arange(6, dtype=np.float32)
        parameters = [flow.nn.Parameter(each) for each in (memory[:4], memory[2:], np.ones(2, np.float32))]
        for p in parameters:
            p.grad = flow.ones(*p.shape)
        cls(parameters, lr=0.5, weight_decay=0.1).step()
        results.append(memory)
    np.testing.assert_array_equal(*results)


def test_a_gradient_of_another_type_is_used_as_it_is() -> None:
    p = flow.nn.Parameter(flow.ones(3))
    q = flow.nn.Parameter(flow.ones(3))
    for each in (p, q):
        each.grad = flow.tensor([0.1, 0.2, 0.3], dtype=flow.float64)
    optim.SGD([p], lr=0.1).step()
    one_by_one(optim.SGD)([q], lr=0.1).step()
    assert p.data.dtype == np.float32
    np.testing.assert_array_equal(p.data, q.data)


def test_half_precision_is_joined_like_the_rest(small_limits: None) -> None:
    for dtype in (flow.float16, flow.bfloat16):
        one, other = pair_of(RULES[3], dtype.dtype)
        for step in range(3):
            for parameters, optimizer in (one, other):
                set_gradients(parameters, step, dtype.dtype)
                optimizer.step()
        for p, q in zip(one[0], other[0], strict=True):
            np.testing.assert_array_equal(p.data.astype(np.float32), q.data.astype(np.float32))


def test_every_parameter_that_moved_is_noted_as_overwritten() -> None:
    parameters = [flow.nn.Parameter(flow.ones(2)) for _ in range(3)]
    losses = [(p * p).sum() for p in parameters]
    for loss in losses[:2]:
        loss.backward(retain_graph=True)
    optim.SGD(parameters, lr=0.1).step()
    for loss in losses[:2]:
        with pytest.raises(GradientError, match=r"SGD\.step"):
            loss.backward()
    losses[2].backward()


def test_a_failing_rule_still_notes_what_it_may_have_moved() -> None:
    class Broken(optim.SGD):
        def update(self, xp: Any, value: Any, *rest: Any) -> None:
            value += 1
            raise KeyError("broken")

    p = flow.nn.Parameter(flow.ones(2))
    loss = (p * p).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(KeyError):
        Broken([p]).step()
    with pytest.raises(GradientError, match=r"Broken\.step"):
        loss.backward()


def test_pickles_carry_no_scratch_memory() -> None:
    p = flow.nn.Parameter(flow.ones(200000))
    p.grad = flow.ones(200000)
    sgd = optim.SGD([p], weight_decay=0.1)
    before = len(pickle.dumps(sgd))
    sgd.step()
    assert len(pickle.dumps(sgd)) < before + 1000
