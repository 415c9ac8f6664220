"""What is computed: the parts, their sides and their sizes, in full and for trying the benchmark out."""

from __future__ import annotations

from typing import Any

OURS, PORTABLE, NUMPY = "flownn", "flownn portable", "numpy"
TORCH, CHANNELS_LAST, COMPILED = "torch", "torch channels-last", "torch.compile"

LEARNING_RATE, MOMENTUM = 0.01, 0.9

TRAINING = ("resnet18", "resnet50", "mlp", "transformer")
PARTS = ("layers", *TRAINING, "overhead")
_IMAGES = (OURS, PORTABLE, TORCH, CHANNELS_LAST, COMPILED)
_VECTORS = (OURS, PORTABLE, TORCH, COMPILED)
SIDES: dict[str, tuple[str, ...]] = {
    "layers": (OURS, PORTABLE, TORCH, CHANNELS_LAST),
    "resnet18": _IMAGES,
    "resnet50": _IMAGES,
    "mlp": _VECTORS,
    "transformer": _VECTORS,
    "overhead": (OURS, NUMPY, TORCH),
}

# channels, height = width, output channels, kernel, stride: the layers of ResNets that differ most
LAYERS = (
    (3, 224, 64, 7, 2),
    (64, 56, 64, 3, 1),
    (64, 56, 256, 1, 1),
    (128, 28, 128, 3, 1),
    (512, 28, 128, 1, 1),
    (256, 14, 256, 3, 1),
    (512, 7, 512, 3, 1),
)

FULL: dict[str, dict[str, Any]] = {
    "layers": {"batch": 16, "layers": LAYERS},
    "resnet18": {"batch": 16, "image": 224, "classes": 1000},
    "resnet50": {"batch": 8, "image": 224, "classes": 1000},
    "mlp": {"batch": 128, "widths": (784, 1024, 1024, 10)},
    "transformer": {"batch": 8, "vocabulary": 256, "context": 256, "width": 256, "depth": 4, "heads": 8},
    "overhead": {"side": 4},
}
QUICK: dict[str, dict[str, Any]] = {
    "layers": {"batch": 2, "layers": [(c, max(size // 4, 7), o, k, s) for c, size, o, k, s in LAYERS]},
    "resnet18": {"batch": 4, "image": 64, "classes": 10},
    "resnet50": {"batch": 4, "image": 64, "classes": 10},
    "mlp": {"batch": 8, "widths": (64, 32, 32, 10)},
    "transformer": {"batch": 2, "vocabulary": 64, "context": 32, "width": 32, "depth": 2, "heads": 4},
    "overhead": {"side": 4},
}


def layer_name(layer: tuple[int, ...] | list[int]) -> str:
    """A layer as the tables call it.

    >>> layer_name((3, 224, 64, 7, 2))
    '3,224,224 → 64, 7x7, stride 2'
    """
    channels, size, out, kernel, stride = layer
    return f"{channels},{size},{size} → {out}, {kernel}x{kernel}, stride {stride}"


def describe(part: str, sizes: dict[str, Any]) -> str:
    """What a part computes, for people."""
    if part == "layers":
        return f"convolutions, batch {sizes['batch']}; backward is gradients of input and weight"
    if part == "overhead":
        return f"single ops on {sizes['side']}x{sizes['side']} tensors that record a gradient"
    if part == "mlp":
        what = f"MLP {'-'.join(map(str, sizes['widths']))}, batch {sizes['batch']}"
    elif part == "transformer":
        what = (
            f"GPT, {sizes['depth']} layers, width {sizes['width']}, {sizes['heads']} heads, "
            f"{sizes['context']} positions, batch {sizes['batch']}"
        )
    else:
        name = part.replace("resnet", "ResNet-")
        what = f"{name}, batch {sizes['batch']}, {sizes['image']}x{sizes['image']} pixels"
    return f"training step of {what} (forward, loss, backward, SGD with momentum)"


def samples(part: str, sizes: dict[str, Any]) -> tuple[str, int] | None:
    """What a step's rate is counted in and how many a step has."""
    if part == "transformer":
        return "tokens", sizes["batch"] * sizes["context"]
    if part in TRAINING:
        return ("images" if part.startswith("resnet") else "samples"), sizes["batch"]
    return None
