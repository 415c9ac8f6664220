"""Convolutions, plain and transposed."""

from __future__ import annotations

from tests.parity.spec import WITH_MIXED, Row, Values, row
from tests.parity.windows import each, too_much_output_padding, transposed_sizes

SPATIAL = {1: (9,), 2: (7, 8), 3: (5, 4, 6)}
SMALL = {1: (3,), 2: (3, 3), 3: (3, 2, 3)}


def shapes(n: int) -> list[tuple[int, ...]]:
    """A batch, one sample, without the batch dim, small images, an empty batch, a wrong number of channels."""
    size = SPATIAL[n]
    return [
        (2, -1, *size),
        (1, -1, *size[:-1], size[-1] + 2),
        (-1, *size),
        (2, -1, *SMALL[n]),
        (0, -1, *size),
        (2, 5, *size),
    ]


def fits(c: Values, n: int) -> bool:
    """Groups divide the channels, and the input is (N, C, *spatial) or (C, *spatial) with the right C."""
    right = len(c.shape) in (n + 1, n + 2) and c.shape[-n - 1] == c.in_channels
    return right and c.in_channels % c.groups == 0 and c.out_channels % c.groups == 0


def accepts_conv(n: int, c: Values) -> bool:
    if not fits(c, n) or (c.padding == "same" and max(each(n, c.stride)) > 1):
        return False
    kernel, dilation = each(n, c.kernel_size), each(n, c.dilation)
    for axis, size in enumerate(c.shape[-n:]):
        reach = dilation[axis] * (kernel[axis] - 1)
        before = reach // 2 if c.padding == "same" else 0 if c.padding == "valid" else each(n, c.padding)[axis]
        after = reach - before if c.padding == "same" else before
        if c.padding_mode == "reflect" and max(before, after) >= size:
            return False
        if c.padding_mode == "circular" and max(before, after) > size:
            return False
        if size + before + after <= reach:
            return False
    return True


def conv(n: int) -> Row:
    uneven = (2, 3, 1)[3 - n :] if n > 1 else (2,)
    return row(
        f"Conv{n}d",
        {
            "in_channels": [4, 6],
            "out_channels": [6, 8],
            "kernel_size": [3, uneven, 1, [2] * n],
            "stride": [1, 2, (1, 2, 2)[3 - n :], (3,)],
            "padding": [0, 1, "same", (2, 0, 1)[:n], "valid"],
            "dilation": [1, 2, (2, 1, 1)[:n]],
            "groups": [1, 2, 3],
            "bias": [True, False],
            "padding_mode": ["zeros", "reflect", "replicate", "circular"],
        },
        factors={"shape": shapes(n)},
        channels="in_channels",
        precisions=WITH_MIXED,
        accepts=lambda c: accepts_conv(n, c) and c.precision != "mixed",
    )


def accepts_transposed(n: int, c: Values) -> bool:
    if not fits(c, n) or c.padding_mode != "zeros":
        return False
    if too_much_output_padding(n, c) and c.shape[0]:
        return False
    return min(transposed_sizes(n, c)) > 0


def transposed(n: int) -> Row:
    return row(
        f"ConvTranspose{n}d",
        {
            "in_channels": [4, 6],
            "out_channels": [6, 8],
            "kernel_size": [3, (2, 3, 1)[3 - n :] if n > 1 else (2,), 1],
            "stride": [1, 2, (3, 1, 2)[:n], (2,)],
            "padding": [0, 1, (1, 0, 1) if n == 3 else (2, 0)[:n]],
            "output_padding": [0, 1, (1, 0, 0)[:n]],
            "groups": [1, 2, 3],
            "bias": [True, False],
            "dilation": [1, 2, (1, 2, 1)[:n]],
            "padding_mode": ["zeros", "reflect"],
        },
        factors={"shape": shapes(n)},
        channels="in_channels",
        precisions=WITH_MIXED,
        accepts=lambda c: accepts_transposed(n, c) and c.precision != "mixed",
    )


ROWS = [make(n) for make in (conv, transposed) for n in (1, 2, 3)]
