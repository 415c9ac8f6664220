"""What users may write for sizes, and what ops take: one entry per spatial dim, zeros on both sides."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from flownn.ops.axes import axis_of

__all__ = [
    "Sizes",
    "adaptive_sizes",
    "conv_padding",
    "legacy_reduction",
    "ntuple",
    "output_padding_for",
    "pad_pairs",
    "softmax_axis",
    "transposed_padding",
]

Sizes = int | Sequence[int]  # the same for all spatial dims, or one for each


def ntuple(value: Any, n: int, name: str, minimum: int = 0) -> tuple[int, ...]:
    """``value`` (an int, or one int or n ints in a sequence) as n ints of at least ``minimum``.

    Raises:
        ValueError: another number of entries, something else than ints, or a smaller one; the message says ``name``.

    >>> ntuple(3, 2, "Conv2d.kernel_size")
    (3, 3)
    """
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(values) == 1:
        values *= n
    if len(values) != n or any(isinstance(v, bool) or not hasattr(v, "__index__") for v in values):
        raise ValueError(f"{name}: expected an int or {n} ints, got {value!r}")
    if min(values) < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {value!r}")
    return tuple(int(v) for v in values)


def adaptive_sizes(value: Any, n: int, name: str) -> tuple[int | None, ...]:
    """An output size per dim: a positive int, or None for the input's own."""
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(sizes) != n:
        raise ValueError(f"{name}: expected an int, None or {n} of them, got {value!r}")
    given = ntuple([1 if size is None else size for size in sizes], n, name, minimum=1)
    return tuple(None if size is None else g for size, g in zip(sizes, given, strict=True))


def conv_padding(
    padding: Any, kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int], name: str
) -> tuple[tuple[int, int], ...]:
    """Zeros (before, after) per dim for an int, n ints, "valid" or "same".

    "same" puts the odd zero behind, as PyTorch does.

    Raises:
        ValueError: another word, or "same" with a stride.
    """
    if padding == "valid":
        return ((0, 0),) * len(kernel_size)
    if padding == "same":
        if max(stride) > 1:
            raise ValueError(f"{name}: padding='same' needs stride 1, got {tuple(stride)}")
        reach = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
        return tuple((r // 2, r - r // 2) for r in reach)
    if isinstance(padding, str):
        raise ValueError(f"{name}: expected padding as ints, 'valid' or 'same', got {padding!r}")
    return tuple((p, p) for p in ntuple(padding, len(kernel_size), f"{name}.padding"))


def transposed_padding(
    padding: Sequence[int], output_padding: Sequence[int], stride: Sequence[int], dilation: Sequence[int], name: str
) -> tuple[tuple[int, int], ...]:
    """Elements (before, after) per dim that a transposed convolution drops; a negative number adds zeros.

    Raises:
        ValueError: ``output_padding`` reaches both stride and dilation.
    """
    if any(o >= max(s, d) for o, s, d in zip(output_padding, stride, dilation, strict=True)):
        raise ValueError(
            f"{name}: expected output_padding below stride or dilation, got output_padding {tuple(output_padding)}, "
            f"stride {tuple(stride)}, dilation {tuple(dilation)}"
        )
    return tuple((p, p - o) for p, o in zip(padding, output_padding, strict=True))


def output_padding_for(
    output_size: Sequence[int],
    spatial: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    name: str,
) -> tuple[int, ...]:
    """The ``output_padding`` with which a transposed convolution of ``spatial`` gives ``output_size``.

    Args:
        output_size: The spatial sizes; dims before them are ignored.
        spatial: Spatial sizes of the input.
        kernel_size: As of the layer, one per dim; as are ``stride``, ``padding`` and ``dilation``.
        stride: See ``kernel_size``.
        padding: See ``kernel_size``.
        dilation: See ``kernel_size``.
        name: Who asks, for the message.

    Raises:
        ValueError: too few sizes or too many, or sizes that no ``output_padding`` below the stride gives.
    """
    n = len(spatial)
    wanted = tuple(output_size)[-n:]
    smallest = tuple(
        (size - 1) * s - 2 * p + d * (k - 1) + 1
        for size, k, s, p, d in zip(spatial, kernel_size, stride, padding, dilation, strict=True)
    )
    largest = tuple(low + s - 1 for low, s in zip(smallest, stride, strict=True))
    if not n <= len(output_size) <= n + 2 or any(
        not low <= size <= high for low, size, high in zip(smallest, wanted, largest, strict=True)
    ):
        raise ValueError(
            f"{name}: expected an output_size of {n} sizes from {smallest} to {largest} for an input of "
            f"{tuple(spatial)}, got {tuple(output_size)}"
        )
    return tuple(size - low for low, size in zip(smallest, wanted, strict=True))


def pad_pairs(padding: Sequence[int], name: str) -> tuple[tuple[int, int], ...]:
    """(before, after) per dim, in the order of dims, from PyTorch's flat list that starts with the last dim.

    >>> pad_pairs([1, 2, 3, 4], "pad")
    ((3, 4), (1, 2))
    """
    if len(padding) % 2 or not all(hasattr(p, "__index__") for p in padding):
        raise ValueError(f"{name}: expected pairs of ints (left, right, top, bottom, ...), got {padding!r}")
    pairs = [(int(before), int(after)) for before, after in zip(padding[::2], padding[1::2], strict=True)]
    return tuple(reversed(pairs))


def softmax_axis(name: str, dim: int | None, ndim: int) -> int:
    """``dim`` counted from the front, or what OneFlow and PyTorch take for None: 0 for 0, 1 or 3 dims, else 1.

    Raises:
        ShapeError: there is no such dim.
    """
    if dim is None:
        dim = 0 if ndim in (0, 1, 3) else 1
    return axis_of(name, ndim, dim)


def legacy_reduction(name: str, size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """``reduction``, or what PyTorch's older arguments ask for; where one of them is given, they decide.

    ``reduce=False`` is "none"; else ``size_average=False`` is "sum" and everything else "mean".
    """
    if size_average is None and reduce is None:
        return reduction
    chosen = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(
        f"{name}: size_average and reduce are deprecated; use reduction={chosen!r}", DeprecationWarning, stacklevel=3
    )
    return chosen
