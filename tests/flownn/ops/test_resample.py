"""Resampling against one new position at a time, and against PyTorch for many sizes and factors."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from flownn.nn import functional as F
from flownn.ops.resample import resample
from tests.helpers.gradcheck import gradients_of
from tests.helpers.op_cases import OpCase, asked


def keys(d: float, a: float = -0.75) -> float:
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def row(old: int, new: int, i: int, mode: str, align_corners: bool, scale: float | None, antialias: bool) -> Any:
    """The weights of the old positions in new position i."""
    weights = np.zeros(old)
    step = 1 / scale if scale else old / new
    if antialias:
        step = (old - 1) / (new - 1) if align_corners else step
        for j in range(old):
            d = (j + 0.5 - (i + 0.5) * step) / max(step, 1)
            weights[j] = max(0, 1 - abs(d)) if mode == "linear" else keys(d, -0.5)
        return weights / weights.sum()
    if mode in ("nearest", "nearest-exact"):
        weights[min(math.floor((i + (mode == "nearest-exact") / 2) * step), old - 1)] = 1
        return weights
    centre = i * (old - 1) / max(new - 1, 1) if align_corners else (i + 0.5) * step - 0.5
    for j in range(-3, old + 4):
        d = centre - j
        weights[min(max(j, 0), old - 1)] += max(0, 1 - abs(d)) if mode == "linear" else keys(d)
    return weights


def one_position_at_a_time(
    x: Any, size: Any, mode: str, align_corners: bool = False, scale: Any = None, antialias: bool = False
) -> Any:
    scale = scale or (None,) * len(size)
    for axis, (new, factor) in enumerate(zip(size, scale, strict=True), start=2):
        rows = [row(x.shape[axis], new, i, mode, align_corners, factor, antialias) for i in range(new)]
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ np.array(rows).T, -1, axis)
    return x


NAMES = {("linear", 1): "linear", ("linear", 2): "bilinear", ("linear", 3): "trilinear", ("cubic", 2): "bicubic"}


def in_torch(
    torch: Any, x: Any, size: Any, mode: str, align_corners: bool | None = None, scale: Any = None, **options: Any
) -> Any:
    name = NAMES.get((mode, len(size)), mode)
    size = size if scale is None else None
    return torch.nn.functional.interpolate(x, size, scale, name, align_corners, **options)


SHAPES = [((2, 3, 5), (8,)), ((2, 3, 7, 4), (3, 9)), ((1, 2, 3, 4, 2), (5, 4, 3))]
CASES = [
    *(OpCase(resample, [shape], {"size": size, "mode": mode}, one_position_at_a_time, torch=in_torch)
      for mode in ("nearest", "nearest-exact", "linear") for shape, size in SHAPES),
    *(OpCase(resample, [shape], {"size": size, "mode": "linear", "align_corners": True}, one_position_at_a_time,
             torch=in_torch) for shape, size in SHAPES),
    *(OpCase(resample, [SHAPES[1][0]], {"size": (3, 9), "mode": "cubic", "align_corners": aligned},
             one_position_at_a_time, torch=in_torch) for aligned in (False, True)),
    # 5 * 1.7 is 8.5: the factor decides where the positions lie, not the ratio 8 / 5
    *(OpCase(resample, [(2, 3, 5, 3)], {"size": (8, 7), "mode": mode, "scale": (1.7, 2.5)}, one_position_at_a_time,
             torch=in_torch) for mode in ("nearest", "nearest-exact", "linear", "cubic")),
    *(OpCase(resample, [(2, 3, 9, 4)], {"size": size, "mode": mode, "antialias": True, **options},
             one_position_at_a_time, torch=in_torch)
      for mode in ("linear", "cubic")
      for size, options in (((3, 7), {}), ((2, 2), {"align_corners": True}), ((6, 2), {"scale": (0.7, 0.6)}))),
    OpCase(resample, [(0, 3, 4)], {"size": (8,), "mode": "linear"}, one_position_at_a_time, torch=in_torch),
    OpCase(resample, [(2, 1, 1, 1)], {"size": (3, 2), "mode": "cubic"}, one_position_at_a_time, torch=in_torch),
    OpCase(resample, [(2, 3, 4, 5)], {"size": (1, 1), "mode": "linear", "align_corners": True},
           one_position_at_a_time, torch=in_torch),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "cubic"])
def test_sizes_and_factors_of_all_kinds_agree_with_torch(mode: str, dtype: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    goals: list[Any] = [*range(1, 24, 2), 0.34, 0.5, 0.7, 1.2, 1.7, 2.0, 2.5, 3.0]
    for old, goal in itertools.product((1, 2, 3, 5, 7, 11), goals):
        by_factor = isinstance(goal, float)
        new = math.floor(old * goal) if by_factor else goal
        if new < 1 or (mode == "cubic" and by_factor and new == old):
            continue  # (theirs copies in the backward, but not in the forward)
        x = rng.standard_normal((2, 3, old, old)).astype(dtype)
        options = {"scale_factor": (goal, goal)} if by_factor else {"size": (goal, goal)}
        name = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
        theirs = torch.tensor(x, requires_grad=True)
        want = torch.nn.functional.interpolate(theirs, mode=name, **options)
        g = rng.standard_normal(tuple(want.shape)).astype(dtype)
        want.backward(torch.tensor(g))
        y = F.interpolate(flow.tensor(x), mode=name, **options).data
        (gradient,) = gradients_of(lambda x, m=name, o=options: F.interpolate(x, mode=m, **o), [x], [g])
        tolerance = {"float32": 3e-5, "float64": 1e-12}[dtype]
        np.testing.assert_allclose(y, want.detach().numpy(), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=tolerance, atol=tolerance * 10)


def test_channels_innermost_stay_innermost() -> None:
    for x in (flow.ones(2, 3, 4, 5), flow.ones(2, 4, 5, 3).permute(0, 3, 1, 2)):
        y = resample(x, size=(6, 2), mode="linear").data
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous


def test_nearest_takes_bytes() -> None:
    x = flow.tensor([[[1, 2, 255]]], dtype=flow.uint8)
    y = F.interpolate(x, scale_factor=2)
    assert y.dtype is flow.uint8
    assert y.data.tolist() == [[[1, 1, 2, 2, 255, 255]]]
    with pytest.raises(DtypeError, match="linear"):
        F.interpolate(x, scale_factor=2, mode="linear")
    with pytest.raises(DtypeError, match="nearest"):
        F.interpolate(flow.arange(3).reshape(1, 1, 3), scale_factor=2)


def test_a_dim_that_keeps_its_size_is_copied() -> None:
    x = flow.randn(1, 1, 4, 3)
    for options in ({}, {"mode": "bilinear"}, {"mode": "bilinear", "antialias": True}):
        np.testing.assert_array_equal(F.interpolate(x, scale_factor=1.2, **options).data, x.data)
    y = F.interpolate(x, size=(4, 3))
    np.testing.assert_array_equal(y.data, x.data)
    assert not np.shares_memory(y.data, x.data)


@pytest.mark.torch
def test_area_and_recomputed_factors() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 5))
    for options in (
        {"size": (3, 4), "mode": "area"},
        {"scale_factor": 0.6, "mode": "area"},
        {"scale_factor": (1.7, 0.5), "mode": "bilinear", "recompute_scale_factor": True},
        {"scale_factor": (1.7, 0.5), "mode": "bicubic", "recompute_scale_factor": False, "align_corners": False},
        {"size": 4, "mode": "bilinear", "align_corners": True},
        {"scale_factor": 2, "mode": "nearest-exact"},
        {"scale_factor": 0.4, "mode": "bilinear", "antialias": True},
    ):
        want = torch.nn.functional.interpolate(torch.tensor(x), **options).numpy()
        np.testing.assert_allclose(F.interpolate(flow.tensor(x), **options).data, want, rtol=1e-12, atol=1e-13)


IMAGE = flow.ones(1, 1, 4, 4)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({}, ValueError, "expected either size or scale_factor, got None and None"),
    ({"size": 2, "scale_factor": 2}, ValueError, "expected either size or scale_factor, got 2 and 2"),
    ({"size": 2, "mode": "lanczos"}, ValueError, "a mode of nearest, .*bicubic, got 'lanczos'"),
    ({"size": 2, "align_corners": False}, ValueError, "align_corners is for the linear and cubic modes"),
    ({"size": 2, "mode": "area", "align_corners": True}, ValueError, "leave it out for 'area'"),
    ({"size": 2, "recompute_scale_factor": True}, ValueError, "recompute_scale_factor is for scale_factor"),
    ({"size": 2, "antialias": True}, ValueError, "antialias is for the modes bilinear and bicubic, got 'nearest'"),
    ({"size": (2, 2, 2)}, ValueError, r"interpolate.size: expected an int or 2 ints, got \(2, 2, 2\)"),
    ({"size": 0}, ValueError, "interpolate.size: expected at least 1, got 0"),
    ({"scale_factor": (1, 2, 3)}, ValueError, "a positive scale_factor or 2 of them"),
    ({"scale_factor": -1}, ValueError, "a positive scale_factor or 2 of them, got -1"),
    ({"scale_factor": 0.2}, ShapeError, r"scale_factor 0.2 leaves nothing of \(4, 4\)"),
    ({"size": 2, "mode": "linear"}, ShapeError, r"expected input \(N, C, W\) .*'linear', got shape \(1, 1, 4, 4\)"),
    ({"size": 2, "mode": "trilinear"}, ShapeError, r"expected input \(N, C, D, H, W\)"),
])  # fmt: skip
def test_what_is_refused(options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        F.interpolate(IMAGE, **options)


def test_the_op_refuses_modes_and_shapes() -> None:
    with pytest.raises(
        ValueError, match="resample: expected a mode of nearest, nearest-exact, linear, cubic, got 'are"
    ):
        resample(IMAGE, size=(3, 3), mode="area")
    for option in ("align_corners", "antialias"):
        with pytest.raises(ValueError, match="are for the modes linear and cubic, got 'nearest'"):
            resample(IMAGE, size=(3, 3), mode="nearest", **{option: True})
    with pytest.raises(ShapeError, match=r"resample: expected input \(N, C, W\) and sizes of at least 1"):
        resample(IMAGE, size=(3,), mode="nearest")
    with pytest.raises(ShapeError, match=r"got shape \(1, 1, 0\) and size \(3,\)"):
        resample(flow.ones(1, 1, 0), size=(3,), mode="nearest")
