"""Indexing, reading and writing, with gradients, against NumPy and PyTorch."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import autograd
from flownn.errors import DtypeError, ShapeError
from tests.helpers.gradcheck import check_vjp
from tests.helpers.op_cases import OpCase, asked, integers, normal

MASK = np.array([[True, False, True, True], [False] * 4, [True] * 4])
KEYS: dict[str, Any] = {
    "int": 1, "negative": -1, "slice": slice(1, None), "step": (slice(None, None, 2), slice(1, 3)),
    "ellipsis": (..., 0), "new dim": (None, 1, ..., None), "mask": MASK, "row mask": np.array([True, False, True]),
    "list": [2, 0, 2], "array": np.array([[0, 1], [2, 2]]), "pair": ([0, 2, 0], [1, 3, 1]),
    "mixed": (slice(1, 3), [0, 0]), "grid": (np.array([[0], [2]]), np.array([[1, 2]])), "nothing": [],
    "int and array": (1, [0, 3, 0]), "backwards": (slice(None, None, -1), slice(2, None, -2)),
    "array and new dim": (None, [0, 2], None), "mask and array": (np.array([True, False, True]), [0, 3]),
    "slice between": ([0, 0], slice(1, 3)), "array last": (..., [3, 0, 3]), "0-dim array": np.array(1),
    "outer": (np.array([[0], [2]]), slice(None, None, 3)), "true": True, "false": False,
}  # fmt: skip

# These write to one place twice. PyTorch then passes a gradient to the value that was lost too.
TWICE = ("list", "array", "pair", "mixed", "int and array", "slice between", "array last")
BACKWARDS = ("backwards",)  # which PyTorch does not have


def as_torch(torch: Any, key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(as_torch(torch, each) for each in key)
    if isinstance(key, list):
        return torch.tensor(key, dtype=torch.int64)
    return torch.from_numpy(key) if isinstance(key, np.ndarray) else key


def as_numpy(key: Any) -> Any:
    return np.array(key, dtype=int) if isinstance(key, list) and not key else key


def reading(name: str, key: Any) -> OpCase:
    return OpCase(lambda x: x[key], [(3, 4)], name=f"get-{name}", expected=lambda x: x[as_numpy(key)],
                  torch=None if name in BACKWARDS else lambda torch, x: x[as_torch(torch, key)])  # fmt: skip


def written(x: Any, value: Any, key: Any) -> Any:
    y = x.copy()
    y[as_numpy(key)] = value
    return y


def assign(x: Any, value: Any, key: Any) -> Any:
    y = x.clone()
    y[key] = value
    return y


CASES = [
    *(reading(name, key) for name, key in KEYS.items() if name != "mask"),
    OpCase(lambda x: x[MASK], [(3, 4)], name="get-mask", expected=lambda x: x[MASK],
           torch=lambda torch, x: x[torch.from_numpy(MASK)]),
    *(
        OpCase(lambda x, value, key=key: assign(x, value, key), [(3, 4), ()], name=f"set-{name}",
               expected=lambda x, value, key=key: written(x, value, key),
               torch=None if name in (*TWICE, *BACKWARDS, "false") else
               lambda torch, x, value, key=key: assign(x, value, as_torch(torch, key)))
        for name, key in KEYS.items()
    ),
    OpCase(lambda x, value: assign(x, value, slice(1, 3)), [(3, 4), (1, 4)], name="set-row",
           expected=lambda x, value: written(x, value, slice(1, 3)),
           torch=lambda torch, x, value: assign(x, value, slice(1, 3))),
    OpCase(lambda x, i: flow.index_select(x, -1, i), [(3, 4), (5,)], name="index_select", sample=(normal, integers(4)),
           expected=lambda x, i: x[:, i], torch=lambda torch, x, i: torch.index_select(x, -1, i)),
    OpCase(lambda x, i: flow.gather(x, 1, i), [(3, 4), (2, 6)], name="gather", sample=(normal, integers(4)),
           expected=lambda x, i: np.take_along_axis(x[:2], i, 1), torch=lambda torch, x, i: torch.gather(x, 1, i)),
    OpCase(lambda x, i: flow.gather(x, 0, i), [(3, 2, 2), (5, 2, 1)], name="gather-3d", sample=(normal, integers(3)),
           expected=lambda x, i: np.take_along_axis(x[:, :, :1], i, 0),
           torch=lambda torch, x, i: torch.gather(x, 0, i)),
    OpCase(lambda x: flow.masked_select(x, flow.from_numpy(MASK[0])), [(3, 4)], name="masked_select",
           expected=lambda x: x[:, MASK[0]].reshape(-1),
           torch=lambda torch, x: torch.masked_select(x, torch.from_numpy(MASK[0]))),
    OpCase(lambda x: (x > 0).nonzero(), [(3, 4)], name="nonzero", expected=lambda x: np.argwhere(x > 0),
           torch=lambda torch, x: (x > 0).nonzero(), differentiable=False),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_tensors_are_indices() -> None:
    x = flow.arange(12).reshape(3, 4)
    assert x[flow.tensor(1)].tolist() == [4, 5, 6, 7]
    assert x[flow.tensor([0, 2]), 1].tolist() == [1, 9]
    assert x[x > 9].tolist() == [10, 11]
    assert x[flow.tensor(1) : flow.tensor(3), flow.tensor(0)].tolist() == [4, 8]
    assert [1, 2, 3][flow.tensor(1)] == 2


def test_assignment_converts_to_the_type_of_the_tensor() -> None:
    x = flow.zeros(2, dtype=flow.float64)
    x[0] = 0.1
    assert x[0].item() == 0.1  # and not float32(0.1)
    y = flow.zeros(2, dtype=flow.int32)
    y[:] = flow.tensor([1.7, -2.0])
    assert y.tolist() == [1, -2]
    y[1] = True
    assert (y.tolist(), y.dtype) == ([1, 1], flow.int32)


def test_reading_and_writing_one_tensor_overlapping() -> None:
    x = flow.arange(5)
    x[1:] = x[:-1]
    assert x.tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(("change", "numpy_change"), [
    (lambda y, z: y[1].add_(z), lambda y, z: y[1].__iadd__(z)),
    (lambda y, z: y.__setitem__(0, y[2].clone() * z), lambda y, z: y.__setitem__(0, y[2] * z)),
    (lambda y, z: y.T[1:].mul_(z[:2].reshape(1, 2)[:, :1]), lambda y, z: y.T[1:].__imul__(z[0])),
    (lambda y, z: y.T[1:, ::2].reshape(-1)[:0].sum() + y[:, ::2].T[1].mul_(z[0]),
     lambda y, z: y[:, 2].__imul__(z[0])),
    (lambda y, z: y.view(12)[3:6].copy_(z[:3]), lambda y, z: y.reshape(12)[3:6].__setitem__(slice(None), z[:3])),
])  # fmt: skip
def test_changes_through_views_reach_the_base_and_its_gradient(
    change: Any, numpy_change: Any, rng: np.random.Generator
) -> None:
    def ours(x: Any, z: Any) -> Any:
        y = x * 2
        change(y, z)
        return y * y

    x, z = rng.standard_normal((3, 4)), rng.standard_normal(4)
    want = x * 2
    numpy_change(want, z)
    np.testing.assert_allclose(ours(autograd.wrap(x), autograd.wrap(z)).numpy(), want * want)
    check_vjp(ours, x, z, rng=rng)


def test_augmented_assignment_to_a_part(rng: np.random.Generator) -> None:
    def ours(x: Any, z: Any) -> Any:
        y = x * 2
        y[1] *= z
        y[:, 0] += z[:3]
        return y * y

    check_vjp(ours, rng.standard_normal((3, 4)), rng.standard_normal(4), rng=rng)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: x[3], IndexError, "out of bounds"),
    (lambda x: x[0, 0, 0], IndexError, "too many indices"),
    (lambda x: x.__setitem__(0, flow.zeros(3)), ShapeError, "index assignment: could not broadcast"),
    (lambda x: flow.gather(x, 1, flow.zeros(3, 1)), DtypeError, "gather: expected a tensor of integers as index"),
    (lambda x: flow.gather(x, 1, flow.tensor([[-1]])), IndexError, "gather: positions must be from 0 to 3"),
    (lambda x: flow.gather(x, 1, flow.zeros(4, 1, dtype=flow.int64)), ShapeError, "does not fit"),
    (lambda x: flow.index_select(x, 0, flow.tensor([[1]])), ShapeError, r"shape \(n,\)"),
    (lambda x: flow.masked_select(x, x), DtypeError, "masked_select: expected a bool tensor"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.zeros(3, 4))


def random_key(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """An index of any mixture of parts; it may be out of range or not broadcast."""
    parts: list[Any] = []
    common = [(2,), (3, 2), (1,), ()][rng.integers(4)]
    axis = 0
    for kind in rng.integers(0, 7, len(shape) + 2):
        if kind == 0:
            parts.append(None)
        elif kind == 1 and ... not in [each for each in parts if each is ...]:
            parts.append(...)
        elif axis < len(shape):
            size = shape[axis]
            start, stop = (None if rng.random() < 0.5 else int(rng.integers(-5, 6)) for _ in range(2))
            parts.append([
                int(rng.integers(-size, size)) if size else 0,
                slice(start, stop, (None, 1, 2, -1, -2)[rng.integers(5)]),
                rng.integers(-size, max(size, 1), common), rng.random(size) < 0.5, slice(None),
            ][kind % 5])  # fmt: skip
            axis += 1
    return tuple(parts)


@pytest.mark.parametrize("seed", range(5))
def test_random_keys_read_and_write_as_in_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    read = 0
    for _ in range(100):
        shape = tuple(rng.integers(0, 5, rng.integers(0, 4)))
        array, key = rng.standard_normal(shape), random_key(rng, shape)
        x = autograd.wrap(array.copy()).requires_grad_()
        try:
            want = array[key]
        except IndexError:
            with pytest.raises(IndexError):
                x[key]
            continue
        read += 1
        picked = x[key]
        np.testing.assert_array_equal(picked.detach().numpy(), want)
        g = np.asarray(rng.standard_normal(want.shape))
        picked.backward(g)
        gradient = np.zeros(shape)
        np.add.at(gradient, key, g)
        np.testing.assert_allclose(x.grad.numpy(), gradient, atol=1e-12)

        y, value = x.detach().requires_grad_() * 1, autograd.wrap(g.copy()).requires_grad_()
        y[key] = value
        array[key] = g
        np.testing.assert_array_equal(y.detach().numpy(), array)
        y.backward(array)
        written = np.full(shape, -1)
        written[key] = np.arange(want.size).reshape(want.shape)  # which value stayed
        gradient = np.zeros(want.size)
        for place, number in zip(array.reshape(-1), written.reshape(-1), strict=True):
            if number >= 0:
                gradient[number] = place
        np.testing.assert_array_equal(value.grad.numpy().reshape(-1), gradient)
    assert read > 30
