"""Exchange of channels and pixels, element by element."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import ShapeError
from flownn.ops.pixelshuffle import pixel_shuffle, pixel_unshuffle
from tests.helpers.op_cases import OpCase, asked


def shuffled(x: Any, factors: Any) -> Any:
    (r, s), (channels, height, width) = factors, x.shape[-3:]
    y = np.zeros((*x.shape[:-3], channels // (r * s), height * r, width * s))
    for c, i, j in np.ndindex(*y.shape[-3:]):
        y[..., c, i, j] = x[..., c * r * s + i % r * s + j % s, i // r, j // s]
    return y


def unshuffled(x: Any, factors: Any) -> Any:
    (r, s), (channels, height, width) = factors, x.shape[-3:]
    y = np.zeros((*x.shape[:-3], channels * r * s, height // r, width // s))
    for c, i, j in np.ndindex(*x.shape[-3:]):
        y[..., c * r * s + i % r * s + j % s, i // r, j // s] = x[..., c, i, j]
    return y


CASES = [
    OpCase(pixel_shuffle, [(2, 12, 3, 2)], {"factors": (2, 3)}, shuffled),
    OpCase(pixel_shuffle, [(2, 8, 3, 2)], {"factors": (2, 2)}, shuffled,
           torch=lambda torch, x, factors: torch.pixel_shuffle(x, factors[0])),
    OpCase(pixel_shuffle, [(9, 3, 2)], {"factors": (3, 3)}, shuffled,
           torch=lambda torch, x, factors: torch.pixel_shuffle(x, factors[0])),
    OpCase(pixel_shuffle, [(0, 4, 3, 2)], {"factors": (2, 2)}, shuffled),
    OpCase(pixel_shuffle, [(2, 2, 1, 4, 3, 1)], {"factors": (1, 4)}, lambda x, factors: shuffled(x, factors)),
    OpCase(pixel_unshuffle, [(2, 3, 4, 9)], {"factors": (2, 3)}, unshuffled),
    OpCase(pixel_unshuffle, [(2, 3, 4, 6)], {"factors": (2, 2)}, unshuffled,
           torch=lambda torch, x, factors: torch.pixel_unshuffle(x, factors[0])),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_one_undoes_the_other() -> None:
    x = flow.arange(2 * 12 * 3 * 2).reshape(2, 12, 3, 2)
    np.testing.assert_array_equal(pixel_unshuffle(pixel_shuffle(x, factors=(2, 3)), factors=(2, 3)).data, x.data)


@pytest.mark.parametrize(("op", "shape", "message"), [
    (pixel_shuffle, (2, 9, 4, 4), r"pixel_shuffle: expected input \(..., C\*2\*2, H, W\), got shape \(2, 9, 4, 4\)"),
    (pixel_shuffle, (4, 4), r"got shape \(4, 4\)"),
    (pixel_unshuffle, (1, 4, 3), r"pixel_unshuffle: expected input \(..., C, H\*2, W\*2\), got shape \(1, 4, 3\)"),
])  # fmt: skip
def test_shapes_that_do_not_divide(op: Any, shape: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        op(flow.ones(*shape), factors=(2, 2))
