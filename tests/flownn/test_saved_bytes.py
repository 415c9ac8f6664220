"""What ops keep for their backward, counted in the closures: no more than the gradient needs."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flownn as flow
import flownn.nn.functional as F
from flownn.autograd import wrap
from flownn.overwritten import _saved_arrays, memory_owner

SHAPE = (4, 8, 12, 12)
COUNT = math.prod(SHAPE)


def saved(y: Any, x: Any) -> tuple[bool, bool, int]:
    """Whether the vjp of y holds its input and its result, and the bytes of everything else."""
    mine, result = memory_owner(x.data), memory_owner(y.data)
    owners = {id(memory_owner(array)): memory_owner(array) for array in _saved_arrays(y.grad_fn.vjp)}
    others = [owner for owner in owners.values() if owner is not mine and owner is not result]
    return id(mine) in owners, id(result) in owners, sum(owner.nbytes for owner in others)


CASES: list[tuple[str, Callable[[Any], Any], bool, bool, int]] = [
    # name, op, keeps the input, keeps the result, other bytes at most
    ("relu", F.relu, False, True, 0),
    ("relu6", F.relu6, False, True, 0),
    ("sigmoid", F.sigmoid, False, True, 0),
    ("tanh", F.tanh, False, True, 0),
    ("gelu", F.gelu, True, False, 0),
    ("silu", F.silu, True, False, 0),
    ("softmax", lambda x: F.softmax(x, 1), False, True, 0),
    ("log_softmax", lambda x: F.log_softmax(x, 1), False, True, 0),
    ("dropout", lambda x: F.dropout(x, 0.5), False, False, COUNT // 8),
    ("alpha_dropout", lambda x: F.alpha_dropout(x, 0.5, True), False, False, COUNT // 8),
    ("max_pool2d", lambda x: F.max_pool2d(x, 2), False, False, COUNT // 4 + 64),
    ("avg_pool2d", lambda x: F.avg_pool2d(x, 2), False, False, 0),
    ("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, 1), False, False, 0),
    ("interpolate", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), False, False, 0),
    ("add", lambda x: x + x, False, False, 0),
    ("sum", lambda x: x.sum(), False, False, 0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
@pytest.mark.parametrize("channels_last", [False, True])
def test_what_is_kept(case: Any, channels_last: bool, rng: np.random.Generator) -> None:
    _, op, keeps_input, keeps_result, others = case
    array = rng.standard_normal(SHAPE).astype(np.float32)
    if channels_last:
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    x = wrap(array, requires_grad=True)
    of_input, of_result, rest = saved(op(x), x)
    assert (of_input, of_result) == (keeps_input, keeps_result)
    assert rest <= others


def test_cross_entropy_keeps_the_scores_and_some_numbers_per_row(rng: np.random.Generator) -> None:
    x = wrap(rng.standard_normal((50, 1000)).astype(np.float32), requires_grad=True)
    loss = F.cross_entropy(x, flow.arange(50), label_smoothing=0.1)
    of_input, _, rest = saved(loss, x)
    assert of_input
    assert rest < 50 * 40 + 1000 * 4


def test_a_pooled_input_may_be_overwritten(rng: np.random.Generator) -> None:
    """The maximum keeps neither its input nor its result, so both may change before the backward."""
    leaf = wrap(rng.standard_normal((2, 3, 8, 8)).astype(np.float32), requires_grad=True)
    expected = wrap(leaf.data.copy(), requires_grad=True)
    F.max_pool2d(expected * 1, 3, 2, 1).sum().backward()
    x = leaf * 1
    y = F.max_pool2d(x, 3, 2, 1)
    with flow.no_grad():
        x.zero_()
        y.mul_(0)
    y.backward(np.ones(y.data.shape, np.float32))
    np.testing.assert_array_equal(leaf.grad.data, expected.grad.data)
