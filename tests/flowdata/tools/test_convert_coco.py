import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowdata import codec
from flowdata.cli import main
from flowdata.dataset import DatasetInfo
from flowdata.errors import ConfigError, DataError, RecordError
from flowdata.records.wire import Record
from flowdata.sample import SampleKey
from flowdata.seeding import NO_STREAM
from flowdata.sources.coco import COCOSource
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.stages.boxes import ObjectBboxScale
from flowdata.stages.masks import ObjectSegmentationPolygonScale
from flowdata.tools.convert_coco import COCO_FEATURES, convert_coco
from tests.helpers.coco import random_tree, write_coco
from tests.helpers.records import picture


def records(directory: Path, **arguments: Any) -> list[Record]:
    source = OFRecordSource(directory, **arguments)
    found = [source.read(SampleKey(0, index))["record"] for index in range(len(source))]
    source.close()
    return found


@pytest.mark.parametrize("keep_unannotated", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_records_say_what_the_source_says(tmp_path: Path, seed: int, keep_unannotated: bool) -> None:
    file, folder = write_coco(tmp_path, random_tree(random.Random(seed), images=20))
    result = convert_coco(
        file, folder, tmp_path / "out", parts=3, keep_unannotated=keep_unannotated, digests=True, workers=2
    )
    source = COCOSource(file, folder, remove_images_without_annotations=not keep_unannotated)
    found = records(tmp_path / "out" / "train", verify="digests")
    assert len(found) == len(source) == result.kept
    for index, record in enumerate(found):
        expected = source.read(SampleKey(0, index))
        assert record["encoded"].values[0] == expected["image"].tobytes()
        assert record["image_id"].values.tolist() == [expected["image_id"]]
        assert [record[name].values[0] for name in ("height", "width")] == expected["image_size"].tolist()
        boxes = np.stack([record[f"object/bbox/{side}"].values for side in ("xmin", "ymin", "xmax", "ymax")], axis=1)
        np.testing.assert_array_equal(boxes.reshape(-1, 4), expected["gt_bbox"])
        np.testing.assert_array_equal(record["object/bbox/label"].values, expected["gt_label"])
        np.testing.assert_array_equal(record["object/segm/points"].values.reshape(-1, 2), expected["gt_segm"])
        np.testing.assert_array_equal(record["object/segm/index"].values.reshape(-1, 3), expected["gt_segm_index"])
        for name, kind in COCO_FEATURES.items():
            assert record[name].kind == kind, name


def test_smaller_images_have_smaller_objects(tmp_path: Path) -> None:
    """As the stages scale them where a pipeline does it; images that are small enough stay as they are."""
    file, folder = write_coco(tmp_path, random_tree(random.Random(3), images=80))
    arguments = ["convert", "coco", str(file), str(folder), str(tmp_path / "out"), "--short-side", "16", "--parts", "1"]
    assert main(arguments) == 0
    source = COCOSource(file, folder)
    kept = objects = 0
    for index, record in enumerate(records(tmp_path / "out" / "train")):
        expected = source.read(SampleKey(0, index))
        height, width = expected["image_size"].tolist()
        data = record["encoded"].values[0]
        if min(height, width) <= 16:
            assert data == expected["image"].tobytes()
            kept += 1
        new = codec.image_size(data)
        assert min(new) == min(16, height, width)
        assert [record[name].values[0] for name in ("height", "width")] == list(new)
        expected = expected.replace(scale=np.array([new[1] / width, new[0] / height], np.float32))
        expected = ObjectBboxScale()(expected, NO_STREAM)
        expected = ObjectSegmentationPolygonScale()(expected, NO_STREAM)
        boxes = np.stack([record[f"object/bbox/{side}"].values for side in ("xmin", "ymin", "xmax", "ymax")], axis=1)
        np.testing.assert_array_equal(boxes.reshape(-1, 4), expected["gt_bbox"])
        np.testing.assert_array_equal(record["object/segm/points"].values.reshape(-1, 2), expected["gt_segm"])
        objects += len(boxes)
    assert 0 < kept < len(source)
    assert objects > 10


def test_classes_are_named_by_category_after_the_background(tmp_path: Path) -> None:
    tree = random_tree(random.Random(0))
    tree["categories"][0].pop("name")
    file, folder = write_coco(tmp_path, tree)
    convert_coco(file, folder, tmp_path / "out", parts=1, split="val")
    info = DatasetInfo.load(tmp_path / "out")
    rows = sorted(tree["categories"], key=lambda row: row["id"])
    assert info.classes == ("background", *[row.get("name", str(row["id"])) for row in rows])
    assert list(info.splits) == ["val"]
    labels = {
        int(label) for record in records(tmp_path / "out" / "val") for label in record["object/bbox/label"].values
    }
    assert labels <= set(range(1, len(rows) + 1))


def test_bad_images_are_skipped_and_listed(tmp_path: Path) -> None:
    tree = random_tree(random.Random(1), images=10)
    file, folder = write_coco(tmp_path, tree)
    cut, other, gone = (folder / row["file_name"] for row in sorted(tree["images"], key=lambda row: row["id"])[:3])
    cut.write_bytes(cut.read_bytes()[:-9])
    other.write_bytes(codec.encode_jpeg(picture(99, 77)))
    gone.unlink()
    result = convert_coco(file, folder, tmp_path / "out", parts=2, keep_unannotated=True)
    reasons = {each.name: each.reason for each in result.skipped}
    assert "cut short" in reasons[str(cut.relative_to(folder))]
    assert "the image has 99 x 77 pixels, the annotations say" in reasons[str(other.relative_to(folder))]
    assert "broken link" in reasons[str(gone.relative_to(folder))]
    assert len(records(tmp_path / "out" / "train")) == 7


def test_row_restarts(tmp_path: Path) -> None:
    file, folder = write_coco(tmp_path, random_tree(random.Random(2)))
    result = convert_coco(file, folder, tmp_path / "out", parts=1, row_restarts=True, quality=90)
    assert result.kept == 0
    for record in records(tmp_path / "out" / "train"):
        data = record["encoded"].values[0]
        np.testing.assert_array_equal(record["encoded/rows"].values, codec.row_offsets(data))


def test_wrong_input(tmp_path: Path) -> None:
    file, folder = write_coco(tmp_path, random_tree(random.Random(3), images=4))
    with pytest.raises(ConfigError, match="nowhere is not a directory; expected the images of"):
        convert_coco(file, tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ConfigError, match="annotation file cannot be read"):
        convert_coco(tmp_path / "no.json", folder, tmp_path / "out")
    with pytest.raises(ConfigError, match="expected parts <= 4, the number of items, got 5"):
        convert_coco(file, folder, tmp_path / "out", parts=5, keep_unannotated=True)
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(ConfigError, match="expected something to convert, found nothing"):
        convert_coco(empty, folder, tmp_path / "out")
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(RecordError, match="expected JSON"):
        convert_coco(bad, folder, tmp_path / "out")
    for path in folder.rglob("*.jpg"):
        path.write_text("no")
    with pytest.raises(DataError, match="none of the 4 items of split train could be read"):
        convert_coco(file, folder, tmp_path / "out", parts=1, keep_unannotated=True)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = write_coco(tmp_path, random_tree(random.Random(4)))
    arguments = ["convert", "coco", str(file), str(folder), str(tmp_path / "out"), "--parts", "2", "--digests"]
    assert main(arguments) == 0
    assert "in 2 parts" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "out"), "--decode"]) == 0
    assert "no problem found" in capsys.readouterr().out
