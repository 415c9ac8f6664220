"""The data-parallel wrapper around modules of this package."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.nn.parallel import DistributedDataParallel
from tests.helpers.ranks import run_ranks

DATA = np.random.default_rng(0).standard_normal((6, 2, 5, 5))
TARGET = np.arange(6) % 3


def model() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)).double()
    rng = np.random.default_rng(1)
    net.load_state_dict({name: rng.standard_normal(v.data.shape) / 4 for name, v in net.state_dict().items()})
    return net


def gradients(net: Any, data: Any, target: Any) -> dict[str, Any]:
    nn.CrossEntropyLoss()(net(flow.tensor(data)), flow.tensor(target)).backward()
    return {name: p.grad.data.copy() for name, p in net.named_parameters()}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gradients_are_those_of_the_whole_batch_on_every_rank(size: int) -> None:
    whole = gradients(model(), DATA, TARGET)

    def rank(comm: Any) -> dict[str, Any]:
        net = DistributedDataParallel(model(), comm=comm, bucket_size=2)
        for _ in range(2):
            for p in net.parameters():
                p.grad = None
            found = gradients(net, DATA[comm.rank :: comm.size], TARGET[comm.rank :: comm.size])
        assert all(type(p.grad) is flow.Tensor for p in net.parameters())
        return found

    for found in run_ranks(size, rank):
        for name, gradient in whole.items():
            np.testing.assert_allclose(found[name], gradient, rtol=1e-10, atol=1e-13)


def test_gradients_have_the_bits_of_the_mean_of_both_ranks_alone() -> None:
    data, target = DATA.astype(np.float32), TARGET
    alone = [gradients(model().float(), data[rank::2], target[rank::2]) for rank in range(2)]

    def rank(comm: Any) -> dict[str, Any]:
        return gradients(
            DistributedDataParallel(model().float(), comm=comm), data[comm.rank :: 2], target[comm.rank :: 2]
        )

    for found in run_ranks(2, rank):
        for name, gradient in found.items():
            np.testing.assert_array_equal(gradient, (alone[0][name] + alone[1][name]) / np.float32(2))


def test_state_is_the_modules_and_no_grad_sends_nothing() -> None:
    def rank(comm: Any) -> None:
        net = DistributedDataParallel(nn.BatchNorm1d(3), comm=comm)
        assert list(net.state_dict()) == list(nn.BatchNorm1d(3).state_dict())
        if comm.rank == 0:
            with flow.no_grad():  # would wait for the other rank if it broadcast the buffers
                net(flow.randn(4, 3))

    run_ranks(2, rank)
