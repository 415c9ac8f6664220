"""Contact sheets: many small pictures on one, with what a data set says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from flowdata import codec

Points = NDArray[np.float32]
Color = tuple[int, int, int]

BACKGROUND, TEXT, FAINT, ALARM = (30, 31, 34), (228, 228, 228), (150, 150, 155), (235, 110, 100)
# Told apart well from each other, also side by side; classes beyond them begin again.
COLORS: tuple[Color, ...] = (
    (255, 196, 0), (0, 190, 255), (255, 90, 95), (60, 215, 120), (200, 120, 255), (255, 140, 40), (120, 160, 255),
    (190, 220, 60), (255, 130, 200), (0, 205, 180), (230, 200, 150), (170, 170, 255),
)  # fmt: skip
MARGIN, TITLE, HEADER = 8, 20, 34  # pixels
_SHIFT = 4  # bits behind the point of drawn coordinates
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class Marked:
    """An object to draw on a picture.

    Args:
        label: What to write at its box.
        color: RGB.
        box: x1, y1, x2, y2 in pixels of the picture, last pixel included.
        polygons: Outlines of its parts, each (points, 2), in pixels of the picture.
        mask: Its pixels, instead of polygons; shown hatched, as crowds are.
    """

    label: str
    color: Color
    box: tuple[float, float, float, float]
    polygons: tuple[Points, ...] = ()
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a sheet.

    Args:
        title: What to write below it.
        image: RGB or gray, uint8 (height, width, 3 or 1); None where it cannot be shown.
        objects: What to draw on it.
        problem: What to write in place of a picture that cannot be shown.
    """

    title: str
    image: codec.Image | None
    objects: tuple[Marked, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SheetPlan:
    """Which sheet to draw.

    Args:
        path: The PNG file to write.
        pictures: How many to show, spread over the data.
        images: Directory of the images of a COCO annotation file; by default the first of the usual places that has
            the first of them.
    """

    path: Path
    pictures: int = 24
    images: Path | None = None


def spread(total: int, count: int) -> list[int]:
    """At most ``count`` of the numbers below ``total``, evenly spread from the first to the last.

    >>> spread(10, 4), spread(2, 5)
    ([0, 3, 6, 9], [0, 1])
    """
    return [round(number) for number in np.linspace(0, total - 1, min(total, count)).tolist()]


def write_sheet(path: Path, header: str, pictures: Sequence[Picture], cell: int) -> None:
    """Draw a sheet and write it as PNG.

    Args:
        path: The file.
        header: What to write above all pictures.
        pictures: From left to right and from top to bottom.
        cell: Width and greatest height of a picture, in pixels.
    """
    path.write_bytes(codec.encode_png(draw_sheet(header, pictures, cell)))


def draw_sheet(header: str, pictures: Sequence[Picture], cell: int) -> codec.Image:
    """The sheet as an RGB image; rows are as high as their highest picture."""
    columns = max(1, min(len(pictures), round((1.7 * len(pictures)) ** 0.5)))
    drawn = [_draw(picture, cell) for picture in pictures]
    rows = [range(first, min(first + columns, len(drawn))) for first in range(0, len(drawn), columns)]
    heights = [max(len(drawn[number]) for number in row) for row in rows]
    sheet = np.empty(
        (HEADER + sum(height + TITLE + MARGIN for height in heights), MARGIN + columns * (cell + MARGIN), 3), np.uint8
    )
    sheet[:] = BACKGROUND
    _write(sheet, header, (MARGIN, HEADER - 12), TEXT, 0.55, sheet.shape[1] - 2 * MARGIN)
    top = HEADER
    for row, height in zip(rows, heights, strict=True):
        for column, number in enumerate(row):
            left = MARGIN + column * (cell + MARGIN)
            image = drawn[number]
            sheet[top + height - len(image) : top + height, left : left + image.shape[1]] = image
            _write(sheet, pictures[number].title, (left, top + height + 14), FAINT, 0.42, cell)
        top += height + TITLE + MARGIN
    return sheet


def _draw(picture: Picture, cell: int) -> codec.Image:
    """A picture with its objects, scaled to the cell."""
    if picture.image is None:
        canvas = np.empty((cell * 2 // 3, cell, 3), np.uint8)
        canvas[:] = tuple(value + 12 for value in BACKGROUND)
        for number, line in enumerate(_wrapped(picture.problem, cell - 16, 0.4)[: len(canvas) // 16 - 1]):
            _write(canvas, line, (8, 20 + 16 * number), ALARM, 0.4, cell - 16)
        return canvas
    image = np.repeat(picture.image, 3, axis=2) if picture.image.shape[2] == 1 else picture.image
    height, width = image.shape[:2]
    scale = cell / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Pixels of tiny pictures stay visible.
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale >= 3 else cv2.INTER_LINEAR
    canvas = np.ascontiguousarray(cv2.resize(image, size, interpolation=interpolation))
    for marked in picture.objects:
        _fill(canvas, marked, scale)
    for marked in picture.objects:
        _frame(canvas, marked, scale)
    tags: list[tuple[int, int, int, int]] = []
    for marked in sorted(picture.objects, key=lambda each: each.box[1]):
        _tag(canvas, marked, scale, tags)
    return canvas


def _fill(canvas: codec.Image, marked: Marked, scale: float) -> None:
    height, width = canvas.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    if marked.mask is not None:
        cv2.resize(marked.mask, (width, height), dst=mask, interpolation=cv2.INTER_NEAREST)
        y, x = np.ogrid[0:height, 0:width]
        mask &= ((x + y) % 6 < 3).astype(np.uint8)
    for polygon in marked.polygons:
        cv2.fillPoly(mask, [_scaled(polygon, scale)], 1, shift=_SHIFT)
    where = mask != 0
    canvas[where] = np.rint(0.55 * canvas[where] + 0.45 * np.array(marked.color)).astype(np.uint8)
    for polygon in marked.polygons:
        cv2.polylines(canvas, [_scaled(polygon, scale)], True, marked.color, 1, cv2.LINE_AA, _SHIFT)


def _scaled(points: Points, scale: float) -> NDArray[np.int32]:
    """Points between pixels to numbers of pixels, in the image library's fixed-point form."""
    fixed: NDArray[np.int32] = np.rint(((points * scale).clip(-1e6, 1e6) - 0.5) * 2**_SHIFT).astype(np.int32)
    return fixed


def _corners(marked: Marked, scale: float) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = marked.box
    return round(x1 * scale), round(y1 * scale), round((x2 + 1) * scale) - 1, round((y2 + 1) * scale) - 1


def _frame(canvas: codec.Image, marked: Marked, scale: float) -> None:
    x1, y1, x2, y2 = _corners(marked, scale)
    cv2.rectangle(canvas, (x1 - 1, y1 - 1), (x2 + 1, y2 + 1), (0, 0, 0), 1)  # to be seen on any ground
    cv2.rectangle(canvas, (x1, y1), (x2, y2), marked.color, 1)


def _tag(canvas: codec.Image, marked: Marked, scale: float, tags: list[tuple[int, int, int, int]]) -> None:
    """The label on a ground of its colour, at the box where it hides no other label."""
    text = _ascii(marked.label)
    width, height = _text_width(text, 0.36) + 6, 14
    x1, y1, x2, y2 = _corners(marked, scale)
    places = [(x1, y1 - height), (x1, y2 + 1), (x1, y1), (x2 + 1, y1), (x2 - width, y2 - height)]
    limits = (max(0, canvas.shape[1] - width), max(0, canvas.shape[0] - height))
    inside = [(min(max(x, 0), limits[0]), min(max(y, 0), limits[1])) for x, y in places]
    x, y = next(
        (place for place in inside if not any(_overlap((*place, width, height), tag) for tag in tags)), inside[0]
    )
    tags.append((x, y, width, height))
    cv2.rectangle(canvas, (x, y), (x + width - 1, y + height - 1), marked.color, -1)
    cv2.putText(canvas, text, (x + 3, y + 10), _FONT, 0.36, (0, 0, 0), 1, cv2.LINE_AA)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return all(one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2] for axis in (0, 1))


def _write(canvas: codec.Image, text: str, place: tuple[int, int], color: Color, size: float, width: int) -> None:
    """A line of text, cut to a width in pixels."""
    text = _ascii(text)
    if _text_width(text, size) > width:
        while text and _text_width(text + "...", size) > width:
            text = text[:-1]
        text += "..."
    cv2.putText(canvas, text, place, _FONT, size, color, 1, cv2.LINE_AA)


def _wrapped(text: str, width: int, size: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _text_width(longer, size) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _text_width(text: str, size: float) -> int:
    (width, _), _ = cv2.getTextSize(text, _FONT, size, 1)
    return int(width)


def _ascii(text: str) -> str:
    """The image library's font has no other letters."""
    return text.encode("ascii", "replace").decode()
