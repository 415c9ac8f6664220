"""One picture file to float32 (3, height, width) with OpenCV, as a user writes it by hand."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FLAGS = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION

Work = dict[str, Any]  # the fields of flowdata.bench.work.Work


def endless_order(count: int, batch_size: int) -> Iterator[int]:
    """Shuffled epochs without end, so that no epoch boundary is timed; each is whole batches."""
    rng = np.random.default_rng(0)
    whole = max(1, count // batch_size) * batch_size
    while True:
        yield from np.resize(rng.permutation(count), whole).tolist()


def random_window(height: int, width: int, limits: Sequence[Any]) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random-resized-crop, as torchvision draws it."""
    (low_area, high_area), (low_ratio, high_ratio), attempts = limits
    for _ in range(attempts):
        area = height * width * random.uniform(low_area, high_area)
        ratio = math.exp(random.uniform(math.log(low_ratio), math.log(high_ratio)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, height - h), random.randint(0, width - w), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode all of a file, without looking at its orientation."""
    image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), FLAGS)
    if FLAGS & cv2.IMREAD_COLOR and not hasattr(cv2, "IMREAD_COLOR_RGB"):
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return image  # type: ignore[no-any-return]


def resized(image: NDArray[np.uint8], work: Work, whole: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Window, bilinear resize and crop; given the size of a whole image, of its top left, which must be enough."""
    if work["random_crop"] is not None:
        top, left, height, width = random_window(image.shape[0], image.shape[1], work["random_crop"])
        image = image[top : top + height, left : left + width]
    old = whole or image.shape[:2]
    if work["size"] is not None:
        new = tuple(work["size"])
    else:
        scale = work["shorter"] / min(old)
        new = round(old[0] * scale), round(old[1] * scale)
    if whole is None:
        image = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
    else:
        fy, fx = new[0] / old[0], new[1] / old[1]
        image = cv2.resize(image, None, fx=fx, fy=fy, interpolation=cv2.INTER_LINEAR)
    height, width = work["crop"]
    top, left = (
        int((have - want) * part) for have, want, part in zip(new, (height, width), work["crop_position"], strict=True)
    )
    return image[top : top + height, left : left + width]


def normalize_into(
    image: NDArray[np.uint8], mirror: bool, work: Work, planes: NDArray[np.float32], apart: Sequence[Any] | None = None
) -> None:
    """Flip, split (into planes of bytes, if given), and one fused multiply and add per plane."""
    if mirror:
        image = cv2.flip(image, 1)
    for plane, target, mean, std in zip(cv2.split(image, apart), planes, work["mean"], work["std"], strict=True):
        cv2.addWeighted(plane, 1 / std, plane, 0, -mean / std, dst=target, dtype=cv2.CV_32F)


def fastest(candidates: dict[str, Any], size: tuple[int, int]) -> str:
    """The name of the fastest of some functions ``(image, mirror)`` on an image of this size."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    times = dict.fromkeys(candidates, math.inf)
    for _ in range(200):
        for name, function in candidates.items():
            start = time.perf_counter()
            function(image, True)
            times[name] = min(times[name], time.perf_counter() - start)
    return min(times, key=lambda name: times[name])
