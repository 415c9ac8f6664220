"""What PyTorch does not have: the formulas of the API text, written with its functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.parity.spec import Case, Row, Values, row

# ---------------------------------------------------------------- quantization

QUANTIZE = {
    "quantization_formula": ["google", "cambricon", "other"],
    "quantization_bit": [8, 4, 2, 9, 1],
    "quantization_scheme": ["symmetric", "affine", "other"],
}
SHAPES: list[Any] = [(2, 3, 4), (5,), (3, 1, 2, 2), (1, 4), ()]


def quantizes(c: Values) -> bool:
    """Documented names and bits; the cambricon formula is symmetric."""
    return (
        c.quantization_formula != "other"
        and c.quantization_scheme != "other"
        and 2 <= c.quantization_bit <= 8
        and not (c.quantization_formula == "cambricon" and c.quantization_scheme == "affine")
    )


def check(c: Values) -> None:
    if not quantizes(c):
        raise ValueError("not documented")


def scale_and_zero_point(torch: Any, c: Values, lowest: Any, highest: Any) -> tuple[Any, Any]:
    """From the extremes; the cambricon scale is the exponent of a step (design, section 8)."""
    largest = torch.maximum(highest.abs(), lowest.abs())
    if c.quantization_formula == "cambricon":
        scale = torch.floor(torch.log2(largest)) - (c.quantization_bit - 2)
        return scale, torch.zeros_like(scale)
    if c.quantization_scheme == "symmetric":
        scale = largest / (2 ** (c.quantization_bit - 1) - 1)
        return scale, torch.zeros_like(scale)
    scale = (highest - lowest) / (2**c.quantization_bit - 1)
    return scale, -lowest / scale


def min_max(torch: Any, case: Case) -> Any:
    check(case.c)

    def observe(x: Any) -> Any:
        x = x.detach()
        if not x.numel() or (x.ndim == 0 and not case.c.per_layer_quantization):
            raise ValueError("nothing to observe")
        rows = x.reshape(1 if case.c.per_layer_quantization else x.shape[0], -1)
        return scale_and_zero_point(torch, case.c, rows.amin(1), rows.amax(1))

    if case.c.quantization_formula == "cambricon" and not case.c.per_layer_quantization:
        raise ValueError("the cambricon formula is per layer")
    return observe


def two_batches(c: Values, rng: np.random.Generator) -> list[Any]:
    """Two inputs, not around zero, with another range each, and the steps they come at."""
    x, y = rng.standard_normal(c.shape) + 0.5, 3 * rng.standard_normal(c.shape) - 0.5
    return [x, y, (c.step, c.step + 1)]


def observing_twice(lib: Any, case: Case) -> Any:
    class Twice(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            observer = moving_average if lib.__name__ == "torch" else type(self).ours
            self.observer = observer(lib, case)

        @staticmethod
        def ours(lib: Any, case: Case) -> Any:
            return lib.nn.MovingAverageMinMaxObserver(**case.arguments(lib))

        def forward(self, x: Any, y: Any, steps: Any) -> Any:
            first = [each.clone() for each in self.observer(x, lib.tensor([steps[0]]))]
            return [*first, *self.observer(y, lib.tensor([steps[1]]))]

    return Twice()


def moving_average(torch: Any, case: Case) -> Any:
    """Averages start with the first input; symmetric ones are of the largest absolute value, as in OneFlow's kernel."""
    c = case.c
    check(c)

    class Observer(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("moving_max", torch.zeros(1))
            self.register_buffer("moving_min", torch.zeros(1))
            self.training = c.training

        def forward(self, x: Any, step: Any) -> Any:
            x = x.detach()
            if not x.numel():
                raise ValueError("nothing to observe")
            if self.training and int(step) <= c.stop_update_after_iters:
                low, high = x.min(), x.max()
                if c.quantization_scheme == "symmetric":
                    low = high = x.abs().max()
                first = not (self.moving_max.any() or self.moving_min.any())
                for average, value in ((self.moving_max, high), (self.moving_min, low)):
                    average.copy_(value if first else average * c.momentum + value * (1 - c.momentum))
            elif not (self.moving_max.any() or self.moving_min.any()):
                raise RuntimeError("nothing observed")
            return scale_and_zero_point(torch, c, self.moving_min, self.moving_max)

    return Observer()


def to_quantize(c: Values, rng: np.random.Generator) -> list[Any]:
    """An input that reaches beyond the range, and scales and zero points as observers give them."""
    count = c.shape[0] if c.per_channel and c.shape else 1
    if c.quantization_formula == "cambricon":
        return [rng.standard_normal(c.shape) * 3, rng.integers(-3, 1, count).astype(float), np.zeros(count)]
    scale = rng.uniform(0.5, 1.5, count) * 4 / 2**c.quantization_bit
    zero = rng.uniform(0, 2**c.quantization_bit - 1, count) if c.quantization_scheme == "affine" else np.zeros(count)
    return [rng.standard_normal(c.shape) * 3, scale, zero]


def quantization(torch: Any, case: Case) -> Any:
    c = case.c
    check(c)

    def quantize(x: Any, scale: Any, zero_point: Any) -> Any:
        if scale.numel() != 1 and c.quantization_formula == "cambricon":
            raise ValueError("the cambricon formula is per layer")
        aligned = (-1, *(1,) * (x.ndim - 1)) if x.ndim else ()
        scale, zero_point = scale.reshape(aligned), zero_point.reshape(aligned)
        high = 2 ** (c.quantization_bit - 1) - 1
        if c.quantization_formula == "cambricon":
            step, integers = 2**scale, (x / 2**scale).round().clamp(-high - 1, high)
        elif c.quantization_scheme == "symmetric":
            step, integers = scale, (x / scale).round().clamp(-high, high)
        else:
            top = 2**c.quantization_bit - 1
            step, integers = scale, (x / scale + zero_point).round().clamp(0, top) - zero_point
        if case.row.name == "Quantization":
            return integers.detach()
        return x + (integers * step - x).detach()  # the gradient passes straight through

    return quantize


def few_scales(c: Values) -> bool:
    """One scale, or one per entry of the first axis, which the cambricon formula does not take."""
    return not (c.per_channel and c.quantization_formula == "cambricon" and len(c.shape) and c.shape[0] != 1)


QUANTIZATION = [
    row(
        "MinMaxObserver",
        {**QUANTIZE, "per_layer_quantization": [True, False]},
        factors={"shape": [*SHAPES, (0, 3)]},
        reference=min_max,
        accepts=lambda c: (
            quantizes(c)
            and 0 not in c.shape
            and (c.per_layer_quantization or (c.quantization_formula == "google" and c.shape != ()))
        ),
    ),
    row(
        "MovingAverageMinMaxObserver",
        {
            "training": [True, False],
            **QUANTIZE,
            "stop_update_after_iters": [0, 1, 5],
            "momentum": [0, 0.95, 0.5],
        },
        factors={"shape": [*SHAPES[:4], (0, 3)], "step": [0, 1, 7], "fresh": [False, True]},
        inputs=two_batches,
        build=observing_twice,
        reference=observing_twice,
        accepts=lambda c: (
            quantizes(c) and 0 not in c.shape and (not c.fresh or (c.training and c.step <= c.stop_update_after_iters))
        ),
    ),
    *(
        row(
            name,
            QUANTIZE,
            factors={"shape": [*SHAPES, (0, 3)], "per_channel": [False, True]},
            inputs=to_quantize,
            reference=quantization,
            constants=lambda c: (1, 2),
            accepts=lambda c: quantizes(c) and few_scales(c),
        )
        for name in ("Quantization", "FakeQuantization")
    ),
]

# ---------------------------------------------------------------- images


def images(c: Values, rng: np.random.Generator) -> list[Any]:
    channels = 1 if c.color_space == "GRAY" else 3
    batch = rng.integers(0, 256, (*c.size, channels)).astype(np.uint8)
    return [batch, None if c.mirror == "none" else rng.integers(0, 2, c.size[0]).astype(np.int8)]


def crop_mirror_normalize(torch: Any, case: Case) -> Any:
    c = case.c
    if not (0 <= c.crop_pos_y <= 1 and 0 <= c.crop_pos_x <= 1) or c.output_dtype != "float32":
        raise ValueError("not documented")

    def normalize(x: Any, mirror: Any) -> Any:
        _, height, width, channels = x.shape
        whole = not (c.crop_h and c.crop_w)
        h, w = (height, width) if whole else (min(c.crop_h, height), min(c.crop_w, width))
        top, left = int((height - h) * c.crop_pos_y), int((width - w) * c.crop_pos_x)
        x = x[:, top : top + h, left : left + w].float()
        if mirror is not None:
            x = torch.where(mirror.bool()[:, None, None, None], x.flip(2), x)
        mean, std = (torch.tensor(each, dtype=torch.float32) for each in (c.mean, c.std))
        if len(mean) not in (1, channels) or len(std) not in (1, channels):
            raise ValueError("one value, or one per channel")
        x = (x - mean) * (1 / std)
        return x.permute(0, 3, 1, 2) if c.output_layout == "NCHW" else x

    return normalize


def normalizer(lib: Any, case: Case) -> Any:
    dtype = getattr(lib, case.c.output_dtype)
    return lib.nn.CropMirrorNormalize(**case.arguments(lib, "output_dtype"), output_dtype=dtype)


def crop_accepts(c: Values) -> bool:
    fits = all(len(each) in (1, 1 if c.color_space == "GRAY" else 3) for each in (c.mean, c.std))
    return fits and c.crop_pos_y <= 1 and c.crop_pos_x >= 0 and c.output_dtype == "float32"


CROP = row(
    "CropMirrorNormalize",
    {
        "color_space": ["BGR", "RGB", "GRAY"],
        "output_layout": ["NCHW", "NHWC"],
        "crop_h": [0, 4, 9],
        "crop_w": [0, 5, 2],
        "crop_pos_y": [0.5, 0.0, 1.0, 1.5],
        "crop_pos_x": [0.5, 0.0, 0.3, -0.1],
        "mean": [[0.0], [123.68, 116.779, 103.939]],
        "std": [[1.0], [58.393, 57.12, 57.375]],
        "output_dtype": ["float32", "float64"],
    },
    factors={"size": [(2, 7, 8), (1, 4, 9), (3, 5, 5)], "mirror": ["none", "some"]},
    inputs=images,
    build=normalizer,
    reference=crop_mirror_normalize,
    precisions=["float32"],
    accepts=crop_accepts,
)

ROWS: list[Row] = [*QUANTIZATION, CROP]
