"""MixUp and CutMix: images of a batch, and their labels, mixed with each other.

A row is mixed with the row before it in the same shard's part, the first with the last; weights and windows are drawn
once for a global batch. So with several shards only the first row of each part has another partner than with one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from flowdata.batch_transforms import batch_transform
from flowdata.errors import ConfigError, RecordError
from flowdata.sample import Array, ArraySpec, Batch, Specs

Layout = Literal["CHW", "HWC"]


@batch_transform("mixup")
@dataclass(frozen=True, kw_only=True, slots=True)
class MixUp:
    """Blend each image, and its label, with the one before it: ``weight * own + (1 - weight) * other``.

    Args:
        num_classes: Number of classes.
        alpha: The weight is drawn from Beta(alpha, alpha), once for a global batch; above 0.
        probability: Probability that a batch is mixed, 0 to 1; labels get their new form in any case.
        image: Name of the images, float32 or uint8 of one size.
        label: Name of the labels: integers, or float32 (num_classes,) as this transform leaves them.

    Shape:
        Images unchanged; labels float32 (num_classes,).

    Raises:
        ConfigError: an argument is out of range, or images or labels are of another kind.
        RecordError: a label is no class.

    Reference:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017; ``torchvision.transforms.v2.MixUp``, equal for
        an equal weight but for float32 rounding (uint8 images are rounded to nearest).
    """

    num_classes: int
    alpha: float = 1.0
    probability: float = 1.0
    image: str = "image"
    label: str = "label"

    def __post_init__(self) -> None:
        _check_arguments("mixup", self.num_classes, {"alpha": self.alpha}, {"probability": self.probability})

    def output_spec(self, specs: Specs) -> Specs:
        return _soft_labels("mixup", specs, self.image, self.label, self.num_classes)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        weight = float(rng.beta(self.alpha, self.alpha)) if rng.random() < self.probability else 1.0
        _blend_rows(batch[self.image], weight)
        return _with_labels("mixup", batch, self.label, self.num_classes, weight)


@batch_transform("cutmix")
@dataclass(frozen=True, kw_only=True, slots=True)
class CutMix:
    """Put a window of the image before into each image, and blend the labels by its share.

    Args:
        num_classes: Number of classes.
        alpha: The window's share of the area, before it is cut at the edge, is drawn from Beta(alpha, alpha), and its
            place uniformly, once for a global batch; above 0.
        probability: Probability that a batch is mixed, 0 to 1; labels get their new form in any case.
        layout: ``CHW`` as after ``crop_mirror_normalize``, or ``HWC``.
        image: Name of the images, of one size.
        label: Name of the labels: integers, or float32 (num_classes,) as this transform leaves them.

    Shape:
        Images unchanged; labels float32 (num_classes,).

    Raises:
        ConfigError: an argument is out of range, or images or labels are of another kind.
        RecordError: a label is no class.

    Reference:
        Yun et al., "CutMix", 2019; ``torchvision.transforms.v2.CutMix``, equal for an equal window.
    """

    num_classes: int
    alpha: float = 1.0
    probability: float = 1.0
    layout: Layout = "CHW"
    image: str = "image"
    label: str = "label"

    def __post_init__(self) -> None:
        _check_arguments("cutmix", self.num_classes, {"alpha": self.alpha}, {"probability": self.probability})

    def output_spec(self, specs: Specs) -> Specs:
        return _soft_labels("cutmix", specs, self.image, self.label, self.num_classes, self.layout)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        weight = 1.0
        if rng.random() < self.probability:
            weight = _exchange_windows(batch[self.image], self.layout, float(rng.beta(self.alpha, self.alpha)), rng)
        return _with_labels("cutmix", batch, self.label, self.num_classes, weight)


@batch_transform("mixup_or_cutmix")
@dataclass(frozen=True, kw_only=True, slots=True)
class MixUpOrCutMix:
    """Do :class:`MixUp` or :class:`CutMix`, drawn for each global batch.

    Args:
        num_classes: Number of classes.
        mixup_alpha: ``alpha`` of MixUp.
        cutmix_alpha: ``alpha`` of CutMix.
        cutmix_probability: Probability of CutMix, 0 to 1; else it is MixUp.
        layout: ``CHW`` as after ``crop_mirror_normalize``, or ``HWC``.
        image: Name of the images, float32 or uint8 of one size.
        label: Name of the labels.

    Shape:
        Images unchanged; labels float32 (num_classes,).

    Raises:
        ConfigError: an argument is out of range, or images or labels are of another kind.
        RecordError: a label is no class.
    """

    num_classes: int
    mixup_alpha: float = 0.2
    cutmix_alpha: float = 1.0
    cutmix_probability: float = 0.5
    layout: Layout = "CHW"
    image: str = "image"
    label: str = "label"

    def __post_init__(self) -> None:
        alphas = {"mixup_alpha": self.mixup_alpha, "cutmix_alpha": self.cutmix_alpha}
        _check_arguments("mixup_or_cutmix", self.num_classes, alphas, {"cutmix_probability": self.cutmix_probability})

    def output_spec(self, specs: Specs) -> Specs:
        return _soft_labels("mixup_or_cutmix", specs, self.image, self.label, self.num_classes, self.layout)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        if rng.random() < self.cutmix_probability:
            share = float(rng.beta(self.cutmix_alpha, self.cutmix_alpha))
            weight = _exchange_windows(batch[self.image], self.layout, share, rng)
        else:
            weight = float(rng.beta(self.mixup_alpha, self.mixup_alpha))
            _blend_rows(batch[self.image], weight)
        return _with_labels("mixup_or_cutmix", batch, self.label, self.num_classes, weight)


def _check_arguments(name: str, classes: int, alphas: dict[str, float], probabilities: dict[str, float]) -> None:
    if classes < 1:
        raise ConfigError(f"{name}: expected num_classes >= 1, got {classes}")
    for argument, value in alphas.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"{name}: expected {argument} > 0, got {value}")
    for argument, value in probabilities.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}: expected {argument} from 0 to 1, got {value}")


def _soft_labels(name: str, specs: Specs, image: str, label: str, classes: int, layout: Layout | None = None) -> Specs:
    pictures, labels = specs[image], specs[label]
    if not pictures.fixed or not pictures.shape or pictures.dtype not in (np.uint8, np.float32):
        raise ConfigError(f"{name}: expected image: {image!r} to be uint8 or float32 of one size, got {pictures}")
    if layout is not None and pictures.layout != layout:
        raise ConfigError(f"{name}: expected image: {image!r} with layout: {layout}, got {pictures}")
    soft = ArraySpec((classes,), np.dtype(np.float32))
    if labels != soft and (labels.shape != () or labels.dtype.kind not in "iu"):
        raise ConfigError(f"{name}: expected label: {label!r} to be an integer or {classes} float32, got {labels}")
    return specs | {label: soft}


def _with_labels(name: str, batch: Batch, label: str, classes: int, weight: float) -> Batch:
    labels = batch[label]
    if labels.ndim == 1:
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise RecordError(f"{name}: expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
        labels = np.eye(classes, dtype=np.float32)[labels]
    mixed = labels * np.float32(weight) + np.roll(labels, 1, axis=0) * np.float32(1 - weight)
    return batch.replace(**{label: mixed})


def _blend_rows(images: Array, weight: float) -> None:
    """In place and one image at a time, from the last: so each still finds the one before it as it was."""
    if weight == 1 or len(images) == 0:
        return
    rows = images.reshape(len(images), -1, images.shape[-1])
    last = rows[-1].copy()
    for number in reversed(range(len(rows))):
        other = rows[number - 1] if number else last
        cv2.addWeighted(rows[number], weight, other, 1 - weight, 0, dst=rows[number])


def _exchange_windows(images: Array, layout: Layout, weight: float, rng: np.random.Generator) -> float:
    """Copy a window from each image's predecessor; returns the share of what is left of the image itself."""
    height, width = map(int, images.shape[2:] if layout == "CHW" else images.shape[1:3])
    x, y = int(rng.integers(width)), int(rng.integers(height))
    half = 0.5 * math.sqrt(1 - weight)
    left, right = max(x - int(half * width), 0), min(x + int(half * width), width)
    top, bottom = max(y - int(half * height), 0), min(y + int(half * height), height)
    window = (slice(None), *((slice(None),) if layout == "CHW" else ()), slice(top, bottom), slice(left, right))
    images[window] = np.roll(images[window], 1, axis=0)
    return 1 - (bottom - top) * (right - left) / (height * width)
