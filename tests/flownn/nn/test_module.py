"""Module: attributes, names, state, hooks, conversion."""

import copy
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import DtypeError, GradientError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.scale = nn.Parameter(flow.ones(3))
        self.register_buffer("seen", flow.zeros(1))
        self.register_buffer("scratch", flow.zeros(2), persistent=False)
        self.register_parameter("absent", None)

    def forward(self, x: Any) -> Any:
        return self.norm(self.conv(x))


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


class TestNames:
    def test_parameters_buffers_and_modules_are_found_in_order(self) -> None:
        net = nn.Sequential(Block(), nn.Linear(3, 1))
        parameters = ["0.scale", "0.conv.weight", "0.conv.bias", "0.norm.weight", "0.norm.bias", "1.weight", "1.bias"]
        assert names(net.named_parameters()) == parameters
        assert len(list(net.parameters())) == len(parameters)
        assert names(net.named_parameters(recurse=False)) == []
        statistics = ["0.norm.running_mean", "0.norm.running_var", "0.norm.num_batches_tracked"]
        assert names(net.named_buffers()) == ["0.seen", "0.scratch", *statistics]
        assert names(net.named_modules()) == ["", "0", "0.conv", "0.norm", "1"]
        assert names(net.named_children()) == ["0", "1"]
        assert names(net.named_parameters(prefix="net"))[0] == "net.0.scale"

    def test_what_is_shared_comes_once(self) -> None:
        layer = nn.Linear(2, 2)
        net = nn.Sequential(layer, layer)
        assert names(net.named_parameters()) == ["0.weight", "0.bias"]
        assert names(net.named_modules()) == ["", "0"]
        everything = names(net.named_parameters(remove_duplicate=False))
        assert everything == ["0.weight", "0.bias", "1.weight", "1.bias"]
        assert list(net.state_dict()) == everything

    def test_get_submodule(self) -> None:
        net = nn.Sequential(Block())
        assert net.get_submodule("0.conv") is net[0].conv
        assert net.get_submodule("") is net
        with pytest.raises(AttributeError, match=r"no module '0\.con': Block has no 'con'"):
            net.get_submodule("0.con")


class TestAttributes:
    def test_assignment_moves_a_name_between_kinds(self) -> None:
        net = nn.Module()
        net.thing = 1
        net.thing = nn.Linear(1, 1)
        assert names(net.named_modules()) == ["", "thing"]
        net.thing = nn.Parameter(flow.ones(1))
        assert (names(net.named_modules()), names(net.named_parameters())) == ([""], ["thing"])
        net.thing = None
        assert net.thing is None
        assert names(net.named_parameters()) == []
        del net.thing
        with pytest.raises(AttributeError, match="'Module' object has no attribute 'thing'"):
            _ = net.thing

    def test_a_buffer_is_replaced_by_a_tensor(self) -> None:
        block = Block()
        block.seen = flow.ones(1)
        assert block.state_dict()["seen"].data == 1

    def test_wrong_kinds_are_refused(self) -> None:
        block = Block()
        with pytest.raises(TypeError, match=r"Block\.scale: expected a Parameter or None, got Tensor"):
            block.scale = flow.ones(3)
        with pytest.raises(TypeError, match=r"Block\.seen: expected a Tensor or None, got int"):
            block.seen = 3
        with pytest.raises(TypeError, match="expected a Module or None, got int"):
            block.add_module("child", 3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"expected a name without dots, got 'a\.b'"):
            block.register_buffer("a.b", None)
        with pytest.raises(ValueError, match="there already is an attribute 'forward'"):
            block.register_parameter("forward", None)

    def test_super_init_first(self) -> None:
        class Forgetful(nn.Module):
            def __init__(self) -> None:
                self.layer = nn.Linear(1, 1)

        with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before assigning 'layer'"):
            Forgetful()

    def test_forward_must_be_defined(self) -> None:
        with pytest.raises(NotImplementedError, match="Module: define forward"):
            nn.Module()(1)

    def test_deepcopy_is_independent(self) -> None:
        block = Block()
        other = copy.deepcopy(block)
        other.scale.data[...] = 7
        assert block.scale.data[0] == 1
        assert names(other.named_parameters()) == names(block.named_parameters())
        assert isinstance(other.scale, nn.Parameter)


class TestState:
    def test_round_trip_and_memory(self) -> None:
        one, other = Block(), Block()
        state = one.state_dict()
        assert "scratch" not in state
        assert "absent" not in state
        assert not any(value.requires_grad for value in state.values())
        assert state["scale"].data is one.scale.data
        assert other.load_state_dict(state) == ([], [])
        for name, value in other.state_dict().items():
            np.testing.assert_array_equal(value.data, state[name].data)
            assert not np.shares_memory(value.data, state[name].data)

    def test_all_problems_are_named_and_nothing_is_copied(self) -> None:
        block = Block()
        state = {name: np.ones_like(value.data) * 5 for name, value in block.state_dict().items()}
        del state["scale"]
        state["conv.weight"] = np.ones((1, 2))
        state["typo"] = np.ones(1)
        with pytest.raises(RuntimeError) as caught:
            block.load_state_dict(state)
        message = str(caught.value)
        assert "Block.load_state_dict" in message
        assert "conv.weight: expected shape (3, 2, 3, 3), got (1, 2)" in message
        assert "missing: scale" in message
        assert "unexpected: typo" in message
        assert block.seen.data == 0

    def test_not_strict_copies_what_there_is(self) -> None:
        block = Block()
        found = block.load_state_dict({"seen": np.full(1, 4.0), "typo": np.ones(1)}, strict=False)
        assert block.seen.data == 4
        assert found.unexpected_keys == ["typo"]
        assert "scale" in found.missing_keys
        with pytest.raises(RuntimeError, match="seen: expected shape"):
            block.load_state_dict({"seen": np.ones(2)}, strict=False)

    def test_values_are_converted_to_the_modules_dtype(self) -> None:
        block = Block().double()
        block.load_state_dict(Block().state_dict())
        assert block.scale.data.dtype == np.float64

    def test_a_pending_backward_notices_loaded_weights(self) -> None:
        layer = nn.Conv2d(1, 1, 1)
        y = layer(flow.ones(1, 1, 2, 2, requires_grad=True)).sum()
        layer.load_state_dict(layer.state_dict())
        with pytest.raises(GradientError, match="load_state_dict"):
            y.backward()


class TestHooks:
    def test_they_see_and_replace_arguments_and_result(self) -> None:
        layer = nn.Identity()
        calls = []

        def before(module: Any, args: Any) -> Any:
            calls.append(("before", module is layer, args))
            return args[0] + 1

        def after(module: Any, args: Any, result: Any) -> Any:
            calls.append(("after", args, result))
            return result * 10

        handles = layer.register_forward_pre_hook(before), layer.register_forward_hook(after)
        assert layer(1) == 20
        assert calls == [("before", True, (1,)), ("after", (2,), 2)]
        for handle in handles:
            handle.remove()
        assert layer(1) == 1

    def test_with_kwargs(self) -> None:
        class Add(nn.Module):
            def forward(self, x: int, *, more: int) -> int:
                return x + more

        add = Add()
        add.register_forward_pre_hook(lambda module, args, kwargs: (args, {"more": 5}), with_kwargs=True)
        add.register_forward_hook(lambda module, args, kwargs, result: result + kwargs["more"], with_kwargs=True)
        assert add(1, more=2) == 11

    def test_several_run_in_order(self) -> None:
        layer = nn.Identity()
        for number in (2, 3):
            layer.register_forward_hook(lambda module, args, result, number=number: result * 10 + number)
        assert layer(1) == 123


class TestChanging:
    def test_train_and_eval_reach_all(self) -> None:
        net = nn.Sequential(Block())
        assert net.eval() is net
        assert not any(module.training for module in net.modules())
        net.train()
        assert all(module.training for module in net.modules())

    def test_apply_goes_children_first(self) -> None:
        seen: list[str] = []
        nn.Sequential(nn.Sequential(nn.ReLU()), nn.Flatten()).apply(lambda module: seen.append(type(module).__name__))
        assert seen == ["ReLU", "Sequential", "Flatten", "Sequential"]

    def test_zero_grad(self) -> None:
        layer = nn.Linear(2, 1)
        layer(flow.ones(1, 2)).sum().backward()
        grad = layer.weight.grad
        layer.zero_grad(set_to_none=False)
        assert layer.weight.grad is grad
        assert not grad.data.any()
        layer.zero_grad()
        assert layer.weight.grad is None

    def test_requires_grad(self) -> None:
        layer = nn.Linear(2, 1).requires_grad_(False)
        assert not layer(flow.ones(1, 2)).requires_grad

    def test_dtype_conversion_takes_parameters_gradients_and_float_buffers(self) -> None:
        block = Block()
        block(flow.randn(2, 2, 5, 5)).sum().backward()
        assert block.to(flow.float64) is block
        assert block.scale.data.dtype == block.norm.running_mean.data.dtype == np.float64
        assert block.conv.weight.grad.data.dtype == np.float64
        assert block.norm.num_batches_tracked.data.dtype == np.int64
        assert block.half().scale.data.dtype == np.float16
        assert block.bfloat16().scale.dtype == flow.bfloat16
        assert block.float().scale.data.dtype == np.float32
        assert block.to(flow.ones(1, dtype=flow.float64)).scale.data.dtype == np.float64
        assert block.cpu().scale.device == flow.device("cpu")
        with pytest.raises(DtypeError, match=r"expected a floating point dtype, got flownn\.int64"):
            block.to(flow.int64)

    def test_conversion_after_wrapping_is_refused(self) -> None:
        layer = nn.Linear(2, 1)
        layer.weight.grad_sink = object()
        with pytest.raises(GradientError, match="the gradient of weight is a view of a communication bucket"):
            layer.double()


class TestParameter:
    def test_takes_over_memory(self) -> None:
        tensor = flow.ones(2)
        parameter = nn.Parameter(tensor)
        assert parameter.data is tensor.data
        assert parameter.requires_grad
        assert repr(parameter) == "Parameter containing:\ntensor([1., 1.], dtype=flownn.float32, requires_grad=True)"
        assert not nn.Parameter(tensor, requires_grad=False).requires_grad

    def test_results_of_ops_are_plain_tensors(self) -> None:
        assert type(nn.Parameter(flow.ones(2)) * 2) is flow.Tensor

    def test_wrong_data_is_named(self) -> None:
        with pytest.raises(DtypeError, match="expected a tensor or an array, got list"):
            nn.Parameter([1.0])
        with pytest.raises(DtypeError, match="expected a floating point type, got int64"):
            nn.Parameter(flow.tensor([1, 2]))


def test_parallel_is_reached_through_nn() -> None:
    from flownn.nn.parallel import DistributedDataParallel

    assert nn.parallel.DistributedDataParallel is DistributedDataParallel
    with pytest.raises(AttributeError, match="no attribute 'paralel'"):
        _ = nn.paralel
