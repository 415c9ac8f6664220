"""Joining, cutting and moving elements against NumPy and PyTorch."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import DtypeError, ShapeError
from tests.helpers.op_cases import OpCase, asked


def named(name: str, shapes: Any, expected: Any, *args: Any, **attrs: Any) -> OpCase:
    """A function of the same name and arguments here and in PyTorch."""
    return OpCase(
        lambda *x: getattr(flow, name)(*x, *args, **attrs),
        shapes,
        name="-".join([name, *map(str, (*shapes, *args)), *(f"{k}={v}" for k, v in attrs.items())]).replace(" ", ""),
        expected=expected,
        torch=lambda torch, *x: getattr(torch, name)(*x, *args, **attrs),
    )


def listed(name: str, shapes: Any, expected: Any, **attrs: Any) -> OpCase:
    """The same for functions that take one list of tensors."""
    return OpCase(
        lambda *x: getattr(flow, name)(list(x), **attrs),
        shapes,
        name="-".join([name, *map(str, shapes)]).replace(" ", ""),
        expected=lambda *x: expected(x),
        torch=lambda torch, *x: getattr(torch, name)(list(x), **attrs),
    )


COUNTS = np.array([2, 0, 3])
CASES = [
    listed("hstack", [(2, 3), (2, 1)], np.hstack), listed("hstack", [(2,), (3,)], np.hstack),
    listed("vstack", [(3,), (2, 3)], np.vstack), listed("dstack", [(2, 3), (2, 3)], np.dstack),
    listed("column_stack", [(3,), (3, 2)], np.column_stack), listed("concat", [(2, 3), (1, 3)], np.concatenate),
    listed("row_stack", [(3,), (2, 3)], np.vstack),
    named("tensor_split", [(7, 2)], lambda x: tuple(np.array_split(x, 3)), 3),
    named("tensor_split", [(2, 7)], lambda x: tuple(np.split(x, [1, 3], 1)), (1, 3), dim=1),
    named("tile", [(2, 3)], lambda x: np.tile(x, (2, 1, 2)), (2, 1, 2)),
    named("tile", [(2, 3)], lambda x: np.tile(x, 2), (2,)),
    named("repeat_interleave", [(2, 3)], lambda x: np.repeat(x, 2, 1), 2, dim=1),
    named("repeat_interleave", [(2, 3)], lambda x: np.repeat(x, 3), 3),
    OpCase(lambda x: flow.repeat_interleave(x, flow.from_numpy(COUNTS), 1), [(2, 3)], name="repeat_interleave-counts",
           expected=lambda x: np.repeat(x, COUNTS, 1),
           torch=lambda torch, x: torch.repeat_interleave(x, torch.from_numpy(COUNTS), 1)),
    named("roll", [(3, 4)], lambda x: np.roll(x, 5), 5), named("roll", [(3, 4)], lambda x: np.roll(x, -1, 1), -1, 1),
    named("roll", [(3, 4)], lambda x: np.roll(x, (1, 2), (0, 1)), (1, 2), (0, 1)),
    named("fliplr", [(2, 3, 2)], np.fliplr), named("flipud", [(3,)], np.flipud), named("flipud", [(3, 2)], np.flipud),
    *(named("rot90", [(2, 3)], lambda x, k=k: np.rot90(x, k), k) for k in (-1, 0, 1, 2, 3, 5)),
    named("rot90", [(2, 3, 4)], lambda x: np.rot90(x, 1, (2, 0)), 1, (2, 0)),
    named("tril", [(3, 4)], np.tril), named("triu", [(2, 3, 3)], np.triu),
    named("tril", [(3, 4)], lambda x: np.tril(x, 1), 1), named("triu", [(3, 4)], lambda x: np.triu(x, -1), -1),
    named("diag", [(3,)], np.diag), named("diag", [(3, 4)], lambda x: np.diag(x, 1), 1),
    named("diag", [(2,)], lambda x: np.diag(x, -2), -2), named("diagflat", [(2, 2)], np.diagflat),
    named("diagonal", [(3, 4)], np.diagonal),
    named("diagonal", [(2, 3, 3)], lambda x: np.diagonal(x, -1, 2, 1), -1, 2, 1),
    named("diagonal", [(3, 2)], lambda x: np.diagonal(x, 5), 5),
    named("diag_embed", [(2, 3)], lambda x: np.stack([np.diag(row, 1) for row in x]), offset=1),
    named("diag_embed", [(2, 3)], lambda x: np.stack([np.diag(row, -1) for row in x], -1), -1, 0, 1),
    named("block_diag", [(2, 3), (2,)], lambda x, y: np.block([[x, np.zeros((2, 2))], [np.zeros((1, 3)), y[None]]])),
    named("diff", [(2, 4)], np.diff), named("diff", [(4, 2)], lambda x: np.diff(x, 2, 0), 2, 0),
    named("ravel", [(2, 3)], np.ravel), named("adjoint", [(2, 3, 4)], lambda x: x.swapaxes(1, 2)),
    named("atleast_3d", [(2,)], lambda x: x[None, :, None]), named("atleast_2d", [()], np.atleast_2d),
    OpCase(lambda x, y: flow.meshgrid(x, y, indexing="ij"), [(2,), (3,)], name="meshgrid",
           expected=lambda x, y: tuple(np.meshgrid(x, y, indexing="ij")),
           torch=lambda torch, x, y: torch.meshgrid(x, y, indexing="ij")),
    OpCase(lambda x, y: flow.meshgrid([x, y], indexing="xy"), [(2,), (3,)], name="meshgrid-xy",
           expected=lambda x, y: tuple(np.meshgrid(x, y)),
           torch=lambda torch, x, y: torch.meshgrid(x, y, indexing="xy")),
    OpCase(lambda x: x.unfold(1, 3, 2), [(2, 8)], name="unfold",
           expected=lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, 1)[:, ::2],
           torch=lambda torch, x: x.unfold(1, 3, 2)),
    OpCase(lambda x: x.unfold(0, 2, 1), [(4, 3)], name="unfold-overlapping",
           expected=lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, 0),
           torch=lambda torch, x: x.unfold(0, 2, 1)),
    OpCase(lambda x, y: flow.broadcast_tensors(x, y), [(2, 1), (3,)], name="broadcast_tensors",
           expected=lambda x, y: tuple(np.broadcast_arrays(x, y)),
           torch=lambda torch, x, y: torch.broadcast_tensors(x, y)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("view", [
    lambda x: x.diagonal(), lambda x: x.unfold(1, 2, 2), lambda x: x.narrow(1, 0, 2), lambda x: x.select(0, 1),
    lambda x: x.tensor_split(2)[1], lambda x: x.ravel(), lambda x: x.swapdims(0, 1), lambda x: x.moveaxis(0, 1),
])  # fmt: skip
def test_views_share_memory_and_changes_reach_the_base(view: Any) -> None:
    x = flow.zeros(4, 4, requires_grad=True)
    y = x * 1
    part = view(y)
    assert np.shares_memory(part.data, y.data)
    part.add_(2)
    assert y.sum().item() == 2 * part.numel()
    (y * y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * y.detach().numpy())


def test_overlapping_windows_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        flow.zeros(4).unfold(0, 2, 1).add_(1)


def test_fill_diagonal() -> None:
    x = flow.zeros(2, 3)
    assert x.fill_diagonal_(5).tolist() == [[5, 0, 0], [0, 5, 0]]
    with pytest.raises(ShapeError, match="fill_diagonal: expected a matrix"):
        flow.zeros(2).fill_diagonal_(1)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: flow.tensor_split(x, 0), ShapeError, "positive number of parts, got 0"),
    (lambda x: flow.tensor_split(flow.tensor(1), 2), ShapeError, "got a 0-dim tensor"),
    (lambda x: flow.repeat_interleave(x, flow.tensor([1, 2, 3]), 0), ShapeError, "expected 1 or 2 counts for dim 0"),
    (lambda x: flow.repeat_interleave(x, -1), ValueError, "counts from 0, got -1"),
    (lambda x: flow.repeat_interleave(x, flow.ones(2), 0), DtypeError, "tensor of integers"),
    (lambda x: flow.roll(x, (1, 2)), ShapeError, "one shift without dims"),
    (lambda x: flow.roll(x, (1, 2), 0), ShapeError, "a shift per dim"),
    (lambda x: flow.rot90(x, 1, (0, 0)), ShapeError, "appears twice"),
    (lambda x: flow.rot90(x, 1, (0,)), ShapeError, "expected two dims"),
    (lambda x: flow.tril(x[0]), ShapeError, "tril: expected two dims or more"),
    (lambda x: flow.fliplr(x[0]), ShapeError, "fliplr"),
    (lambda x: flow.diag(x[None]), ShapeError, "diag: expected one or two dims"),
    (lambda x: flow.diagonal(x, 0, 1, -1), ShapeError, "two different dims"),
    (lambda x: flow.meshgrid(x), ShapeError, "meshgrid: expected vectors"),
    (lambda x: flow.meshgrid(x[0], indexing="ab"), ValueError, "'ij' or 'xy'"),
    (lambda x: x.unfold(1, 4, 1), ShapeError, "a size from 0 to 3 and a positive step"),
    (lambda x: flow.diff(flow.tensor(1)), ShapeError, "diff: expected one dim or more"),
    (lambda x: flow.block_diag(x[None]), ShapeError, "block_diag: expected matrices"),
    (lambda x: flow.broadcast_tensors(x, flow.zeros(2)), ShapeError, r"\(2, 3\), \(2,\) do not broadcast"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(flow.zeros(2, 3))
