"""Views, joining and splitting against plain NumPy and PyTorch, and which results share memory."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn.errors import ShapeError
from flownn.ops import shape
from tests.helpers.op_cases import OpCase, asked


def method(name: str, *args: Any) -> Any:
    """A PyTorch method with these arguments."""
    return lambda torch, x, **attrs: getattr(x, name)(*args, **attrs)


def case(name: str, shapes: Any, op: Any, expected: Any, torch: Any = None, rtol: Any = None) -> OpCase:
    return OpCase(op, shapes, expected=expected, torch=torch, name=name, rtol=rtol or {})


CASES = [
    case("reshape", [(2, 3, 4)], lambda x: x.reshape(4, -1), lambda x: x.reshape(4, 6), method("reshape", 4, -1)),
    case("reshape-to-0-dim", [(1, 1)], lambda x: x.reshape(()), lambda x: x.reshape(()), method("reshape", ())),
    case("reshape-empty", [(0, 3)], lambda x: x.reshape(3, 0, 2), lambda x: x.reshape(3, 0, 2)),
    case("flatten", [(2, 3, 4)], lambda x: x.flatten(1), lambda x: x.reshape(2, 12), method("flatten", 1)),
    case("flatten-0-dim", [()], lambda x: x.flatten(), lambda x: x.reshape(1), method("flatten")),
    case("unflatten", [(2, 12)], lambda x: x.unflatten(-1, (3, -1)), lambda x: x.reshape(2, 3, 4),
         method("unflatten", -1, (3, -1))),
    case("squeeze", [(1, 3, 1, 2)], lambda x: x.squeeze(), np.squeeze, method("squeeze")),
    case("squeeze-dim", [(1, 3, 1)], lambda x: x.squeeze(-1), lambda x: x[..., 0], method("squeeze", -1)),
    case("squeeze-other-size", [(1, 3, 1)], lambda x: x.squeeze(1), lambda x: x, method("squeeze", 1)),
    case("unsqueeze", [(2, 3)], lambda x: x.unsqueeze(-1), lambda x: x[..., None], method("unsqueeze", -1)),
    case("permute", [(2, 3, 4)], lambda x: x.permute(2, 0, -2), lambda x: x.transpose(2, 0, 1),
         method("permute", 2, 0, -2)),
    case("transpose", [(2, 3, 4)], lambda x: x.transpose(0, -1), lambda x: x.swapaxes(0, 2),
         method("transpose", 0, -1)),
    case("T", [(2, 3, 4)], lambda x: x.T, lambda x: x.T),
    case("mT", [(2, 3, 4)], lambda x: x.mT, lambda x: x.swapaxes(1, 2)),
    case("t", [(2, 3)], lambda x: x.t(), lambda x: x.T, method("t")),
    case("movedim", [(2, 3, 4)], lambda x: x.movedim((0, 1), (-1, 0)), lambda x: np.moveaxis(x, (0, 1), (-1, 0)),
         method("movedim", (0, 1), (-1, 0))),
    case("expand", [(3, 1)], lambda x: x.expand(2, -1, 4), lambda x: np.broadcast_to(x, (2, 3, 4)),
         method("expand", 2, -1, 4)),
    case("expand-to-nothing", [(3, 1)], lambda x: x.expand(3, 0), lambda x: np.broadcast_to(x, (3, 0)),
         method("expand", 3, 0)),
    case("contiguous", [(2, 3)], lambda x: x.T.contiguous(), lambda x: x.T.copy()),
    case("flip", [(2, 3, 4)], lambda x: x.flip((0, -1)), lambda x: x[::-1, :, ::-1], method("flip", (0, -1))),
    case("repeat", [(2, 3)], lambda x: x.repeat(2, 1, 3), lambda x: np.tile(x, (2, 1, 3)), method("repeat", 2, 1, 3)),
    case("cat", [(2, 3), (2, 1), (2, 2)], lambda *xs: flow.cat(xs, dim=-1), lambda *xs: np.concatenate(xs, axis=1),
         lambda torch, *xs: torch.cat(xs, dim=-1)),
    case("cat-with-nothing", [(2, 3), (0,)], lambda *xs: flow.cat(xs[:1] * 2 + xs[1:]) + xs[1].sum(),
         lambda x, _: np.concatenate((x, x))),
    case("stack", [(2, 3), (2, 3)], lambda *xs: flow.stack(xs, dim=1), lambda *xs: np.stack(xs, axis=1),
         lambda torch, *xs: torch.stack(xs, dim=1)),
    case("split", [(5, 2)], lambda x: x.split(2), lambda x: (x[:2], x[2:4], x[4:]), method("split", 2)),
    case("split-sizes", [(2, 5)], lambda x: x.split([1, 4], dim=1), lambda x: (x[:, :1], x[:, 1:]),
         method("split", [1, 4], 1)),
    case("chunk", [(7,)], lambda x: x.chunk(3), lambda x: (x[:3], x[3:6], x[6:]), method("chunk", 3)),
    case("unbind", [(2, 3)], lambda x: x.unbind(1), lambda x: (x[:, 0], x[:, 1], x[:, 2]), method("unbind", 1)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


@pytest.mark.parametrize("function", [
    lambda x: x.view(6), lambda x: x.reshape(3, 2), lambda x: x.T, lambda x: x.unsqueeze(0), lambda x: x[0],
    lambda x: x[:, 1:], lambda x: x.flatten(), lambda x: x.split(1)[1], lambda x: x.detach(), lambda x: x.contiguous(),
])  # fmt: skip
def test_views_share_memory(function: Any) -> None:
    x = flow.zeros(2, 3)
    view = function(x)
    view.fill_(7)
    assert (x.numpy() == 7).sum() == view.numel()
    x.zero_()
    assert view.sum().item() == 0


@pytest.mark.parametrize("function", [
    lambda x: x.T.reshape(6), lambda x: x.clone(), lambda x: x[[0, 1]], lambda x: x.T.contiguous(), lambda x: x.flip(0),
    lambda x: x.to(x.dtype, copy=True), lambda x: x.repeat(1, 1), lambda x: flow.cat([x]), lambda x: x[x == 0],
])  # fmt: skip
def test_copies_do_not(function: Any) -> None:
    x = flow.zeros(2, 3)
    function(x).fill_(7)
    assert x.sum().item() == 0


def test_gradient_of_the_parts_that_were_used() -> None:
    x = flow.arange(5, dtype=flow.float32).requires_grad_()
    first, _, last = x.split(2)
    (first.sum() + 3 * last.sum()).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 1, 0, 0, 3])


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: x.reshape(4, -1), r"reshape: 6 elements of shape \(2, 3\) do not fit into shape \(4, -1\)"),
    (lambda x: x.reshape(-1, -1), "do not fit"),
    (lambda x: x.T.view(6), "use reshape"),
    (lambda x: x.permute(0, 0), "permute: expected each of 2 dims once"),
    (lambda x: x.transpose(0, 2), "transpose: expected a dim from -2 to 1, got 2"),
    (lambda x: x.expand(3, 3), r"expand: shape \(2, 3\) does not expand to \(3, 3\)"),
    (lambda x: flow.cat([x, x.T]), r"cat: .* got \(2, 3\), \(3, 2\)"),
    (lambda x: flow.cat([]), "cat: expected one tensor"),
    (lambda x: flow.stack([x, x.T]), "stack: expected one or more tensors of one shape"),
    (lambda x: x.split([1, 1], 1), "do not add up to size 3"),
    (lambda x: x.chunk(0), "positive number of chunks"),
    (lambda x: x.reshape("a"), "expected integers"),
    (lambda x: x.unsqueeze(0).t(), "at most 2 dims"),
    (lambda x: x.flatten(1, 0), "comes after"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call(flow.zeros(2, 3))


def test_axis_of_a_0_dim_tensor() -> None:
    assert shape.unsqueeze(flow.tensor(1.0), 0).shape == (1,)
    assert flow.tensor(1.0).squeeze(-1).shape == ()
    assert flow.tensor(2.0).sum(0).item() == 2
