"""Folding against loops over windows, and against PyTorch."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn
from flownn.errors import DtypeError, ShapeError
from flownn.ops.fold import fold, unfold
from tests.helpers.op_cases import OpCase, asked


def places(shape: Any, *, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> list[Any]:
    """For each window and each of its elements the pixel, or None in the padding."""
    starts = [
        range(-p, size + p - d * (k - 1), s)
        for size, k, d, p, s in zip(shape, kernel_size, dilation, padding, stride, strict=True)
    ]
    return [
        [
            (y, x)
            if 0 <= (y := top + i * dilation[0]) < shape[0] and 0 <= (x := left + j * dilation[1]) < shape[1]
            else None
            for i in range(kernel_size[0])
            for j in range(kernel_size[1])
        ]
        for top in starts[0]
        for left in starts[1]
    ]


def slow_unfold(x: Any, **attrs: Any) -> Any:
    columns = places(x.shape[2:], **attrs)
    rows = [
        [[image[channel][pixel] if pixel else 0.0 for pixel in column] for column in columns]
        for image in x
        for channel in range(x.shape[1])
    ]
    y = np.array(rows).reshape(x.shape[0], x.shape[1], len(columns), -1)
    return y.transpose(0, 1, 3, 2).reshape(x.shape[0], -1, len(columns))


def slow_fold(x: Any, *, image_size: Any, **attrs: Any) -> Any:
    columns = places(image_size, **attrs)
    elements = len(columns[0])
    y = np.zeros((x.shape[0], x.shape[1] // elements, *image_size))
    for n, row, position in np.ndindex(*x.shape):
        if pixel := columns[position][row % elements]:
            y[(n, row // elements, *pixel)] += x[n, row, position]
    return y


def torch_unfold(torch: Any, x: Any, **attrs: Any) -> Any:
    return torch.nn.functional.unfold(x, **attrs)


def torch_fold(torch: Any, x: Any, *, image_size: Any, **attrs: Any) -> Any:
    return torch.nn.functional.fold(x, image_size, **attrs)


def attributes(kernel: Any, dilation: Any, padding: Any, stride: Any) -> dict[str, Any]:
    return {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride}


SETTINGS = [
    ((2, 3), (1, 1), (0, 0), (1, 1)),
    ((2, 2), (1, 2), (1, 2), (2, 1)),
    ((3, 1), (2, 1), (2, 0), (1, 3)),
]
CASES = [
    *(OpCase(unfold, shapes=[(2, 3, 5, 6)], attrs=attributes(*each), expected=slow_unfold, torch=torch_unfold)
      for each in SETTINGS),
    *(OpCase(fold, shapes=[(2, 3 * len(columns[0]), len(columns))], attrs=attrs | {"image_size": (5, 6)},
             expected=slow_fold, torch=torch_fold, rtol={"float16": 1e-2})
      for attrs in [attributes(*each) for each in SETTINGS] for columns in [places((5, 6), **attrs)]),
]  # fmt: skip


@pytest.mark.parametrize(("case", "question"), asked(CASES))
def test_op(case: OpCase, question: Any, rng: np.random.Generator) -> None:
    question(case, rng)


def test_layers(rng: np.random.Generator) -> None:
    x = flow.tensor(rng.standard_normal((2, 3, 6, 4)))
    columns = nn.Unfold(2, stride=2)(x)
    assert columns.shape == (2, 12, 6)
    np.testing.assert_array_equal(nn.Fold((6, 4), 2, stride=2)(columns).data, x.data)
    np.testing.assert_array_equal(nn.Unfold(2, stride=2)(x[1]).data, columns.data[1])
    np.testing.assert_array_equal(nn.Fold((6, 4), 2, stride=2)(columns[1]).data, x.data[1])
    assert nn.Unfold(2)(flow.zeros(0, 3, 6, 4)).shape == (0, 12, 15)


@pytest.mark.torch
@pytest.mark.parametrize("text", ["Unfold((2, 3), padding=1)", "Fold((4, 5), 2, stride=(1, 2))"])
def test_text_as_in_pytorch(text: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    assert repr(eval(f"nn.{text}", {"nn": nn})) == repr(eval(f"nn.{text}", {"nn": torch.nn}))


def test_wrong_input() -> None:
    plain = attributes((2, 2), (1, 1), (0, 0), (1, 1))
    with pytest.raises(ShapeError, match=r"Unfold: expected input \(N, C, H, W\) or \(C, H, W\), got shape \(3, 4\)"):
        unfold(np.ones((3, 4)), **plain)
    with pytest.raises(ShapeError, match=r"Unfold: expected an image that holds the window, got size \(1, 4\)"):
        unfold(np.ones((1, 1, 1, 4)), **plain)
    for shape in ((1, 8, 7), (1, 6, 6)):
        with pytest.raises(ShapeError, match=r"Fold: expected input \(N, C \* 4, 6\) for output_size \(3, 4\)"):
            fold(np.ones(shape), image_size=(3, 4), **plain)
    with pytest.raises(ShapeError, match="fold: expected 2 or 3 dims"):
        nn.functional.fold(flow.ones(4), 2, 2)
    with pytest.raises(DtypeError, match="Unfold: expected a floating point input"):
        unfold(np.ones((1, 1, 2, 2), np.int64), **plain)
