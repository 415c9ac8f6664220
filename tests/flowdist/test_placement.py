"""Placements: what they accept, what they say, and that they are values."""

import copy
import pickle

import numpy as np
import pytest

from flowdist import placement as module
from flowdist.env import RankInfo
from flowdist.errors import DistError, PlacementError
from flowdist.placement import Placement


@pytest.fixture
def job(monkeypatch):
    """Make this process a rank of a job that a launcher started."""

    def of(world_size, local_world_size, rank=0):
        info = RankInfo(rank, world_size, rank % local_world_size, local_world_size, rank // local_world_size)
        monkeypatch.setattr(module, "rank_info", lambda: info)
        monkeypatch.setenv("WORLD_SIZE", str(world_size))

    return of


@pytest.mark.parametrize(("ranks", "shape"), [
    ([0, 1, 2], (3,)), ((0, 1, 2), (3,)), (range(3), (3,)), (np.array([0, 1, 2], np.int32), (3,)),
    ([[0, 1], [2, 3]], (2, 2)), (np.arange(8).reshape(2, 2, 2), (2, 2, 2)), ([5], (1,)), (7, (1,)),
])  # fmt: skip
def test_ranks_may_be_any_regular_arrangement_of_integers(ranks, shape):
    placement = Placement("cpu", ranks)
    assert placement.shape == placement.ranks.shape == shape
    assert placement.size == np.prod(shape)
    np.testing.assert_array_equal(placement.ranks, np.asarray(ranks).reshape(shape))


def test_order_is_information():
    assert Placement("cpu", [1, 0]) != Placement("cpu", [0, 1])
    assert Placement("cpu", [1, 0]).ranks.tolist() == [1, 0]
    assert [Placement("cpu", [4, 2, 9]).index(rank) for rank in (4, 2, 9)] == [0, 1, 2]


def test_it_is_a_value():
    one, same = Placement("cpu", [[0, 1], [2, 3]]), Placement("cpu", np.arange(4).reshape(2, 2))
    assert one == same
    assert hash(one) == hash(same)
    assert len({one, same, Placement("cuda", one.ranks), Placement("cpu", [0, 1, 2, 3])}) == 3
    assert one != "cpu"
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one)):
        assert other == one
    one.ranks[0, 0] = 9
    assert one == same
    assert repr(one) == 'placement(type="cpu", ranks=[[0, 1], [2, 3]])'
    with pytest.raises(AttributeError):
        one.type = "cuda"


def test_positions_and_groups_of_a_mesh():
    placement = Placement("cuda", [[6, 4, 2], [1, 3, 5]])
    assert [placement.index(rank) for rank in (6, 4, 2, 1, 3, 5)] == list(range(6))
    assert 3 in placement
    assert 0 not in placement
    assert placement.sub_group(0, rank=3) == (4, 3)
    assert placement.sub_group(1, rank=4) == (6, 4, 2)
    with pytest.raises(PlacementError, match=r"rank 0 is not part of placement\(type"):
        placement.index(0)
    with pytest.raises(PlacementError, match=r"axis from 0 to 1 of the mesh \(2, 3\), got 2"):
        placement.sub_group(2, rank=3)


@pytest.mark.parametrize(("type", "ranks", "error", "message"), [
    ("gpu", [0], PlacementError, "expected type 'cpu' or 'cuda', got 'gpu'"),
    ("cpu", [0, 1, 0], PlacementError, r"expected each rank once, got rank 0 repeatedly in \[0, 1, 0\]"),
    ("cpu", [[0, 1], [1, 2]], PlacementError, "got rank 1 repeatedly"),
    ("cpu", [0, -1], PlacementError, "expected ranks of 0 or more, got -1"),
    ("cpu", [], PlacementError, "expected one rank or more"),
    ("cpu", [0.0, 1.0], TypeError, "expected ranks as integers"),
    ("cpu", [True], TypeError, "expected ranks as integers"),
    ("cpu", "01", TypeError, "expected ranks as integers"),
    ("cpu", {0: [0]}, TypeError, "expected ranks as integers"),
    ("cpu", [[0, 1], [2]], TypeError, "expected ranks that form a regular mesh"),
])  # fmt: skip
def test_what_cannot_be_a_placement(type, ranks, error, message):
    with pytest.raises(error, match=message):
        Placement(type, ranks)


def test_the_error_is_of_both_kinds():
    assert issubclass(PlacementError, ValueError)
    assert issubclass(PlacementError, DistError)


def test_without_a_launcher_nobody_knows_the_largest_rank(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Placement("cpu", [1000]).size == 1


def test_in_a_job_ranks_must_exist(job):
    job(4, 2)
    Placement("cpu", [3])
    with pytest.raises(PlacementError, match="there is no rank 4: the job has 4 ranks"):
        Placement("cpu", [0, 4])


def test_all_ranks(job, monkeypatch):
    job(6, 3)
    assert Placement.all("cpu") == Placement("cpu", range(6))
    monkeypatch.setattr(module, "cuda_device_count", lambda: 2)
    assert Placement.all("cuda") == Placement("cuda", [0, 1, 3, 4])
    monkeypatch.setattr(module, "cuda_device_count", lambda: 8)
    assert Placement.all("cuda").size == 6
    monkeypatch.setattr(module, "cuda_device_count", lambda: 0)
    with pytest.raises(PlacementError, match="has no GPU"):
        Placement.all("cuda")
    with pytest.raises(PlacementError, match=r"placement\.all: expected type"):
        Placement.all("tpu")


def test_counting_gpus_never_fails():
    assert module.cuda_device_count() >= 0


def test_old_names():
    placement = Placement("cpu", [[0, 1]])
    with pytest.warns(DeprecationWarning, match=r"old name of placement\.type"):
        assert placement.device_type == "cpu"
    with pytest.warns(DeprecationWarning, match=r"old name of placement\.shape"):
        assert placement.hierarchy == (1, 2)
