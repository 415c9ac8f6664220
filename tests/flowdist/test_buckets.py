import numpy as np
import pytest

from flowdist import ParameterSpec, plan_buckets
from flowdist.buckets import FlatBucket

MIB = 1 << 20


def specs(*sizes_and_types):
    return [ParameterSpec(f"p{i}", (size,), np.dtype(dtype)) for i, (size, dtype) in enumerate(sizes_and_types)]


def floats(*sizes):
    return specs(*((size, "f4") for size in sizes))


# parameters, bucket_size, bucket_cap_bytes -> members of each bucket
PLANS = {
    "reverse order": (floats(1, 1, 1), 10, None, [(2, 1, 0)]),
    "closes at a count": (floats(*[1] * 5), 2, None, [(4, 3), (2, 1), (0,)]),
    "no limit": (floats(*[MIB] * 30), None, None, [tuple(range(29, -1, -1))]),
    "the first closes at 1 MiB": (floats(*[MIB // 8] * 6), None, 25 * MIB, [(5, 4), (3, 2, 1, 0)]),
    "a smaller cap also holds for the first": (floats(*[MIB // 8] * 3), None, MIB // 2, [(2,), (1,), (0,)]),
    "the one that reaches the cap is inside": (floats(16, 16, 16), None, 100, [(2, 1), (0,)]),
    "whichever comes first: bytes": (floats(16, 16, 1024, 16), 3, 128, [(3, 2), (1, 0)]),
    "whichever comes first: count": (floats(16, 16, 16, 16), 3, 4096, [(3, 2, 1), (0,)]),
    "one larger than the cap stands alone": (floats(16, 4096, 16), None, 64, [(2,), (1,), (0,)]),
    "types do not mix": (
        specs((1, "f4"), (1, "f8"), (1, "f4"), (1, "f8"), (1, "f4")),
        2,
        None,
        [(4, 2), (3, 1), (0,)],
    ),
    "buckets come in the order in which they fill": (
        specs((1, "f4"), (1, "f4"), (1, "f8"), (1, "f4")),
        2,
        None,
        [(2,), (3, 1), (0,)],
    ),
    "nothing to plan": ([], 10, MIB, []),
}


@pytest.mark.parametrize(("parameters", "count", "cap", "expected"), PLANS.values(), ids=PLANS)
def test_plan(parameters, count, cap, expected):
    plan = plan_buckets(parameters, bucket_size=count, bucket_cap_bytes=cap)
    assert [bucket.parameters for bucket in plan] == expected
    assert sorted(i for bucket in plan for i in bucket.parameters) == list(range(len(parameters)))
    for bucket in plan:
        assert {parameters[i].dtype for i in bucket.parameters} == {bucket.dtype}


def test_slots_are_aligned_and_disjoint():
    rng = np.random.default_rng(0)
    parameters = specs(*((int(size), dtype) for size in rng.integers(0, 70, 12) for dtype in ("f2", "f4", "f8")))
    for bucket in plan_buckets(parameters, bucket_size=5):
        end = 0
        for position, start in zip(bucket.parameters, bucket.starts, strict=True):
            assert start * bucket.dtype.itemsize % 64 == 0
            assert end <= start
            end = start + parameters[position].shape[0]
        assert end <= bucket.size


@pytest.mark.parametrize("limits", [{"bucket_size": 0}, {"bucket_cap_bytes": -1}])
def test_limits_are_positive(limits):
    (name,) = limits
    with pytest.raises(ValueError, match=f"{name} must be positive or None, got {limits[name]}"):
        plan_buckets(floats(1), **limits)


def test_a_flat_bucket_is_one_aligned_array_of_zeros_with_views():
    shapes = [(3, 5), (), (0, 4), (7,)]
    (plan,) = plan_buckets([ParameterSpec("p", shape, np.dtype("f8")) for shape in shapes[::-1]])
    bucket = FlatBucket(plan, shapes, tail_size=3)
    assert not bucket.array.any()
    assert bucket.array.ctypes.data % 64 == 0
    assert [view.shape for view in bucket.views] == shapes
    for number, view in enumerate([*bucket.views, bucket.tail], 1):
        assert view.size == 0 or np.shares_memory(view, bucket.array)
        view[...] += number
    sizes = [view.size for view in bucket.views]
    assert bucket.array.sum() == np.dot(sizes, [1, 2, 3, 4]) + 3 * 5  # nobody wrote into another's slot
