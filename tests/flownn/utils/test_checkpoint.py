"""Checkpointed calls against plain ones, bit by bit; what they keep; what they refuse."""

import gc
import tracemalloc
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

import flownn as flow
from flownn import models, nn
from flownn.errors import GradientError
from flownn.random import Generator
from flownn.utils.checkpoint import checkpoint, checkpoint_sequential


class Two(NamedTuple):
    first: Any
    second: Any


class Block(nn.Module):
    """Parameters, dropout from two generators, several outputs, arguments of all kinds."""

    def __init__(self, generator: Generator | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 6)
        self.drop = nn.Dropout(0.3)
        self.other = nn.Dropout(0.4, generator=generator)

    def forward(self, x: Any, factor: float = 1.0, *, parts: Any = None) -> Any:
        y = self.drop(self.first(x).relu()) * factor
        if parts is not None:
            y = y + parts["gate"][0]
        y = self.other(self.second(y)) + x
        return Two(y, {"sum": y.sum(1), "count": flow.tensor(y.shape[0]), "name": "block"})


def build(seed: int = 0) -> tuple[Block, Block]:
    flow.manual_seed(seed)
    return Block(Generator(seed + 1)), Block(Generator(seed + 2))


def gradients(use: bool, **options: Any) -> list[Any]:
    """Those of the input, of an argument in a dict and of all parameters, after two blocks; and the results."""
    one, two = build()

    def call(block: Block, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(block, *args, **options, **kwargs) if use else block(*args, **kwargs)

    x = flow.tensor(np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32), requires_grad=True)
    gate = flow.ones(8, requires_grad=True)
    middle = call(one, x * 2, 0.5)
    result = call(two, middle.first, parts={"gate": [gate, "unused"]})
    assert isinstance(result, Two)
    assert result.second["name"] == "block"
    assert result.second["count"].item() == 5
    assert not result.second["count"].requires_grad
    after = flow.rand(3)  # the streams go on as they would have
    loss = (result.first * middle.second["sum"].unsqueeze(1)).sum() + result.second["sum"].sum()
    loss.backward()
    leaves = [x, gate, *one.parameters(), *two.parameters()]
    return [loss.data, after.data, flow.rand(3).data, *(leaf.grad.data for leaf in leaves)]


def test_results_gradients_and_random_streams_are_those_of_a_plain_call() -> None:
    for one, other in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_the_random_state_other_elements_are_dropped() -> None:
    plain, other = gradients(False), gradients(True, preserve_rng_state=False)
    np.testing.assert_array_equal(plain[0], other[0])
    assert any((one != two).any() for one, two in zip(plain[3:], other[3:], strict=True))


def test_generators_among_the_arguments_and_given_ones_are_rewound() -> None:
    def drop(x: Any, generator: Generator) -> Any:
        return nn.functional.dropout(x * x, 0.5, generator=generator)

    hidden = Generator(5)
    for call, options in ((lambda x, g: drop(x, g), {}), (lambda x, _: drop(x, hidden), {"generators": [hidden]})):
        found = []
        for use in (True, False):
            hidden.manual_seed(5)
            x = flow.ones(50, requires_grad=True)
            given = Generator(3)
            y = checkpoint(call, x, given, **options) if use else call(x, given)
            y.sum().backward()
            np.testing.assert_array_equal(x.grad.data, 2 * y.data)
            found.append(y.data)
        np.testing.assert_array_equal(*found)


def test_nested_and_repeated() -> None:
    one, two = build()
    x = flow.ones(3, 6, requires_grad=True)

    streams = [each.other.generator for each in (one, two)]

    def inner(y: Any) -> Any:
        return checkpoint(lambda z: two(z).first, y, generators=streams) + one(y).first

    def grads(use: bool) -> list[Any]:
        flow.manual_seed(7)
        for block in (one, two):
            block.zero_grad()
            block.other.generator.manual_seed(1)
        x.grad = None
        streams = [each.other.generator for each in (one, two)]
        y = checkpoint(inner, x, generators=streams) if use else two(x).first + one(x).first
        y.sum().backward(retain_graph=True)
        y.sum().backward()
        return [each.grad.data.copy() for each in (x, *one.parameters(), *two.parameters())]

    for first, second in zip(grads(True), grads(False), strict=True):
        np.testing.assert_array_equal(first, second)


def test_blocks_of_a_transformer_with_dropout_everywhere() -> None:
    tokens = flow.tensor(np.random.default_rng(0).integers(0, 20, (3, 9)))

    def grads(use: bool) -> list[Any]:
        flow.manual_seed(3)
        gpt: Any = models.GPT(vocab_size=20, context=9, width=16, depth=2, heads=2, dropout=0.2)
        x = gpt.transformer.drop(gpt.transformer.wte(tokens) + gpt.transformer.wpe(flow.arange(9)))
        for block in gpt.transformer.h:
            x = checkpoint(block, x) if use else block(x)
        scores = gpt.lm_head(gpt.transformer.ln_f(x))
        nn.functional.cross_entropy(scores.flatten(0, 1), tokens.flatten()).backward()
        return [scores.data, *(p.grad.data for p in gpt.parameters())]

    for one, other in zip(grads(True), grads(False), strict=True):
        np.testing.assert_array_equal(one, other)


def test_batch_norm_moves_its_statistics_in_both_calls() -> None:
    found = []
    for use in (True, False):
        norm, x = nn.BatchNorm1d(2), flow.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
        y = checkpoint(norm, x) if use else norm(x)
        (y * flow.tensor([[1.0, 2.0], [0.5, 0.0]])).sum().backward()
        found.append((y.data, x.grad.data, norm.weight.grad.data))
        np.testing.assert_allclose(norm.running_mean.data, np.array([0.2, 0.35]) * (1.9 if use else 1), rtol=1e-6)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_arguments_that_the_function_changes_are_those_of_the_first_call() -> None:
    def pops(parts: list[Any]) -> Any:
        return parts.pop() * parts.pop()

    x, y = flow.ones(2, requires_grad=True), flow.full((2,), 3.0, requires_grad=True)
    parts = [x, y]
    checkpoint(pops, parts).sum().backward()
    assert parts == []
    np.testing.assert_array_equal([x.grad.data, y.grad.data], [[3, 3], [1, 1]])


def test_what_the_function_has_from_elsewhere() -> None:
    weight = nn.Parameter(flow.tensor([1.0, 2.0, 3.0]))
    calls = []
    weight.register_hook(lambda g: calls.append(g.data.copy()))
    computed = weight * 3  # no leaf, and not an argument
    x = flow.tensor([1.0, 1.0, 1.0])  # needs no gradient
    y = checkpoint(lambda x: (x * weight + computed * weight, computed, weight, x), x)
    assert [each.requires_grad for each in y] == [True, True, True, False]
    (y[0].sum() + (y[1] * 2).sum() + (y[2] * 10).sum()).backward()
    np.testing.assert_array_equal(weight.grad.data, 1 + 6 * np.array([1.0, 2.0, 3.0]) + 6 + 10)
    assert len(calls) == 1
    (found,) = flow.autograd.grad(checkpoint(lambda x: (x * weight).sum(), x), weight)
    np.testing.assert_array_equal(found.data, x.data)


def test_an_input_twice_and_unused() -> None:
    x, unused = flow.ones(2, requires_grad=True), flow.ones(2, requires_grad=True)
    checkpoint(lambda a, b, c: a * b * 3, x, x, unused).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [6, 6])
    assert unused.grad is None
    y, _ = checkpoint(lambda a: (a * 2, a * 5), x)
    x.grad = None
    y.sum().backward()  # the other takes no part
    np.testing.assert_array_equal(x.grad.data, [2, 2])


def test_without_gradients_it_is_a_plain_call() -> None:
    calls = []

    def function(x: Any) -> Any:
        calls.append(flow.is_grad_enabled())
        return x * 2

    with flow.no_grad():
        assert not checkpoint(function, flow.ones(2, requires_grad=True)).requires_grad
    assert not checkpoint(function, flow.ones(2)).requires_grad
    assert calls == [False, True]


def test_a_result_may_be_changed_in_place() -> None:
    x = flow.ones(2, requires_grad=True)
    y = checkpoint(lambda a: (a * 2).exp(), x)
    y.mul_(3.0)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.data, 6 * np.exp(2) * np.ones(2), rtol=1e-6)
    source = flow.ones(2, 2, requires_grad=True) * 1
    view = checkpoint(lambda a: a.reshape(4), source)
    view.mul_(3.0)
    np.testing.assert_array_equal(source.data, 3)
    assert "mul_" in repr(source.grad_fn)


def test_an_argument_or_parameter_overwritten_since_is_noticed() -> None:
    layer = nn.Linear(2, 2)
    x = flow.ones(3, 2)
    y = checkpoint(layer, x).sum()
    x.mul_(2)
    with pytest.raises(GradientError, match=r"checkpoint_backward: needs a value of shape \(3, 2\).*mul_"):
        y.backward()
    layer(x).sum().backward()
    y = checkpoint(layer, x).sum()
    flow.optim.SGD(layer.parameters(), lr=0.1).step()
    with pytest.raises(GradientError, match=r"SGD\.step"):
        y.backward()


def test_a_function_that_changes_is_noticed() -> None:
    x, other = flow.ones(2, requires_grad=True), flow.ones(2, requires_grad=True)
    calls = []

    def grows(a: Any) -> Any:
        calls.append(1)
        return flow.cat([a] * len(calls))

    with pytest.raises(GradientError, match="computed something else when it was called again"):
        checkpoint(grows, x).sum().backward()

    def strays(a: Any) -> Any:
        calls.append(1)
        return a * (other if len(calls) % 2 else 1)

    if len(calls) % 2:
        calls.append(1)
    calls.append(1)  # the first call multiplies by 1, the second by the other
    with pytest.raises(GradientError, match="computed something else when it was called again"):
        checkpoint(strays, x).sum().backward()


def test_errors_of_the_function_and_its_random_state() -> None:
    calls = []

    def fails(a: Any) -> Any:
        calls.append(flow.rand(1))
        if len(calls) == 2:
            raise ValueError("second call")
        return a * 2

    y = checkpoint(fails, flow.ones(2, requires_grad=True))
    before = flow.default_generator.get_state()
    with pytest.raises(ValueError, match="second call"):
        y.sum().backward()
    assert flow.default_generator.get_state() == before
    with pytest.raises(NotImplementedError, match="use_reentrant=True is not available"):
        checkpoint(fails, flow.ones(2), use_reentrant=True)


def test_only_arguments_are_kept() -> None:
    sizes = []
    kept: list[Any] = []

    def wide(a: Any) -> Any:
        middle = flow.cat([a] * 100).exp()
        kept.append(weakref.ref(middle))
        return middle.reshape(100, -1).sum(0)

    for use in (False, True):
        x = flow.ones(2000, requires_grad=True)
        gc.collect()
        tracemalloc.start()
        try:
            y = x
            for _ in range(5):
                y = (checkpoint(wide, y) if use else wide(y)) * 1e-50
            sizes.append(tracemalloc.get_traced_memory()[0])
            y.sum().backward()
        finally:
            tracemalloc.stop()
        assert all(each() is None for each in kept)
    assert sizes[1] < sizes[0] / 20


def test_what_the_second_call_made_is_dropped_after_its_use() -> None:
    x = flow.ones(100, 100, requires_grad=True)
    y = checkpoint(lambda a: (a.exp() * a.exp()).exp().sum(), x)
    x.grad = flow.zeros(100, 100)
    tracemalloc.start()
    try:
        for _ in range(3):
            y.backward(retain_graph=True)
        assert tracemalloc.get_traced_memory()[0] < x.data.nbytes / 2
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(x.grad.data, 3 * 2 * np.exp(np.exp(2) + 2), rtol=1e-5)


@pytest.mark.parametrize("segments", [1, 2, 3, 7])
def test_sequences(segments: int) -> None:
    def layers() -> nn.Sequential:
        flow.manual_seed(0)
        parts = [nn.Linear(4, 4), nn.ReLU(), nn.Dropout(0.2, generator=Generator(2))] * 2 + [nn.Linear(4, 2)]
        return nn.Sequential(*parts)

    found = []
    for use in (True, False):
        net, x = layers(), flow.ones(3, 4, requires_grad=True)
        y = checkpoint_sequential(net, segments, x) if use else net(x)
        y.sum().backward()
        found.append([y.data, x.grad.data, *(p.grad.data for p in net.parameters())])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="expected 1 to 7 segments, got 8"):
        checkpoint_sequential(layers(), 8, flow.ones(3, 4))


def test_the_modules_are_found_on_first_use() -> None:
    assert flow.utils.checkpoint.checkpoint is checkpoint
    with pytest.raises(AttributeError, match=r"'flownn\.utils' has no attribute 'nothing'"):
        flow.utils.nothing  # noqa: B018
