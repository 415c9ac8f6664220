"""What data-parallel training must do on two or more ranks, whatever connects them."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

from flowdist import (
    Communicator,
    DistError,
    DistributedDataParallel,
    DistributedModelMismatchError,
    UnusedParameterError,
)
from tests.flowdist.tiny import Gradient, Loss, Module, Parameter, scale, two_layers

Parallel = partial(DistributedDataParallel, as_gradient=Gradient)


def _mean_over_ranks(comm: Communicator, value: Any) -> Any:
    return np.mean(comm.allgather_object(value), axis=0)


def _same_bits_everywhere(comm: Communicator, module: Module) -> bool:
    bits = b"".join(p.data.tobytes() + (p.grad.data.tobytes() if p.grad else b"") for p in module.parameters())
    return len(set(comm.allgather_object(hashlib.sha256(bits).digest()))) == 1


# Reference numbers: rank r has input r + 1.


def gradients_are_the_mean_over_ranks(comm: Communicator) -> None:
    model = Parallel(scale(w=[1.0, 1.0]), comm=comm)
    model(comm.rank + 1.0).backward()
    mean = (comm.size + 1) / 2  # 1.5 for two ranks
    assert model.gradients() == {"w": [mean, mean]}
    model.close()


def gradients_add_up_without_zero_grad(comm: Communicator) -> None:
    model = Parallel(scale(w=[1.0, 1.0]), comm=comm)
    for _ in range(2):
        model(comm.rank + 1.0).backward()
    assert model.gradients() == {"w": [comm.size + 1.0] * 2}  # [3, 3] for two ranks
    model.close()


def many_buckets_give_the_same_as_one(comm: Communicator) -> None:
    for bucket_size in (1, 3, 10, None):
        model = Parallel(scale(**{f"w{i}": 1.0 + i % 2 for i in range(10)}), comm=comm, bucket_size=bucket_size)
        model(comm.rank + 1.0).backward()
        mean = 32 * (comm.size + 1) / 2
        assert model.gradients() == {f"w{i}": mean / (1 + i % 2) for i in range(10)}  # 48 and 24 for two ranks
        model.close()


def parameters_may_be_used_in_opposite_order(comm: Communicator) -> None:
    for frozen in ((), ("w0",)):
        for find_unused in (False, True):
            module = scale(w0=1.0, w1=2.0, w2=3.0)
            module.compute = _in_the_order_of(module.compute, backwards=comm.rank % 2 == 1)
            for name in frozen:
                module[name].requires_grad = False
            model = Parallel(module, comm=comm, bucket_size=1, find_unused_parameters=find_unused)
            model(comm.rank + 1.0).backward()
            mean = 6 * (comm.size + 1) / 2  # 9, 4.5, 3 for two ranks
            expected = {"w0": mean, "w1": mean / 2, "w2": mean / 3}
            assert model.gradients() == {n: None if n in frozen else g for n, g in expected.items()}
            model.close()


def _in_the_order_of(forward: Any, backwards: bool) -> Any:
    def ordered(module: Module, x: Any) -> Loss:
        loss = forward(module, x)
        return Loss(loss.value, loss.contributions[::-1]) if backwards else loss

    return ordered


def _with_unused(rank: int) -> Module:
    """``x * w``, on rank 0 also times ``a``; ``b`` is used by nobody."""

    def forward(module: Module, x: Any) -> Loss:
        w, a = module["w"], module["a"]
        if rank:
            return Loss(x * w.data, [(w, x)])
        return Loss(x * w.data * a.data, [(w, x * a.data), (a, x * w.data)])

    return Module({"w": Parameter(1.0), "a": Parameter(2.0), "b": Parameter(7.0)}, forward)


def unused_parameters_keep_their_gradient(comm: Communicator) -> None:
    model = Parallel(_with_unused(comm.rank), comm=comm, bucket_size=2, find_unused_parameters=True)
    w_mean, a_mean = (2 + sum(range(2, comm.size + 1))) / comm.size, 1 / comm.size  # 2 and 0.5 for two ranks
    model(comm.rank + 1.0).backward()
    assert model.gradients() == {"w": w_mean, "a": a_mean, "b": None}
    assert all(p.grad is None or p.grad.data is p.grad_sink.buffer for p in model.parameters())

    model(comm.rank + 1.0).backward()  # reduced gradients are still there
    np.testing.assert_allclose(model.module["w"].grad.data, 2 * w_mean, rtol=1e-15)
    np.testing.assert_allclose(model.module["a"].grad.data, 2 * a_mean, rtol=1e-15)

    model.module["b"].grad = own = Gradient(np.array(0.1 + comm.rank))  # different on each rank, and nobody uses b
    model.module["a"].grad = None
    model(comm.rank + 1.0).backward()
    assert model.module["b"].grad is own
    assert own.data == 0.1 + comm.rank
    assert model.module["a"].grad.data == a_mean
    assert _mean_over_ranks(comm, model.module["a"].grad.data) == a_mean

    model.zero_grad()
    model(comm.rank + 1.0).backward()
    assert model.gradients() == {"w": w_mean, "a": a_mean, "b": None}
    model.close()


def a_gradient_nobody_adds_to_keeps_its_bits(comm: Communicator) -> None:
    module = _with_unused(comm.rank)
    only_w = Loss(0, [(module["w"], 1.0)])
    model = Parallel(module, comm=comm, find_unused_parameters=True)
    Loss(0, [(module["w"], 1.0), (module["b"], 0.1)]).backward()
    before = model.module["b"].grad.data.tobytes()
    model.module["b"].grad.data[...] += comm.rank * 1e-3  # not even equal on all ranks
    changed = model.module["b"].grad.data.tobytes()
    only_w.backward()
    assert model.module["b"].grad.data.tobytes() == changed
    assert (changed == before) == (comm.rank == 0)
    model.close()


def an_unused_parameter_is_an_error_on_all_ranks_in_the_same_backward(comm: Communicator) -> None:
    for bucket_size in (1, 10):
        model = Parallel(_with_unused(comm.rank), comm=comm, bucket_size=bucket_size)
        loss = model(comm.rank + 1.0)
        others = "rank 1" if comm.size == 2 else f"ranks 1-{comm.size - 1}"
        with pytest.raises(UnusedParameterError, match=rf"'a' on {others}; 'b' on ranks 0-{comm.size - 1} ") as caught:
            loss.backward()
        assert len(set(comm.allgather_object(str(caught.value)))) == 1

        model.zero_grad()  # the next backward is a new round
        Loss(0, [(parameter, comm.rank + 1.0) for parameter in model.parameters()]).backward()
        assert set(model.gradients().values()) == {(comm.size + 1) / 2}
        model.close()


def buffers_follow_rank_0(comm: Communicator) -> None:
    def forward(module: Module, x: Any) -> Loss:
        y = x + module.buffers["seen"].data
        module.buffers["seen"].data[...] = x
        return Loss(y, [(module["w"], 1.0)])

    for broadcast in (True, False):
        module = Module({"w": Parameter(1.0)}, forward, {"seen": Parameter(np.array([1.0, 2.0]) * (comm.rank + 1))})
        model = Parallel(module, comm=comm, broadcast_buffers=broadcast)
        module.buffers["seen"].data = np.array([1.0, 2.0]) * (comm.rank + 1)
        x = np.array([2.0, 3.0]) * (comm.rank + 1)
        outputs = [model(x).value.tolist() for _ in range(2)]
        own = comm.rank + 1
        first, second = ([1, 2], [2, 3]) if broadcast else ([1 * own, 2 * own], [2 * own, 3 * own])
        # rank 1 of two: [5, 8], [6, 9] with broadcasting, [6, 10], [8, 12] without
        expected = [np.add(x, first).tolist(), np.add(x, second).tolist()]
        assert outputs == expected
        model.close()


# Equality with one process.


def training_equals_one_process_with_the_whole_batch(comm: Communicator) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((4 * comm.size, 3)), rng.standard_normal((4 * comm.size, 2))
    mine = slice(4 * comm.rank, 4 * comm.rank + 4)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        alone = two_layers(seed=0, dtype=dtype)
        for _ in range(5):
            alone.zero_grad()
            alone((x.astype(dtype), y.astype(dtype))).backward()
            _sgd_step(alone)
        for limits in ({}, {"bucket_size": 1}, {"bucket_size": None, "bucket_cap_mb": 1e-5}, {"bucket_cap_mb": None}):
            model = Parallel(two_layers(seed=comm.rank, dtype=dtype), comm=comm, **limits)  # rank 0's values count
            for _ in range(5):
                model.zero_grad()
                model((x[mine].astype(dtype), y[mine].astype(dtype))).backward()
                _sgd_step(model.module)
            assert _same_bits_everywhere(comm, model.module)
            for name, parameter in model.named_parameters():
                np.testing.assert_allclose(parameter.data, alone[name].data, rtol=tolerance)
            model.close()


def _sgd_step(module: Module) -> None:
    for parameter in module.parameters():
        assert parameter.grad is not None
        parameter.data[...] = parameter.data - 0.05 * parameter.grad.data


def every_float_type_is_averaged(comm: Communicator) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed").bfloat16
    types = {"a": np.float32, "b": np.float16, "c": bfloat16, "d": np.float64, "e": np.float16}
    module = Module({name: Parameter([1.0, 2.0], dtype) for name, dtype in types.items()}, lambda module, x: None)
    model = Parallel(module, comm=comm, bucket_size=2)
    gradient = np.array([comm.rank + 1.0, 50000.0])  # the sum of the second over ranks does not fit into float16
    Loss(0, [(parameter, gradient) for parameter in model.parameters()]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.data.dtype == types[name]
        expected = np.array([(comm.size + 1) / 2, 50000.0]).astype(types[name])
        np.testing.assert_array_equal(parameter.grad.data, expected)
    model.close()


def means_are_divided_sums_to_the_last_bit(comm: Communicator) -> None:
    rng = np.random.default_rng(5)
    of_ranks = rng.standard_normal((comm.size, 1000)) * np.exp(rng.uniform(-20, 20, (comm.size, 1000)))
    for dtype in (np.float32, np.float64):
        values = of_ranks.astype(dtype)
        # more than two numbers may be added up in another order
        slack = 0 if comm.size == 2 else 4 * np.finfo(dtype).eps * np.abs(values).sum(0)
        total = values[comm.rank].copy()
        comm.allreduce(total)
        model = Parallel(Module({"w": Parameter(np.zeros(1000), dtype)}, lambda module, x: None), comm=comm)
        w = model.module["w"]
        Loss(0, [(w, values[comm.rank])]).backward()
        assert (np.abs(w.grad.data - total / dtype(comm.size)) <= slack).all()

        w.grad = None  # the same in two steps: the sum of both travels
        with model.no_sync():
            Loss(0, [(w, 2 * values[comm.rank])]).backward()
            np.testing.assert_array_equal(w.grad.data, 2 * values[comm.rank])
        Loss(0, [(w, -values[comm.rank])]).backward()
        assert (np.abs(w.grad.data - total / dtype(comm.size)) <= slack).all()
        model.close()


def tied_parameters_are_reduced_once(comm: Communicator) -> None:
    shared = Parameter([1.0, 1.0])
    module = Module({"encoder": shared, "other": Parameter(1.0), "decoder": shared}, lambda module, x: None)
    model = Parallel(module, comm=comm)
    Loss(0, [(shared, comm.rank + 1.0), (module["other"], 1.0), (shared, 10.0)]).backward()
    np.testing.assert_allclose(shared.grad.data, np.full(2, (comm.size + 1) / 2 + 10))
    model.close()


def several_forwards_may_precede_their_backwards(comm: Communicator) -> None:
    model = Parallel(scale(w=[1.0]), comm=comm)
    losses = [model(comm.rank + 1.0), model(10.0)]
    for loss in losses:
        loss.backward()
    np.testing.assert_allclose(model.module["w"].grad.data, [(comm.size + 1) / 2 + 10], rtol=1e-15)
    model.close()


def gradients_are_views_that_survive_user_changes(comm: Communicator) -> None:
    model = Parallel(scale(w=[1.0, 1.0], v=[1.0, 1.0]), comm=comm)
    model(comm.rank + 1.0).backward()
    buffer = model.module["w"].grad.data
    model.module["w"].grad = Gradient(np.array([5.0, 6.0]))  # replaced
    model.module["v"].grad = None  # dropped
    model(comm.rank + 1.0).backward()
    mean = (comm.size + 1) / 2
    assert model.gradients() == {"w": [5 + mean, 6 + mean], "v": [mean, mean]}
    assert model.module["w"].grad.data is buffer
    model.close()


# no_sync


def no_sync_accumulates_and_the_next_backward_reduces_everything(comm: Communicator) -> None:
    model = Parallel(scale(w=[1.0], v=[1.0]), comm=comm)
    with model.no_sync():
        with model.no_sync():
            model(comm.rank + 1.0).backward()
        model(10.0 * comm.rank).backward()
        assert model.gradients() == {"w": [11.0 * comm.rank + 1], "v": [11.0 * comm.rank + 1]}
    model(1.0).backward()
    np.testing.assert_allclose(model.module["w"].grad.data, [11 * (comm.size - 1) / 2 + 2], rtol=1e-15)
    np.testing.assert_array_equal(model.module["w"].grad.data, model.module["v"].grad.data)
    model.close()


def a_parameter_used_only_under_no_sync_counts_as_used(comm: Communicator) -> None:
    for find_unused in (False, True):
        module = scale(w=[1.0], v=[1.0])
        model = Parallel(module, comm=comm, find_unused_parameters=find_unused)
        with model.no_sync():
            model(comm.rank + 1.0).backward()
        if comm.rank == 0 and find_unused:
            module["v"].grad = None  # thrown away here: rank 0 adds nothing, but gets the mean
        module.compute = lambda module, x: Loss(x, [(module["w"], x)])
        model(1.0).backward()
        first = 1.0 if find_unused else 0.0
        expected_v = (comm.size * (comm.size + 1) / 2 - first) / comm.size
        np.testing.assert_allclose(module["v"].grad.data, [expected_v], rtol=1e-15)
        np.testing.assert_allclose(module["w"].grad.data, [(comm.size + 1) / 2 + 1], rtol=1e-15)
        model.close()


def no_sync_must_hold_both_forward_and_backward(comm: Communicator) -> None:
    model = Parallel(scale(w=[1.0]), comm=comm)
    model(1.0).backward()  # the forward of a finished round does not count
    with model.no_sync():
        loss = model(1.0)
    with pytest.raises(DistError, match=r"forward ran inside no_sync\(\) and backward outside"):
        loss.backward()
    model.close()
    model = Parallel(scale(w=[1.0]), comm=comm)
    loss = model(1.0)
    with pytest.raises(DistError, match=r"backward ran inside no_sync\(\) and forward outside"), model.no_sync():
        loss.backward()
    model.close()


# Construction


def values_come_from_rank_0(comm: Communicator) -> None:
    buffers = {"count": Parameter(comm.rank, np.int64), "mask": Parameter([comm.rank == 0] * 3, bool)}
    module = Module(
        {
            "w": Parameter(np.full((2, 3), comm.rank)),
            "h": Parameter([0.5 + comm.rank], np.float16, requires_grad=False),
        },
        lambda module, x: None,
        buffers,
    )
    arrays = [tensor.data for tensor in (*module.entries.values(), *buffers.values())]
    model = Parallel(module, comm=comm)
    assert [array.tolist() for array in arrays] == [[[0.0] * 3] * 2, [0.5], 0, [True] * 3]
    assert all(tensor.data is array for tensor, array in zip((*module.entries.values(),), arrays, strict=False))
    model.close()


def different_models_are_refused_everywhere_with_one_text(comm: Communicator) -> None:
    last = comm.rank == comm.size - 1
    rest = "rank 0" if comm.size == 2 else f"ranks 0-{comm.size - 2}"
    own = f"rank {comm.size - 1}"
    plain = {"w": Parameter([1.0, 2.0]), "v": Parameter([1.0])}

    class Other(Module):
        pass

    def module(entries: dict[str, Parameter] | None = None, buffers: Any = None, kind: Any = Module) -> Module:
        return kind(entries or plain, lambda module, x: None, buffers)

    frozen = Parameter([1.0], requires_grad=False)
    table: list[tuple[str, Module, dict[str, Any]]] = [
        (rf"class of the module: .*Module on {rest}; .*Other on {own}", module(kind=Other), {}),
        (rf"option bucket_size: 10 on {rest}; 3 on {own}", module(), {"bucket_size": 3}),
        (
            rf"shape of parameter 'v': \(1,\) on {rest}; \(1, 1\) on {own}",
            module(plain | {"v": Parameter([[1.0]])}),
            {},
        ),
        (
            rf"dtype of parameter 'w': float64 on {rest}; float32 on {own}",
            module(plain | {"w": Parameter([1.0, 2.0], np.float32)}),
            {},
        ),
        (rf"requires_grad of parameter 'v': True on {rest}; False on {own}", module(plain | {"v": frozen}), {}),
        (
            rf"parameter number 0 \(of 2\): 'w' on {rest}; 'v' on {own}",
            module({"v": plain["v"], "w": plain["w"]}),
            {},
        ),
        (rf"parameter number 1 \(of 1 or 2\): 'v' on {rest}; none on {own}", module({"w": plain["w"]}), {}),
        (rf"buffer number 0 \(of 0 or 1\): none on {rest}; 'b' on {own}", module(buffers={"b": Parameter(1.0)}), {}),
    ]
    for expected, different, options in table:
        with pytest.raises(DistributedModelMismatchError, match=expected) as caught:
            Parallel(different if last else module(), comm=comm, **(options if last else {}))
        assert len(set(comm.allgather_object(str(caught.value)))) == 1
    assert all(parameter.grad_sink is None for parameter in plain.values())


def a_module_without_anything_to_train_is_refused(comm: Communicator) -> None:
    with pytest.raises(DistError, match="no parameter with requires_grad=True"):
        Parallel(Module({"w": Parameter(1.0, requires_grad=False)}, lambda module, x: None), comm=comm)
    with pytest.raises(DistError, match="expected float parameters, got int64 for 'n'"):
        Parallel(Module({"n": Parameter(1, np.int64)}, lambda module, x: None), comm=comm)


# Failure


def after_a_failed_backward_on_all_ranks_the_next_one_is_right(comm: Communicator) -> None:
    for failing in ("w0", "w2"):  # before, and after the first buckets were launched
        model = Parallel(scale(w0=1.0, w1=1.0, w2=1.0), comm=comm, bucket_size=1)

        def fail(parameter: Parameter, failing: str = failing, model: Any = model) -> None:
            if parameter is model.module[failing]:
                raise ArithmeticError("no gradient today")

        with pytest.raises(ArithmeticError, match="no gradient today"):
            model(100.0).backward(before_each=fail)
        model.zero_grad()
        model(comm.rank + 1.0).backward()
        assert set(model.gradients().values()) == {(comm.size + 1) / 2}
        model.close()


def a_rank_that_lost_its_place_is_noticed_by_all(comm: Communicator) -> None:
    model = Parallel(scale(w0=1.0, w1=1.0), comm=comm, bucket_size=1)

    def fail(parameter: Parameter) -> None:
        if comm.rank == 0 and parameter is model.module["w0"]:
            raise MemoryError

    lost = "is not in the same backward as other ranks"
    if comm.rank == 0:
        with pytest.raises(MemoryError):
            model(1.0).backward(before_each=fail)
        model.zero_grad()  # caught, and on with the next batch: its first bucket meets the others' second
    with pytest.raises(DistError, match=lost):
        model(1.0).backward()


# The thread


def closing_ends_the_thread_and_frees_the_module(comm: Communicator) -> None:
    module = scale(w=[1.0])
    model = Parallel(module, comm=comm)
    with pytest.raises(DistError, match="wrapped already"):
        Parallel(model, comm=comm)
    with pytest.raises(DistError, match="'w' belongs to another wrapper"):
        Parallel(module, comm=comm)
    model(1.0).backward()
    thread = model._reducer._thread._thread
    assert thread in threading.enumerate()
    assert thread.daemon
    model.close()
    assert not thread.is_alive()
    module.zero_grad()
    module(comm.rank + 1.0).backward()
    assert module.gradients() == {"w": [comm.rank + 1.0]}  # its own again
    again = Parallel(module, comm=comm)
    again(comm.rank + 1.0).backward()
    again.close()
    model.close()


def evaluation_on_one_rank_alone_returns(comm: Communicator) -> None:
    enabled = [True]
    module = Module({"w": Parameter(1.0)}, lambda module, x: Loss(x, []), {"b": Parameter(1.0)})
    model = Parallel(module, comm=comm, grad_enabled=lambda: enabled[0])
    if comm.rank == 0:
        model.eval()
        assert model(3.0).value == 3.0  # evaluation
        model.train()
        enabled[0] = False
        assert model(3.0).value == 3.0  # training mode, gradients off
        enabled[0] = True
        with model.no_sync():
            assert model(3.0).value == 3.0
    comm.barrier()
    model.close()
