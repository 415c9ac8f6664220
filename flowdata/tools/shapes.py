"""Drawn scenes with COCO annotations whose masks are known to the pixel: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from flowdata import codec, rle
from flowdata.errors import ConfigError

Points = NDArray[np.float64]
Pixels = NDArray[np.bool_]

CATEGORIES = {1: "circle", 2: "rectangle", 5: "star", 9: "triangle"}  # with gaps, as in COCO
COLORS = {"circle": (208, 62, 56), "rectangle": (58, 116, 205), "star": (224, 168, 32), "triangle": (52, 152, 88)}
SIZES = ((240, 320), (320, 240), (256, 256), (240, 360), (160, 400), (400, 160), (120, 200))  # height, width
TINY = ((1, 1), (2, 1), (1, 3), (2, 2), (3, 3))  # height, width of rectangles that are barely there
GAP = 3  # pixels between objects
QUALITY = 95


@dataclass(frozen=True, slots=True)
class Shape:
    """One object of a scene.

    Args:
        category: Name of its category.
        polygons: Its parts, each (points, 2) as x, y; none for a crowd.
        mask: Whether each pixel of the image belongs to it: whether the pixel's centre is within.
        crowd: Whether it stands for many objects that nobody counted.
    """

    category: str
    polygons: tuple[Points, ...]
    mask: Pixels
    crowd: bool = False

    def annotation(self, id: int, image_id: int) -> dict[str, Any]:
        """What a COCO file says of it."""
        if self.crowd:
            rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
            low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
            segmentation: Any = rle.encode(self.mask)
        else:
            points = np.concatenate(self.polygons)
            low, high = points.min(axis=0), points.max(axis=0)
            segmentation = [polygon.ravel().tolist() for polygon in self.polygons]
        box = [round(float(value), 2) for value in (*low, *(high - low))]
        category = next(number for number, name in CATEGORIES.items() if name == self.category)
        return {
            "id": id, "image_id": image_id, "category_id": category, "iscrowd": int(self.crowd),
            "area": int(self.mask.sum()), "bbox": box, "segmentation": segmentation,
        }  # fmt: skip


@dataclass(slots=True)
class Scene:
    """A picture and what is on it; no two objects touch.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        shapes: The objects.
        image: uint8 (height, width, 3), RGB.
    """

    height: int
    width: int
    shapes: list[Shape] = field(default_factory=list)
    image: codec.Image = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))


@dataclass(frozen=True, slots=True)
class MadeShapes:
    """What :func:`make_shapes` wrote: how many images, objects (without crowds) and crowds."""

    images: int
    objects: int
    crowds: int


def make_shapes(out: Path, *, count: int = 200, seed: int = 0, overwrite: bool = False) -> MadeShapes:
    """Write scenes of circles, rectangles, stars and triangles as ``out/images`` and ``out/annotations.json``.

    Among them are images without objects, portraits and panoramas, boxes of a pixel or two, objects of several parts
    (that may overlap), and crowds with run-length masks. Every fourth image is a PNG, in which a pixel has a strong
    colour exactly where an object is. The same seed gives the same files.

    Args:
        out: Directory to write; made if needed.
        count: Number of images.
        seed: Seed of every choice.
        overwrite: Write although ``out`` is not empty.

    Raises:
        ConfigError: ``out`` is not empty.
    """
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise ConfigError(f"{out}: expected an empty or new directory; choose another or add --overwrite")
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "annotations.json").unlink(missing_ok=True)  # written last: until then there is no data set
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        drawn = scene(seed, number)
        png = number % 4 == 0
        name = f"{number:06d}.{'png' if png else 'jpg'}"
        data = codec.encode_png(drawn.image) if png else codec.encode_jpeg(drawn.image, QUALITY, "4:4:4")
        (out / "images" / name).write_bytes(data)
        images.append({"id": number + 1, "file_name": name, "height": drawn.height, "width": drawn.width})
        for shape in drawn.shapes:
            annotations.append(shape.annotation(len(annotations) + 1, number + 1))
    tree = {
        "info": {"description": f"shapes, {count} images, seed {seed}"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": id, "name": name, "supercategory": "shape"} for id, name in CATEGORIES.items()],
    }
    (out / "annotations.json").write_text(json.dumps(tree))
    crowds = sum(row["iscrowd"] for row in annotations)
    return MadeShapes(count, len(annotations) - crowds, crowds)


def scene(seed: int, number: int) -> Scene:
    """Scene ``number``; some numbers have something rare on them."""
    rng = np.random.default_rng([seed, number])
    height, width = SIZES[rng.choice(len(SIZES), p=(0.3, 0.2, 0.1, 0.15, 0.1, 0.1, 0.05))]
    made = Scene(height, width)
    if number % 8 != 7:  # those have no object
        if number % 5 == 3:
            _place(made, rng, "crowd", rng.uniform(0.35, 0.5) * min(height, width))
        for _ in range(rng.integers(1, 7)):
            _place(made, rng, str(rng.choice(list(COLORS))), rng.uniform(0.1, 0.5) * min(height, width))
        if number % 6 == 4:
            for size in TINY:
                _place_tiny(made, rng, size)
    made.image = _paint(made, rng)
    return made


def _place(made: Scene, rng: np.random.Generator, kind: str, size: float) -> None:
    """Add an object of about ``size`` pixels where there is room, if there is any."""
    taken = _taken(made)
    for _ in range(20):
        centre = rng.uniform(0.5 * size + 1, [made.width - 0.5 * size - 1, made.height - 0.5 * size - 1])
        shape = _crowd(made, rng, centre, size) if kind == "crowd" else _object(made, rng, kind, centre, size)
        if not (shape.mask & taken).any():
            made.shapes.append(shape)
            return


def _place_tiny(made: Scene, rng: np.random.Generator, size: tuple[int, int]) -> None:
    taken = _taken(made)
    for _ in range(20):
        x, y = (int(rng.integers(0, extent - 4)) for extent in (made.width, made.height))
        box = np.array([[x, y], [x + size[1], y], [x + size[1], y + size[0]], [x, y + size[0]]], np.float64)
        shape = Shape("rectangle", (box,), within(box, made.height, made.width))
        if not (shape.mask & taken).any():
            made.shapes.append(shape)
            return


def _taken(made: Scene) -> Pixels:
    """The pixels of all objects, and those around them."""
    taken = np.zeros((made.height, made.width), np.uint8)
    for shape in made.shapes:
        taken |= shape.mask
    grown: Pixels = cv2.dilate(taken, np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8)) > 0
    return grown


def _object(made: Scene, rng: np.random.Generator, kind: str, centre: Points, size: float) -> Shape:
    polygons = tuple(
        np.round(polygon.clip(0, [made.width, made.height]), 2) for polygon in _outlines(rng, kind, centre, size)
    )
    if kind == "circle":
        mask = _disc(made, centre, 0.5 * size)
    else:
        mask = np.zeros((made.height, made.width), np.bool_)
        for polygon in polygons:
            mask |= within(polygon, made.height, made.width)
    return Shape(kind, polygons, mask)


def _outlines(rng: np.random.Generator, kind: str, centre: Points, size: float) -> Iterator[Points]:
    """The parts of an object within ``size / 2`` of its centre."""
    radius, turn = 0.5 * size, rng.uniform(0, 2 * np.pi)
    if kind == "circle":
        yield centre + radius * _ring(max(16, int(10 * radius**0.5)))  # less than 0.05 pixels inside
    elif kind == "rectangle":
        half = rng.uniform(0.2, 1.37)  # the angle of its diagonal
        yield centre + radius * _rays(np.array([half, np.pi - half, np.pi + half, -half]) + rng.choice([0, turn]))
    elif kind == "triangle":
        yield centre + radius * _rays(turn + np.array([0, 2.1, 4.2]) + rng.uniform(-0.5, 0.5, 3))
    else:
        reach = radius
        if rng.random() < 0.6:  # a large star, and one or two small ones that are part of the same object
            reach *= 0.62
            for angle in rng.uniform(0, 2 * np.pi) + np.pi * np.arange(rng.integers(1, 3)):
                shift = 0.76 * radius * _rays(np.array([angle]))
                yield centre + shift + 0.24 * radius * _star(rng.uniform(0, 2 * np.pi))
        yield centre + reach * _star(turn)


def _ring(corners: int) -> Points:
    return _rays(2 * np.pi * np.arange(corners) / corners)


def _star(turn: float) -> Points:
    corners = np.arange(10)
    return _rays(turn + 0.2 * np.pi * corners) * np.where(corners % 2, 0.45, 1)[:, np.newaxis]


def _rays(angles: NDArray[Any]) -> Points:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _crowd(made: Scene, rng: np.random.Generator, centre: Points, size: float) -> Shape:
    mask = np.zeros((made.height, made.width), np.bool_)
    for _ in range(rng.integers(10, 25)):
        shift = rng.uniform(0, 0.4 * size) * _rays(rng.uniform(0, 2 * np.pi, 1))[0]
        mask |= _disc(made, centre + shift, rng.uniform(0.03, 0.09) * size)
    return Shape("circle", (), mask, crowd=True)


def _disc(made: Scene, centre: Points, radius: float) -> Pixels:
    y, x = np.ogrid[0.5 : made.height, 0.5 : made.width]
    inside: Pixels = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
    return inside


def within(polygon: Points, height: int, width: int) -> Pixels:
    """Whether the centre of each pixel is within: a ray to the right then crosses an odd number of the sides."""
    y, x = np.ogrid[0.5:height, 0.5:width]
    inside = np.zeros((height, width), np.bool_)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _paint(made: Scene, rng: np.random.Generator) -> codec.Image:
    """Objects in the colour of their category, a little lighter or darker, on grey."""
    y, x = np.ogrid[0 : made.height, 0 : made.width]
    slope = rng.uniform(-40, 40, 2)
    grey = rng.uniform(80, 170) + slope[0] * y / made.height + slope[1] * x / made.width
    grey = grey + rng.normal(0, 5, (made.height, made.width))
    image = np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    for shape in made.shapes:
        image[shape.mask] = np.rint(np.array(COLORS[shape.category]) * rng.uniform(0.75, 1.1)).astype(np.uint8)
    return image
