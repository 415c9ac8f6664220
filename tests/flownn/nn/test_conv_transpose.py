"""What the transposed convolutions refuse."""

import pytest

import flownn as flow
from flownn import nn
from flownn.errors import ShapeError
from flownn.nn import functional as F

WRONG_ARGUMENTS = [
    ("ConvTranspose2d(3, 4, 3, groups=2)", "ConvTranspose2d: in_channels must be divisible by groups, got 3 and 2"),
    ("ConvTranspose2d(4, 3, 3, groups=2)", "ConvTranspose2d: out_channels must be divisible by groups, got 3 and 2"),
    ("ConvTranspose2d(3, 4, 3, padding='same')", "ConvTranspose2d.padding: expected an int or 2 ints, got 'same'"),
    (
        "ConvTranspose1d(3, 4, 3, padding_mode='reflect')",
        "ConvTranspose1d: expected padding_mode 'zeros', got 'reflect'",
    ),
    ("ConvTranspose2d(3, 4, 3, output_padding=(1, 2))", r"ConvTranspose2d.*below stride or dilation.*\(1, 2\), stride"),
    ("ConvTranspose3d(3, 4, 3, output_padding=-1)", "ConvTranspose3d.output_padding: expected at least 0, got -1"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_ARGUMENTS, ids=[text for text, _ in WRONG_ARGUMENTS])
def test_wrong_arguments_are_named_when_the_layer_is_made(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eval(f"nn.{text}", {"nn": nn})


def test_wrong_inputs_are_named() -> None:
    layer = nn.ConvTranspose2d(3, 4, 3)
    for size in (None, (5, 5)):
        with pytest.raises(ShapeError, match=r"ConvTranspose2d: expected input \(N, 3, H, W\) or \(3, H, W\), got"):
            layer(flow.zeros(2, 4, 3, 3), output_size=size)
    with pytest.raises(ShapeError, match=r"conv_transpose2d: expected a weight with 4 dims, got shape \(1, 1, 3\)"):
        F.conv_transpose2d(flow.ones(1, 1, 3, 3), flow.ones(1, 1, 3))
    with pytest.raises(ValueError, match="conv_transpose1d: expected output_padding below stride or dilation"):
        F.conv_transpose1d(flow.ones(1, 1, 3), flow.ones(1, 1, 3), output_padding=1)
