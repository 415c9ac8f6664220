"""What `flowdata inspect` says of COCO files, and that it draws a sheet of them and of OFRecords."""

import json
from pathlib import Path

import numpy as np
import pytest

from flowdata import codec
from flowdata.cli import main
from flowdata.errors import ConfigError, RecordError
from flowdata.tools.inspect import inspect
from flowdata.tools.sheet import HEADER, MARGIN, SheetPlan
from tests.helpers.records import picture, write_dataset

ANNOTATIONS = [
    {"id": 1, "image_id": 7, "category_id": 90, "bbox": [10, 20, 30, 8.5], "segmentation": [[10, 20, 40, 20, 40, 28]]},
    {"id": 2, "image_id": 7, "category_id": 3, "bbox": [1, 1, 1, 1]},
    {"id": 3, "image_id": 7, "category_id": 3, "iscrowd": 1, "bbox": [0, 0, 5, 5],
     "segmentation": {"size": [48, 64], "counts": [0, 48 * 64]}},
]  # fmt: skip


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Image 7 with an object, a crowd and something too small; image 8 with nothing, twice as high as wide."""
    sizes = {7: (48, 64), 8: (40, 20)}
    (tmp_path / "images").mkdir()
    for id, size in sizes.items():
        (tmp_path / "images" / f"{id}.png").write_bytes(codec.encode_png(picture(*size)))
    tree = {
        "images": [{"id": id, "file_name": f"{id}.png", "height": h, "width": w} for id, (h, w) in sizes.items()],
        "categories": [{"id": 90, "name": "cat"}, {"id": 3, "name": "car"}],
        "annotations": ANNOTATIONS,
    }
    (tmp_path / "annotations.json").write_text(json.dumps(tree))
    return tmp_path


def change(folder: Path, **changes: object) -> None:
    """Change the crowd's annotation."""
    tree = json.loads((folder / "annotations.json").read_text())
    tree["annotations"][2] |= changes
    (folder / "annotations.json").write_text(json.dumps(tree))


@pytest.mark.parametrize("name", ["", "annotations.json"])
def test_counts_categories_and_images(coco: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(coco / name, records=1)
    assert (
        capsys.readouterr().out
        == f"""\
{coco}/annotations.json:
  2 images, 1 objects, 1 crowds, 1 images without objects
  1 more objects are left out, because their box has less than two pixels to a side
  height 40 to 48, width 20 to 64; landscape: 1, 2 times as high as wide: 1
  0.5 objects in an image, at most 1; 1 polygons of 3 points
  label (category id, name):
    1 (3, car): 0
    2 (90, cat): 1
  image 7 (7.png, 48 x 64)
    cat: 10 20 39 27.5, 1 polygon
    crowd: car
"""
    )


def test_a_sheet_of_coco_images(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(coco), "--sheet", str(coco / "sheet.png"), "--pictures", "5"]) == 0
    assert f"{coco}/sheet.png: 2 images" in capsys.readouterr().out
    sheet = codec.decode((coco / "sheet.png").read_bytes())
    first = sheet[HEADER + 320 - 240 : HEADER + 320, MARGIN : MARGIN + 320]  # 48 x 64, five times as large
    amber = (first == (0, 190, 255)).all(axis=2)
    rows, columns = (np.flatnonzero(amber.any(axis=axis)) for axis in (1, 0))
    assert (columns[0], columns[-1]) == (50, 199)  # pixels 10 to 39 of the box, five times as wide
    assert rows[-1] >= 5 * 28 - 3


def test_where_the_images_are(coco: Path) -> None:
    (coco / "annotations").mkdir()
    file = (coco / "annotations.json").rename(coco / "annotations" / "instances_val2017.json")
    sheet = SheetPlan(coco / "sheet.png")
    inspect(file, sheet=sheet)
    (coco / "images").rename(coco / "val2017")
    inspect(file, sheet=sheet)
    expected = sheet.path.read_bytes()
    (coco / "val2017").rename(coco / "elsewhere")
    with pytest.raises(ConfigError, match=r"7\.png is in none of .*val2017, .*; name the images' directory: --images"):
        inspect(file, sheet=sheet)
    inspect(file)  # no image is needed to count
    inspect(file, sheet=SheetPlan(sheet.path, images=coco / "elsewhere"))
    assert sheet.path.read_bytes() == expected


def test_missing_and_damaged_images_are_shown_as_such(coco: Path) -> None:
    inspect(coco, sheet=SheetPlan(coco / "good.png"))
    (coco / "images" / "8.png").write_bytes(b"no picture")
    inspect(coco, sheet=SheetPlan(coco / "damaged.png"))
    (coco / "images" / "8.png").unlink()
    inspect(coco, sheet=SheetPlan(coco / "missing.png"))
    contents = {(coco / f"{name}.png").read_bytes() for name in ("good", "damaged", "missing")}
    assert len(contents) == 3


@pytest.mark.parametrize(("changes", "message"), [
    ({"bbox": None}, r"annotation 3: a crowd has the bbox None"),
    ({"bbox": [1, 2, 3]}, r"annotation 3: a crowd has the bbox \[1, 2, 3\]"),
    ({"category_id": 4}, r"annotation 3: a crowd has the category_id 4"),
    ({"image_id": 9}, r"annotation 3: a crowd has the image_id 9"),
    ({"segmentation": {"size": [48, 64], "counts": [1]}}, r"run-length mask: expected runs .* 48 x 64 in all, found 1"),
])  # fmt: skip
def test_damaged_crowds(coco: Path, changes: dict, message: str) -> None:
    change(coco, **changes)
    with pytest.raises(RecordError, match=message):
        inspect(coco, sheet=SheetPlan(coco / "sheet.png"))


def test_a_crowd_of_polygons_or_nothing_is_drawn_as_a_box(coco: Path) -> None:
    for segmentation in ([[1, 1, 5, 1, 5, 5]], None):
        change(coco, segmentation=segmentation)
        inspect(coco, sheet=SheetPlan(coco / "sheet.png"))


def test_a_sheet_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_dataset(tmp_path / "data", counts=(5, 0, 7))
    inspect(folder, records=0, sheet=SheetPlan(tmp_path / "sheet.png", 4))
    assert f"{tmp_path}/sheet.png: 4 pictures" in capsys.readouterr().out
    sheet = codec.decode((tmp_path / "sheet.png").read_bytes())
    assert sheet.shape[1] == MARGIN + 3 * (160 + MARGIN)
    with pytest.raises(ConfigError, match="--images is for COCO annotation files"):
        inspect(folder, sheet=SheetPlan(tmp_path / "sheet.png", images=tmp_path))


@pytest.mark.parametrize("option", [["--pictures", "3"], ["--images", "."]])
def test_what_is_about_the_sheet_needs_one(coco: Path, option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(coco), *option]) == 2
    assert "add --sheet PNG" in capsys.readouterr().err


def test_records_without_pictures_make_no_sheet(tmp_path: Path) -> None:
    from flowdata.records.writer import write_parts

    write_parts(tmp_path, [{"x": 1}], 1)
    with pytest.raises(RecordError, match="no record has a feature 'encoded'"):
        inspect(tmp_path, sheet=SheetPlan(tmp_path / "sheet.png"))
