"""Split, broadcast and partial sum as values, and layouts that fit together."""

import copy
import pickle

import pytest

from flowdist import sbp
from flowdist.errors import PlacementError
from flowdist.placement import Placement

LINE = Placement("cpu", [0, 1])
MESH = Placement("cpu", [[0, 1], [2, 3]])
ALL = [sbp.split(0), sbp.split(5), sbp.broadcast, sbp.partial_sum]


def test_they_are_values():
    assert len(set(ALL)) == 4
    assert sbp.split(0) == sbp.Split(0) != sbp.split(1)
    assert sbp.broadcast != sbp.partial_sum
    assert sbp.broadcast != "B"
    assert [repr(each) for each in ALL] == [str(each) for each in ALL] == ["S(0)", "S(5)", "B", "P"]
    for each in ALL:
        assert isinstance(each, sbp.sbp)
        assert pickle.loads(pickle.dumps(each)) == copy.deepcopy(each) == each
        assert hash(copy.copy(each)) == hash(each)


def test_two_of_them_exist_once_and_may_be_called():
    for single in (sbp.broadcast, sbp.partial_sum):
        assert single() is single
        assert pickle.loads(pickle.dumps(single)) is single
        with pytest.raises(TypeError):
            single(0)


@pytest.mark.parametrize("dim", [-1, 6, 100])
def test_a_dim_that_no_tensor_has(dim):
    with pytest.raises(PlacementError, match=rf"expected dim from 0 to 5, got {dim}$"):
        sbp.split(dim)


@pytest.mark.parametrize("dim", [1.0, "0", True, (0,)])
def test_a_dim_is_an_int(dim):
    with pytest.raises(TypeError, match="expected dim as an int"):
        sbp.split(dim)


def test_the_old_name_of_dim():
    with pytest.warns(DeprecationWarning, match="axis is the old name of dim"):
        assert sbp.split(axis=2) == sbp.split(2)
    for arguments in ({}, {"dim": 0, "axis": 0}):
        with pytest.raises(TypeError, match="expected one dim"):
            sbp.split(**arguments)


def test_a_layout_has_an_entry_for_each_axis_of_the_mesh():
    assert sbp.Layout(LINE, sbp.split(0)).sbp == (sbp.split(0),)
    assert sbp.Layout(LINE, [sbp.broadcast]) == sbp.Layout(LINE, (sbp.broadcast,))
    assert hash(sbp.Layout(LINE, [sbp.broadcast])) == hash(sbp.Layout(LINE, sbp.broadcast))
    assert sbp.Layout(MESH, (sbp.split(0), sbp.partial_sum)).sbp == (sbp.split(0), sbp.partial_sum)


@pytest.mark.parametrize(("placement", "entries", "count"), [
    (MESH, sbp.split(0), "expected 2 entries.*got 1"), (LINE, (sbp.broadcast,) * 3, "expected 1 entries.*got 3"),
    (LINE, (), "expected 1 entries.*got 0"),
])  # fmt: skip
def test_another_number_of_entries_is_an_error(placement, entries, count):
    with pytest.raises(PlacementError, match=count):
        sbp.Layout(placement, entries)


@pytest.mark.parametrize("entry", ["B", 0, None, sbp.split, sbp.Broadcast])
def test_an_entry_is_one_of_the_three(entry):
    with pytest.raises(TypeError, match=r"expected sbp\.split\(dim\), sbp\.broadcast or sbp\.partial_sum, got"):
        sbp.Layout(LINE, (entry,))


def test_a_tensor_must_have_the_split_dim():
    layout = sbp.Layout(MESH, (sbp.split(2), sbp.broadcast))
    layout.check((1, 1, 4))
    with pytest.raises(PlacementError, match=r"expected split dims in \[0, 2\) for a tensor of shape \(3, 4\), got S"):
        layout.check((3, 4))
    sbp.Layout(LINE, sbp.partial_sum).check(())
