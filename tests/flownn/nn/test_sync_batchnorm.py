"""Batch norm over ranks: the same as one process with the batches of all, whatever their sizes."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flowdist import DistError, SelfCommunicator
from flownn import nn
from flownn.errors import ShapeError
from flownn.nn.modules.sync_batchnorm import SyncBatchNorm
from flownn.nn.parallel import DistributedDataParallel
from tests.helpers.ranks import run_ranks

PARTS = {1: [slice(0, 7)], 2: [slice(0, 5), slice(5, 7)], 3: [slice(0, 4), slice(4, 4), slice(4, 7)]}  # one is empty
LAYERS = {
    (): {},
    (4,): {"momentum": None},
    (3, 2): {"eps": 1e-2, "momentum": 0.4},
    (2, 3, 2): {"affine": False},
    (3,): {"track_running_stats": False},
}


def one_process(shape: Any, options: dict[str, Any], data: Any, grads: Any) -> dict[str, Any]:
    """Two steps of the ordinary layer with all of the data."""
    norm = getattr(nn, f"BatchNorm{max(len(shape), 1)}d")(3, **options).double()
    return steps(norm, data, grads, slice(None))


def steps(norm: Any, data: Any, grads: Any, part: slice) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    norm.load_state_dict({n: rng.random(v.data.shape).astype(v.data.dtype) for n, v in norm.state_dict().items()})
    found: dict[str, Any] = {}
    for step in range(2):
        x = flow.tensor(data[step, part], requires_grad=True)
        y = norm(x)
        y.backward(grads[step, part])
        found |= {f"y{step}": y.data, f"x{step}": x.grad.data}
    found |= {f"grad of {name}": p.grad.data for name, p in norm.named_parameters()}
    found |= {name: value.data for name, value in norm.named_buffers()}
    found["evaluation"] = norm.eval()(flow.tensor(data[0, part])).data if norm.track_running_stats else y.data
    return found


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("shape", LAYERS, ids=str)
def test_equals_one_process_on_the_concatenation(shape: Any, size: int) -> None:
    rng = np.random.default_rng(0)
    data, grads = rng.standard_normal((2, 2, 7, 3, *shape)) * 3 + 10
    whole = one_process(shape, LAYERS[shape], data, grads)

    def rank(comm: Any) -> dict[str, Any]:
        norm = SyncBatchNorm(3, comm=comm, **LAYERS[shape]).double()
        return steps(norm, data, grads, PARTS[size][comm.rank])

    ranks = run_ranks(size, rank)
    for name, value in whole.items():
        if name.startswith("grad of"):
            got = sum(each[name] for each in ranks)
        elif name in ("running_mean", "running_var", "num_batches_tracked"):
            for each in ranks:
                np.testing.assert_array_equal(each[name], ranks[0][name])
            got = ranks[0][name]
        else:
            got = np.concatenate([each[name] for each in ranks])
        np.testing.assert_allclose(got, value, rtol=1e-10, atol=1e-12, err_msg=name)


def test_the_spread_is_exact_where_ranks_have_very_different_means() -> None:
    offsets = np.array([0, 0, 1e3, 1e3, -5e3, 1e4]).reshape(6, 1, 1)
    x = (np.random.default_rng(2).standard_normal((6, 3, 40)) + offsets).astype(np.float32)
    wide = x.astype(np.float64)
    mean, var = (getattr(wide, name)(axis=(0, 2), keepdims=True) for name in ("mean", "var"))

    def rank(comm: Any) -> Any:
        return SyncBatchNorm(3, comm=comm)(flow.tensor(x[2 * comm.rank : 2 * comm.rank + 2])).data

    np.testing.assert_allclose(np.concatenate(run_ranks(3, rank)), (wide - mean) / np.sqrt(var + 1e-5), atol=2e-6)


def test_one_value_per_channel_in_all_is_refused_on_all_ranks_one_per_rank_is_fine() -> None:
    def rank(comm: Any) -> Any:
        norm = SyncBatchNorm(3, comm=comm)
        y = norm(flow.tensor(np.full((1, 3), comm.rank, np.float32)))
        with pytest.raises(ShapeError, match="BatchNorm: expected more than 1 value per channel when training"):
            norm(flow.ones(1 if comm.rank == 0 else 0, 3))
        return y.data

    np.testing.assert_allclose(run_ranks(2, rank), [np.full((1, 3), -1.0), np.full((1, 3), 1.0)], rtol=1e-4)


def test_empty_on_all_ranks_leaves_the_statistics() -> None:
    def rank(comm: Any) -> Any:
        norm = SyncBatchNorm(3, comm=comm)
        x = flow.zeros(0, 3, 2, requires_grad=True)
        y = norm(x)
        y.sum().backward()
        assert x.grad.shape == y.shape == (0, 3, 2)
        return norm.running_mean.data, norm.running_var.data

    for mean, var in run_ranks(2, rank):
        np.testing.assert_array_equal(mean, np.zeros(3))
        np.testing.assert_array_equal(var, np.ones(3))


def test_evaluation_and_no_gradient_send_as_little_as_possible() -> None:
    class Counting(SelfCommunicator):
        size = 2

        def __init__(self) -> None:
            super().__init__()
            self.size, self.calls = 2, 0

        def allreduce(self, buffer: Any) -> None:
            self.calls += 1

    comm = Counting()
    norm = SyncBatchNorm(3, comm=comm)
    norm(flow.randn(4, 3)).sum().backward()
    assert comm.calls == 2  # the input needs no gradient
    norm(flow.randn(4, 3, requires_grad=True)).sum().backward()
    assert comm.calls == 5
    norm.eval()(flow.randn(4, 3, requires_grad=True)).sum().backward()
    assert comm.calls == 5


@pytest.mark.parametrize("size", [1, 2, 3])
def test_under_data_parallelism_a_network_trains_as_in_one_process(size: int) -> None:
    rng = np.random.default_rng(3)
    data, target = rng.standard_normal((6, 2, 6, 6)), np.arange(6) % 3

    def network() -> nn.Module:
        flow.manual_seed(5)
        body = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(16, 3)).double()

    state = network().state_dict()

    def train(net: Any, part: slice) -> dict[str, Any]:
        optimizer = flow.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(net(flow.tensor(data[part])), flow.tensor(target[part])).backward()
            optimizer.step()
        return {name: value.data.copy() for name, value in net.state_dict().items()}

    def rank(comm: Any) -> dict[str, Any]:
        net = nn.Sequential(*network().children())
        net.load_state_dict(state)
        net = SyncBatchNorm.convert_sync_batchnorm(net, comm)
        assert [type(each).__name__ for each in net.children()].count("SyncBatchNorm") == 2
        parallel = DistributedDataParallel(net, comm=comm, bucket_size=1)
        found = train(parallel, slice(comm.rank, None, comm.size))
        parallel.close()
        return found

    single = network()
    single.load_state_dict(state)
    whole = train(single, slice(None))
    for found in run_ranks(size, rank):
        for name, value in whole.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-11, err_msg=name)


class TestConverting:
    def test_parameters_and_buffers_are_shared_and_the_text_is_pytorchs(self) -> None:
        net = nn.Sequential(nn.BatchNorm1d(3, eps=1e-3, momentum=None), nn.Sequential(nn.BatchNorm2d(2, affine=False)))
        net[1].eval()
        before = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        converted = SyncBatchNorm.convert_sync_batchnorm(net)
        assert converted is net
        after = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        assert list(before) == list(after)
        assert all(before[name] is after[name] for name in before)
        assert repr(net[0]) == "SyncBatchNorm(3, eps=0.001, momentum=None, affine=True, track_running_stats=True)"
        assert (net[0].training, net[1][0].training) == (True, False)

    def test_a_batch_norm_itself_is_replaced_also_one_without_statistics(self) -> None:
        norm = nn.BatchNorm3d(2, track_running_stats=False)
        sync = SyncBatchNorm.convert_sync_batchnorm(norm)
        assert type(sync) is SyncBatchNorm
        assert sync.weight is norm.weight
        assert sync.running_mean is None

    def test_a_fused_one_is_refused_before_anything_changes(self) -> None:
        net = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.FusedBatchNorm2d(2)))
        with pytest.raises(ValueError, match=r"convert_sync_batchnorm: 1\.0 is a FusedBatchNorm2d, which cannot be"):
            SyncBatchNorm.convert_sync_batchnorm(net)
        assert type(net[0]) is nn.BatchNorm1d


def test_copies_talk_to_the_same_ranks_and_share_nothing_else() -> None:
    def rank(comm: Any) -> None:
        norm = SyncBatchNorm(3, comm=comm)
        other = copy.deepcopy(nn.Sequential(norm))[0]
        assert other.comm is comm
        other(flow.randn(2, 3) + 5)
        np.testing.assert_array_equal(norm.running_mean.data, np.zeros(3))
        assert abs(other.running_mean.data).min() > 0.1

    run_ranks(2, rank)
    assert type(pickle.loads(pickle.dumps(SyncBatchNorm(3)))) is SyncBatchNorm


def test_different_channels_are_an_error_on_all_ranks() -> None:
    def rank(comm: Any) -> None:
        with pytest.raises(DistError, match="different collectives"):
            SyncBatchNorm(3 + comm.rank, comm=comm)(flow.randn(2, 3 + comm.rank))

    run_ranks(2, rank)


def test_wrong_inputs_are_named() -> None:
    for shape in ((3,), (2, 4), (1, 3, 1, 1, 1, 1)):
        with pytest.raises(ShapeError, match=r"SyncBatchNorm: expected input \(N, 3, ...\) of 2 to 5 dims, got shape"):
            SyncBatchNorm(3)(flow.ones(*shape))


def test_nothing_of_it_is_loaded_before_it_is_used() -> None:
    script = """
import sys
import flownn, flownn.nn
print([name for name in ("flowdist", "mpi4py") if name in sys.modules])
flownn.nn.SyncBatchNorm(3)(flownn.randn(2, 3))
print("mpi4py" in sys.modules, flownn.nn.SyncBatchNorm.__name__)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["[]", "False SyncBatchNorm", ""]
