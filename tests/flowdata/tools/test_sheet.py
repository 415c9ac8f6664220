"""Contact sheets: pictures, boxes and masks are where they belong."""

from pathlib import Path

import numpy as np
import pytest

from flowdata import codec
from flowdata.tools.sheet import BACKGROUND, HEADER, MARGIN, TITLE, Marked, Picture, draw_sheet, spread, write_sheet
from tests.helpers.records import picture

RED = (255, 0, 0)


def only(sheet, height, width):
    """The picture of a sheet that has one."""
    return sheet[HEADER : HEADER + height, MARGIN : MARGIN + width]


def test_pictures_stand_in_rows_on_their_titles() -> None:
    images = [np.full((40, 40, 3), 50 + 50 * n, np.uint8) for n in range(3)] + [np.full((20, 40, 1), 250, np.uint8)]
    sheet = draw_sheet("four", [Picture(f"number {n}", image) for n, image in enumerate(images)], 40)
    row = 40 + TITLE + MARGIN
    assert sheet.shape == (HEADER + 2 * row - 20, MARGIN + 3 * (40 + MARGIN), 3)
    for number in range(3):
        left = MARGIN + number * (40 + MARGIN)
        assert (sheet[HEADER : HEADER + 40, left : left + 40] == 50 + 50 * number).all()
    assert (sheet[HEADER + row : HEADER + row + 20, MARGIN : MARGIN + 40] == 250).all()
    assert (sheet[HEADER + row : HEADER + row + 20, MARGIN + 40 :] == BACKGROUND).all()
    assert (sheet[HEADER + 40 : HEADER + 40 + TITLE] != BACKGROUND).any()


def test_large_pictures_shrink_and_tiny_ones_keep_their_pixels() -> None:
    assert only(draw_sheet("", [Picture("", picture(300, 200))], 60), 60, 40).any(axis=2).all()
    pixels = np.arange(4, dtype=np.uint8).reshape(2, 2, 1) * 60
    found = only(draw_sheet("", [Picture("", pixels)], 40), 40, 40)
    np.testing.assert_array_equal(found, pixels.repeat(20, axis=0).repeat(20, axis=1).repeat(3, axis=2))


@pytest.mark.parametrize("scale", [1, 2])
def test_boxes_bound_their_pixels_and_masks_are_filled(scale: int) -> None:
    square = np.array([[30, 20], [70, 20], [70, 60], [30, 60]], np.float32)
    marked = Marked("", RED, (30, 20, 69, 59), (square,))
    sheet = draw_sheet("", [Picture("", np.zeros((100, 100, 3), np.uint8), (marked,))], 100 * scale)
    found = only(sheet, 100 * scale, 100 * scale)
    rows, columns = slice(20 * scale, 60 * scale), slice(30 * scale, 70 * scale)
    assert (found[rows, columns][:, [0, -1]] == RED).all(axis=2).mean() > 0.85  # its label covers some
    inside = found[rows, columns][10:-10, 10:-10]
    assert (inside == np.rint(0.45 * np.array(RED))).all()
    outside = found.copy()
    outside[:, columns.start - 2 : columns.stop + 2] = 0  # the outline is smoothed
    assert not outside.any()


def test_crowds_are_hatched() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[20:50, 10:50] = 1
    sheet = draw_sheet(
        "", [Picture("", np.zeros((60, 60, 3), np.uint8), (Marked("", RED, (10, 20, 49, 49), mask=mask),))], 60
    )
    inside = only(sheet, 60, 60)[22:48, 12:48, 0] > 0
    assert 0.4 < inside.mean() < 0.6


def test_labels_do_not_hide_each_other() -> None:
    objects = tuple(Marked("label", (0, 255 - n, n), (40, 40, 60, 60)) for n in range(3))
    found = only(draw_sheet("", [Picture("", np.zeros((100, 100, 3), np.uint8), objects)], 100), 100, 100)
    grounds = [(found == each.color).all(axis=2).sum() for each in objects]
    assert min(grounds) > 250


def test_what_cannot_be_shown_says_why() -> None:
    sheet = draw_sheet("", [Picture("a title", None, problem="no such file " * 30)], 150)
    assert (sheet[..., 0].astype(int) - sheet[..., 1] > 60).any()  # red letters


def test_any_text_can_be_written(tmp_path: Path) -> None:
    objects = (Marked("Größe 大", RED, (-5, -5, 500, 500)),)
    write_sheet(tmp_path / "s.png", "Überschrift " * 50, [Picture("ñ", picture(20, 30), objects)], 64)
    assert codec.decode((tmp_path / "s.png").read_bytes()).shape[1] == 64 + 2 * MARGIN


def test_numbers_are_spread() -> None:
    for total in (0, 1, 2, 7, 24, 25, 1000):
        for count in (1, 2, 24):
            found = spread(total, count)
            assert len(found) == len(set(found)) == min(total, count)
            assert found == sorted(found)
            assert all(0 <= each < total for each in found)
    assert spread(1000, 3) == [0, 500, 999]
