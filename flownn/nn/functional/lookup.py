"""Tables looked up by number, as functions."""

from __future__ import annotations

from flownn.ops import embedding as embedding_ops
from flownn.tensor import Tensor

__all__ = ["embedding", "one_hot"]


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float | None = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of ``weight`` (V, D) with the numbers in ``input`` (...), as a tensor (..., D).

    Args:
        input: Integers from 0 to V - 1.
        weight: The table.
        padding_idx: Number of a row that gets no gradient; negative ones count from the end.
        max_norm: Before they are looked up, scale longer ones of these rows down to this norm, in ``weight`` itself.
        norm_type: Order of that norm; None means 2.
        scale_grad_by_freq: Divide the gradient of every row by how often its number occurs in ``input``.
        sparse: Not available.

    Raises:
        ValueError: ``padding_idx`` is not a row.
        IndexError: a number is out of range.
        NotImplementedError: ``sparse`` is true.
    """
    if sparse:
        raise NotImplementedError("embedding: sparse=True is not available; gradients are dense")
    if padding_idx is not None and not -len(weight) <= padding_idx < len(weight):
        raise ValueError(
            f"embedding: expected a padding_idx from {-len(weight)} to {len(weight) - 1}, got {padding_idx}"
        )
    if max_norm is not None:
        order = 2.0 if norm_type is None else norm_type
        embedding_ops.renormalize_rows(weight, input, max_norm=max_norm, norm_type=order)
    result: Tensor = embedding_ops.embedding(
        weight, input, padding_idx=padding_idx, scale_grad_by_freq=scale_grad_by_freq
    )
    return result


def one_hot(input: Tensor, num_classes: int = -1, on_value: float = 1, off_value: float = 0) -> Tensor:
    """A dim of classes behind those of ``input``, with ``on_value`` at the class and ``off_value`` elsewhere.

    Args:
        input: Class numbers, integers of any shape (...).
        num_classes: Size of the new dim; -1 means the largest number plus 1.
        on_value: What the class itself gets.
        off_value: What the others get. The result has the type of the two: int64, or the default floating point type.

    Raises:
        ValueError: a number is not from 0 to ``num_classes - 1``, or there are none to tell ``num_classes``.
        DtypeError: ``input`` holds no integers.

    Reference:
        ``torch.nn.functional.one_hot``; the two values as in ``oneflow.one_hot``.

    >>> import flownn as flow
    >>> one_hot(flow.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]], dtype=flownn.int64)
    """
    result: Tensor = embedding_ops.one_hot(input, num_classes=num_classes, on_value=on_value, off_value=off_value)
    return result
