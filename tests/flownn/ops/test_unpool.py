"""Putting maxima back, and adaptive max pooling, against loops over places and against PyTorch."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flownn.errors import DtypeError, ShapeError
from flownn.ops.unpool import adaptive_max_pool, adaptive_max_pool_with_indices, max_unpool
from tests.helpers.op_cases import OpCase, asked


def slow_unpool(x: Any, indices: Any, *, output_size: Any) -> Any:
    n = len(output_size)
    y = np.zeros((*x.shape[:-n], *output_size))
    for at in np.ndindex(*x.shape):
        y[(*at[:-n], *np.unravel_index(indices[at], output_size))] = x[at]
    return y


def torch_unpool(torch: Any, x: Any, indices: Any, *, output_size: Any) -> Any:
    if len(output_size) == 3:
        return torch.ops.aten.max_unpool3d(x, indices, output_size, (1, 1, 1), (0, 0, 0))
    if len(output_size) == 2:
        return torch.ops.aten.max_unpool2d(x, indices, output_size)
    return torch.ops.aten.max_unpool2d(x[..., None], indices[..., None], (*output_size, 1))[..., 0]


def different(length: int) -> Callable[..., Any]:
    """Positions below ``length``, none twice in a channel of one spatial dim or more."""

    def sample(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        rows = [rng.permutation(length)[: math.prod(shape[2:])] for _ in range(math.prod(shape[:2]))]
        return np.array(rows, np.int64).reshape(shape)

    return sample


def slow_adaptive(x: Any, *, output_size: Any) -> tuple[Any, Any]:
    n = len(output_size)
    spatial = x.shape[-n:]
    out = [want or size for size, want in zip(spatial, output_size, strict=True)]
    y = np.empty((*x.shape[:-n], *out))
    indices = np.empty(y.shape, np.int64)
    numbers = np.arange(math.prod(spatial)).reshape(spatial)
    for at in np.ndindex(*y.shape):
        box = tuple(
            slice(math.floor(i * size / o), math.ceil((i + 1) * size / o))
            for i, size, o in zip(at[-n:], spatial, out, strict=True)
        )
        values = x[at[:-n]][box].ravel()
        y[at] = values.max()
        indices[at] = numbers[box].ravel()[list(values == values.max()).index(True)]
    return y, indices


def torch_adaptive(torch: Any, x: Any, *, output_size: Any) -> Any:
    return getattr(torch.nn.functional, f"adaptive_max_pool{len(output_size)}d")(x, output_size, return_indices=True)


CASES = [
    *(
        OpCase(max_unpool, shapes=[shape, shape], attrs={"output_size": out}, expected=slow_unpool, torch=torch_unpool,
               sample=[lambda rng, shape: rng.standard_normal(shape), different(math.prod(out))])
        for shape, out in [
            ((2, 3, 4), (9,)), ((2, 3, 2, 3), (4, 7)), ((1, 2, 2, 2, 3), (3, 4, 5)), ((0, 3, 2), (4,)),
        ]
    ),
    *(
        OpCase(adaptive_max_pool_with_indices, shapes=[shape], attrs={"output_size": out}, expected=slow_adaptive,
               torch=torch_adaptive)
        for shape, out in [
            ((2, 3, 7), (3,)), ((3, 7), (4,)), ((2, 2, 3), (5,)), ((2, 3, 7, 5), (3, None)), ((2, 3, 4, 6), (1, 1)),
            ((1, 2, 5, 4, 3), (2, 3, 2)), ((0, 2, 4), (2,)),
        ]
    ),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_equal_elements_and_nan() -> None:
    x = np.array([[[1.0, 3, 3, 2, np.nan, 5]]])
    y, indices = adaptive_max_pool_with_indices(x, output_size=(2,))
    assert y.data[0, 0, 0] == 3
    assert np.isnan(y.data[0, 0, 1])
    assert indices.tolist() == [[[1, 4]]]
    np.testing.assert_array_equal(adaptive_max_pool(x, output_size=(2,)).data, y.data)


def test_the_last_of_two_at_one_place_stays() -> None:
    assert max_unpool(np.array([[[1.0, 2.0]]]), np.zeros((1, 1, 2), np.int64), output_size=(3,)).tolist() == [
        [[2, 0, 0]]
    ]


def test_wrong_input() -> None:
    x, indices = np.ones((1, 1, 2)), np.array([[[0, 4]]])
    with pytest.raises(
        IndexError, match=r"MaxUnpool1d: expected indices from 0 to 3 for an output of size \(4,\), got 0"
    ):
        max_unpool(x, indices, output_size=(4,))
    with pytest.raises(IndexError, match="got -1 to 0"):
        max_unpool(x, np.array([[[0, -1]]]), output_size=(4,))
    with pytest.raises(DtypeError, match="MaxUnpool1d: expected int64 indices, got int32"):
        max_unpool(x, indices.astype(np.int32), output_size=(4,))
    with pytest.raises(ShapeError, match=r"MaxUnpool1d: expected indices of shape \(1, 1, 2\), got \(1, 2\)"):
        max_unpool(x, indices[0], output_size=(4,))
    with pytest.raises(ShapeError, match=r"AdaptiveMaxPool2d: expected input \(N, C, H, W\) or \(C, H, W\).*\(2, 3\)"):
        adaptive_max_pool(np.ones((2, 3)), output_size=(1, 1))
    with pytest.raises(ShapeError, match="no empty spatial dim"):
        adaptive_max_pool(np.ones((2, 3, 0)), output_size=(1,))
    with pytest.raises(DtypeError, match="AdaptiveMaxPool1d: expected a floating point input"):
        adaptive_max_pool(np.ones((2, 3, 4), np.int64), output_size=(1,))
