"""Where we differ from PyTorch on purpose: the reviewed lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.parity.windows import exceeds_bare_input, too_much_output_padding, transposed_sizes, windows_fit

# Documented names that compute nothing PyTorch computes.
WITHOUT_COUNTERPART = {
    "COCOReader": "reads files; tests/flowdata compares with pycocotools",
    "CoinFlip": "random numbers of our own stream",
    "OFRecordBytesDecoder": "decodes records of files",
    "OFRecordImageDecoder": "decodes records of files",
    "OFRecordImageDecoderRandomCrop": "decodes records of files",
    "OFRecordRawDecoder": "decodes records of files",
    "OFRecordReader": "reads files",
}


@dataclass(frozen=True)
class Difference:
    """Cases in which one of the two refuses, or gives something else than the other."""

    names: str  # of rows, separated by spaces
    when: Callable[[Any], bool]
    here: Literal["refused", "accepted"]  # accepted: we give something else, or anything at all
    reason: str


def _entries(padding: Any) -> int:
    return 1 if isinstance(padding, int) else len(padding)


def _channels_differ(c: Any) -> bool:
    return len(c.shape) > 1 and c.shape[1] != c.num_features


DIFFERENCES = [
    Difference("Embedding", lambda c: c.sparse, "refused", "design, section 8: sparse gradients are not implemented"),
    *(
        Difference(
            names,
            lambda c, n=n: _entries(c.padding) not in (1, 2 * n),
            "refused",
            "the text: an int, or two per dim; PyTorch passes any number on to a function for any number of dims",
        )
        for n, names in (
            (1, "ConstantPad1d"),
            (2, "ConstantPad2d ZeroPad2d ReflectionPad2d ReplicationPad2d"),
            (3, "ConstantPad3d"),
        )
    ),
    Difference(
        "AvgPool1d AvgPool2d AvgPool3d",
        lambda c: c.precision == "int64",
        "refused",
        "a mean of integers is not an integer; PyTorch cuts it off",
    ),
    Difference(
        "Softmax LogSoftmax AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d",
        lambda c: c.precision == "int64" and 0 in c.shape,
        "refused",
        "PyTorch does not look at the type of an empty input",
    ),
    Difference(
        "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d "
        "BatchNorm1d BatchNorm2d BatchNorm3d FusedBatchNorm1d FusedBatchNorm2d FusedBatchNorm3d",
        lambda c: (
            c.precision == "mixed" and 0 in c.shape and (not hasattr(c, "affine") or c.affine or c.track_running_stats)
        ),
        "refused",
        "PyTorch does not always compare the types of an empty batch and the weight",
    ),
    Difference(
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d",
        lambda c: c.output_size == 0,
        "refused",
        "PyTorch gives a result without elements, and fails in its gradient",
    ),
    Difference(
        "MaxPool1d",
        lambda c: c.precision == "int64" and not c.return_indices and windows_fit(1, c, c.dilation),
        "accepted",
        "PyTorch takes integers in 2d, in 3d and with indices, only here it does not",
    ),
    Difference(
        "AvgPool3d",
        lambda c: exceeds_bare_input(3, c),
        "accepted",
        "PyTorch's AvgPool3d, unlike 1d and 2d, compares the kernel with the input without its padding",
    ),
    Difference(
        "BatchNorm1d BatchNorm2d BatchNorm3d FusedBatchNorm1d FusedBatchNorm2d FusedBatchNorm3d",
        _channels_differ,
        "refused",
        "the text: num_features is the input's C; PyTorch looks only where there are parameters or statistics",
    ),
    *(
        Difference(
            f"InstanceNorm{n}d",
            lambda c, n=n: (
                (len(c.shape) == n + 2 and not c.shape[0] and (c.affine or (c.training and c.track_running_stats)))
                and not (c.precision == "mixed" and c.affine)
            ),
            "accepted",
            "an empty batch leaves our statistics as they are; PyTorch's become nan, or it fails with an IndexError",
        )
        for n in (1, 2, 3)
    ),
    *(
        Difference(
            f"ConvTranspose{n}d",
            lambda c, n=n: c.shape[0] == 0 and too_much_output_padding(n, c),
            "refused",
            "PyTorch does not check the output padding of an empty batch",
        )
        for n in (1, 2, 3)
    ),
    *(
        Difference(
            f"ConvTranspose{n}d",
            lambda c, n=n: len(c.shape) > n and min(transposed_sizes(n, c)) == 0,
            "refused",
            "a result without elements, which PyTorch refuses in some memory layouts only",
        )
        for n in (1, 2, 3)
    ),
    Difference(
        "GroupNorm",
        lambda c: len(c.shape) > 1 and c.shape[1] != c.num_channels,
        "refused",
        "the text: num_channels is the input's C; PyTorch looks only where there are parameters",
    ),
    Difference(
        "Dropout",
        lambda c: c.precision == "int64" and c.training and c.p == 1,
        "refused",
        "what is left is scaled, so the input is floating point; PyTorch takes integers only where p is 1",
    ),
    Difference(
        "KLDivLoss",
        lambda c: c.shapes[0] != c.shapes[1],
        "refused",
        "the text: the target has the input's shape; PyTorch broadcasts",
    ),
]


def difference(name: str, c: Any) -> Difference | None:
    """The entry for this case, if there is one."""
    return next((each for each in DIFFERENCES if name in each.names.split() and each.when(c)), None)
