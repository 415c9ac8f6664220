"""COCO annotation files, against a slow reference written from the specification."""

import json
import pickle
import random
import time
from array import array

import cv2
import numpy as np
import pytest

from flowdata import codec
from flowdata.errors import ConfigError, RecordError
from flowdata.pipeline import Pipeline
from flowdata.pipeline_config import load_pipeline, pipeline_from
from flowdata.sample import SampleKey
from flowdata.sources.coco import COCOSource
from flowdata.sources.coco_index import build_index, load_annotations
from flowdata.sources.order import Shuffled
from flowdata.stages.decode import ImageDecoder
from tests.helpers.coco import random_tree, write_coco


def slow(tree, remove=True):
    """What each image holds, with dictionaries and loops: section by section of the specification."""
    annotations = [row for row in tree["annotations"] if row.get("iscrowd", 0) != 1]
    label_of = {id: label for label, id in enumerate(sorted(row["id"] for row in tree["categories"]), start=1)}
    found = []
    for image in sorted(tree["images"], key=lambda row: row["id"]):
        own = [row for row in annotations if row["image_id"] == image["id"]]
        if remove:
            if not any(row["bbox"][2] > 1 and row["bbox"][3] > 1 for row in own):
                continue
            if "keypoints" in own[0]:
                visible = sum(v > 0 for row in own for v in row.get("keypoints", [])[2::3])
                if visible < 10:
                    continue
        boxes, labels, points, index = [], [], [], []
        for row in own:
            x, y, width, height = (np.float32(value) for value in row["bbox"])
            one = np.float32(1)
            x1, x2 = x, x + max(width - one, np.float32(0))
            y1, y2 = y, y + max(height - one, np.float32(0))
            x1, x2 = (min(max(value, np.float32(0)), np.float32(image["width"] - 1)) for value in (x1, x2))
            y1, y2 = (min(max(value, np.float32(0)), np.float32(image["height"] - 1)) for value in (y1, y2))
            if not (x2 > x1 and y2 > y1):
                continue
            for number, polygon in enumerate(row.get("segmentation", [])):
                for place in range(len(polygon) // 2):
                    points.append(polygon[2 * place : 2 * place + 2])
                    index.append([place, number, len(boxes)])
            boxes.append([x1, y1, x2, y2])
            labels.append(label_of[row["category_id"]])
        found.append({
            "image_id": np.int64(image["id"]),
            "image_size": np.array([image["height"], image["width"]], np.int32),
            "gt_bbox": np.array(boxes, np.float32).reshape(-1, 4),
            "gt_label": np.array(labels, np.int32),
            "gt_segm": np.array(points, np.float32).reshape(-1, 2),
            "gt_segm_index": np.array(index, np.int32).reshape(-1, 3),
            "file_name": image["file_name"],
        })  # fmt: skip
    return found


def assert_is(source, expected):
    assert len(source) == len(expected)
    for number, wanted in enumerate(expected):
        sample = source.read(SampleKey(0, number))
        file = source.image_dir / wanted["file_name"]
        assert sample["image"].tobytes() == file.read_bytes()
        assert sample.origin == str(file)
        for name, spec in source.output_spec().items():
            value = np.asarray(sample[name])
            assert value.dtype == spec.dtype
            assert len(value.shape) == len(spec.shape)
            if name != "image":
                np.testing.assert_array_equal(value, wanted[name], strict=True)


@pytest.mark.parametrize("keypoints", [False, True])
@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_random_files_hold_what_the_reference_finds(tmp_path, seed, remove, keypoints):
    tree = random_tree(random.Random(seed), keypoints=keypoints)
    file, folder = write_coco(tmp_path, tree)
    source = COCOSource(file, folder, remove)
    assert_is(source, slow(tree, remove))
    if not remove:
        assert len(source) == 12


@pytest.mark.campaign
def test_many_random_files(tmp_path, campaign):
    for number, rng in enumerate(campaign(300, 5)):
        tree = random_tree(rng, rng.randint(2, 30), rng.random() < 0.5)
        file, folder = write_coco(tmp_path / str(number), tree)
        for remove in (True, False):
            if expected := slow(tree, remove):
                assert_is(COCOSource(file, folder, remove), expected)


# ---------------------------------------------------------------- single rules


def tree_of(*objects, height=480, width=640, categories=(1, 3, 90), images=None):
    """One image and these objects; each has an id, a box and a category."""
    return {
        "images": images or [{"id": 7, "file_name": "a.jpg", "height": height, "width": width}],
        "categories": [{"id": id} for id in categories],
        "annotations": [
            {"id": number, "image_id": 7, "category_id": 3, "bbox": [1, 1, 9, 9], **row}
            for number, row in enumerate(objects)
        ],
    }


def index_of(tree, remove=False):
    return build_index(tree, "f.json", remove)


def test_the_boxes_of_the_specification():
    index = index_of(tree_of(*({"bbox": box} for box in ([10, 20, 1, 5], [600, 400, 100, 100], [-5, 10, 20, 20]))))
    assert index.boxes.tolist() == [[600, 400, 639, 479], [0, 10, 14, 29]]
    assert index.boxes.dtype == np.float32


def test_the_categories_of_the_specification_used_or_not():
    index = index_of(tree_of(*({"category_id": id} for id in (90, 1, 3, 3)), categories=(90, 1, 3)))
    assert index.labels.tolist() == [3, 1, 2, 2]
    assert index_of(tree_of({"category_id": 90}, categories=(90, 50, 3))).labels.tolist() == [3]


def test_a_dropped_box_takes_label_and_polygons_with_it():
    triangle = [[0, 0, 5, 0, 5, 5]]
    index = index_of(
        tree_of(
            {"segmentation": triangle, "category_id": 1},
            {"segmentation": triangle, "bbox": [5, 5, 1, 9]},
            {"segmentation": triangle + triangle, "category_id": 90},
        )
    )
    assert index.labels.tolist() == [1, 3]
    points, where = index.segments(0)
    assert len(points) == 9
    assert where[:, 2].tolist() == [0] * 3 + [1] * 6
    assert where[:, 1].tolist() == [0] * 3 + [0] * 3 + [1] * 3
    assert where[:, 0].tolist() == [0, 1, 2] * 3


def test_an_image_without_objects_has_real_empty_arrays(tmp_path):
    file, folder = write_coco(tmp_path, tree_of(height=9, width=8))
    sample = COCOSource(file, folder, False).read(SampleKey(0, 0))
    assert [sample[name].shape for name in ("gt_bbox", "gt_label", "gt_segm", "gt_segm_index")] == [
        (0, 4), (0,), (0, 2), (0, 3),
    ]  # fmt: skip


def test_one_object_has_a_list_of_one_label():
    assert index_of(tree_of({})).labels.shape == (1,)


@pytest.mark.parametrize(("objects", "kept"), [
    ([], False),
    ([{"bbox": [0, 0, 1, 9]}, {"bbox": [0, 0, 9, 1]}], False),
    ([{"bbox": [0, 0, 1, 9]}, {"bbox": [0, 0, 1.5, 1.5]}], True),
    ([{"iscrowd": 1}], False),
    ([{"keypoints": [1, 1, 2] * 9}], False),
    ([{"keypoints": [1, 1, 1] * 10}], True),
    ([{"keypoints": [1, 1, 2] * 9}, {"keypoints": [1, 1, 1, 0, 0, 0]}], True),
    ([{"keypoints": [1, 1, 2] * 9}, {"iscrowd": 1, "keypoints": [1, 1, 2] * 9}], False),
    ([{}, {"keypoints": [1, 1, 2]}], True),  # the first object decides whether keypoints count
    ([{"keypoints": [1, 1, 2]}, {}], False),
    ([{"bbox": [1000, 1000, 50, 50]}], True),  # annotated, though nothing of it is within the image
])  # fmt: skip
def test_which_images_count_as_annotated(objects, kept):
    assert len(index_of(tree_of(*objects), remove=True).files) == kept
    assert len(index_of(tree_of(*objects), remove=False).files) == 1


def test_groups_of_shapes(tmp_path):
    images = [{"id": id, "file_name": f"{id}.jpg", "height": height, "width": 8}
              for id, height in enumerate((7, 8, 15, 16, 17, 24))]  # fmt: skip
    source = COCOSource(*write_coco(tmp_path, tree_of(images=images)), False)
    assert source.aspect_groups().tolist() == [0, 1, 1, 2, 2, 3]


def test_whole_numbers_may_be_written_with_a_point():
    images = [{"id": 7.0, "file_name": "a.jpg", "height": 480.0, "width": 640}]
    index = index_of(tree_of({}, images=images))
    assert (index.image_ids.tolist(), index.sizes.tolist()) == ([7], [[480, 640]])


# ---------------------------------------------------------------- what is wrong with files


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


def change(tree, list_name, **changes):
    tree[list_name][0].update(changes)
    return tree


@pytest.mark.parametrize(("tree", "message"), [
    ([], "expected a list of objects under 'images', found None"),
    ({"images": [], "categories": []}, "expected a list of objects under 'annotations', found None"),
    ({"images": [1], "annotations": [], "categories": []}, r"expected a list of objects under 'images', found \[1\]"),
    (change(tree_of({}), "images", height=0), r"image 7: expected height and width of 1 pixel .*, found \[0, 640\]"),
    (change(tree_of({}), "images", width=2**40), r"image 7: expected height and width of 1 pixel or more, found"),
    (change(tree_of({}), "images", width=None), "image 7: expected width as a whole number, found None"),
    (change(tree_of({}), "images", width=1.5), "image 7: expected width as a whole number, found 1.5"),
    (change(tree_of({}), "images", width=float("nan")), "image 7: expected width as a whole number, found nan"),
    (change(tree_of({}), "images", id="7"), "image number 1: expected id as a whole number, found '7'"),
    (change(tree_of({}), "images", id=2**70), "image number 1: expected id as a whole number, found 1180591"),
    (change(tree_of({}), "images", id=[1]), r"image number 1: expected id as a whole number, found \[1\]"),
    (change(tree_of({}), "images", file_name=None), "image 7: expected file_name as text, found None"),
    (tree_of({}, images=[{"id": 7, "file_name": "a", "height": 1, "width": 1}] * 2), "expected each image id once, fo"),
    (tree_of({}, categories=(1, 3, 3)), "expected each category id once, found 3 repeatedly"),
    (tree_of({}, {"id": 0}), "expected each annotation id once, found 0 repeatedly"),
    (tree_of({}, {"image_id": 8}), "annotation 1: expected image_id of one of 1 image entries, found 8"),
    (tree_of({}, {"category_id": 2}), "annotation 1: expected category_id of one of 3 category entries, found 2"),
    (tree_of({}, {"category_id": None}), "annotation 1: expected category_id as a whole number, found None"),
    (tree_of({}, {"bbox": [1, 2, 3]}), r"annotation 1: expected bbox as four numbers, found \[1, 2, 3\]"),
    (tree_of({}, {"bbox": None}), "annotation 1: expected bbox as four numbers, found None"),
    (tree_of({}, {"bbox": [1, 2, 3, "x"]}), "annotation 1: expected bbox as four numbers, found"),
    (tree_of({}, {"bbox": [1, 2, 3, float("nan")]}), "annotation 1: expected bbox as four finite numbers, found"),
    (tree_of({}, {"bbox": [1, 2, 3, 1e300]}), "annotation 1: expected bbox as four finite numbers, found"),
    (tree_of({"bbox": [1, 2, 3]}), r"annotation 0: expected bbox as four numbers, found \[1, 2, 3\]"),
    (tree_of({}, {"segmentation": {"counts": [1], "size": [1, 1]}}), "annotation 1: .* found a run-length mask"),
    (tree_of({}, {"segmentation": [[1, 2, 3, 4]]}), r"annotation 1: .* three points or more, found \[1, 2, 3, 4\]"),
    (tree_of({}, {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}), "annotation 1: expected each polygon as x, y of three"),
    (tree_of({}, {"segmentation": [1, 2, 3, 4, 5, 6]}), "annotation 1: expected each polygon as x, y .*, found 1"),
    (tree_of({}, {"segmentation": 5}), "annotation 1: expected each polygon as x, y .*, found 5"),
    (tree_of({}, {"segmentation": [[1, 2, 3, 4, 5, "x"]]}), "expected polygons of numbers, found something else"),
    (tree_of({}, {"segmentation": [[1, 2, 3, 4, 5, float("inf")]]}), "expected polygons of finite numbers, found inf"),
    (tree_of({"keypoints": [1, 2, "x"]}), r"annotation 0: expected keypoints as x, y, visibility of each, found"),
    (tree_of({"keypoints": [1, 2]}), r"annotation 0: expected keypoints as x, y, visibility of each, found \[1, 2\]"),
])  # fmt: skip
def test_annotations_that_are_not_what_they_should_be(tree, message, tmp_path):
    with pytest.raises(RecordError, match=rf"f\.json: {message}"):
        index_of(tree, remove=True)
    (tmp_path / "f.json").write_text(json.dumps(tree))
    with pytest.raises(RecordError, match=rf"f\.json: {message}"):
        build_index(load_annotations(tmp_path / "f.json"), tmp_path / "f.json")


def test_polygons_of_a_file_are_packed_as_they_are_read(tmp_path):
    """Of a hundred thousand images, lists of numbers would take gigabytes."""
    triangle = [0.1, 1, 2.5, 3, 1e300, 5]
    tree = tree_of({"segmentation": [triangle, [1, 2]]}, {"segmentation": {"counts": [1]}}, {"segmentation": [[1] * 6]})
    (tmp_path / "f.json").write_text(json.dumps(tree), encoding="utf-16")
    found = [row["segmentation"] for row in load_annotations(tmp_path / "f.json")["annotations"]]
    assert found[0] == [array("f", triangle), [1, 2]]
    assert found[0][0].tolist() == np.array([0.1, 1, 2.5, 3, np.inf, 5], np.float32).tolist()
    assert found[1:] == [{"counts": [1]}, [array("f", [1] * 6)]]


def test_a_missing_bbox_and_image_id():
    for name, expected in (("bbox", "four numbers"), ("image_id", "a whole number")):
        tree = tree_of({}, {})
        tree["annotations"][1] = without(tree["annotations"][1], name)
        with pytest.raises(RecordError, match=f"annotation 1: expected {name} as {expected}, found 'none'"):
            index_of(tree)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.json: the annotation file cannot be read \(No such file"):
        COCOSource(tmp_path / "no.json", tmp_path).open()
    (tmp_path / "broken.json").write_text('{"images": [')
    with pytest.raises(RecordError, match=r"broken\.json: expected JSON \(Expecting value"):
        COCOSource(tmp_path / "broken.json", tmp_path).open()


def test_missing_images_are_noticed_on_opening(tmp_path):
    tree = random_tree(random.Random(1))
    file, folder = write_coco(tmp_path, tree)
    source = COCOSource(file, folder)
    index = source.index
    (folder / index.files[2]).unlink()
    with pytest.raises(ConfigError, match=rf"expected the {len(source)} images of .*; missing: 1 \({index.files[2]}\)"):
        COCOSource(file, folder).open()
    with pytest.raises(RecordError, match=rf"{index.files[2]}: cannot be read \(No such file"):
        source.read(SampleKey(0, 2))
    with pytest.raises(ConfigError, match=r"missing: \d+ \(.*, …\)"):
        COCOSource(file, tmp_path / "elsewhere").open()


def test_no_image_is_left(tmp_path):
    file, folder = write_coco(tmp_path, tree_of(height=9, width=8))
    with pytest.raises(ConfigError, match="expected images with annotations, found none"):
        COCOSource(file, folder).open()


# ---------------------------------------------------------------- as a source of pipelines


def test_a_pipeline_reads_every_image_once(tmp_path):
    tree = random_tree(random.Random(3))
    file, folder = write_coco(tmp_path, tree)
    expected = {int(row["image_id"]): row for row in slow(tree)}
    with Pipeline(COCOSource(file, folder), batch_size=4, order=Shuffled(), seed=1).loader() as loader:
        seen = []
        for batch in loader:
            for row, id in enumerate(batch["image_id"].tolist()):
                np.testing.assert_array_equal(batch["gt_bbox"][row], expected[id]["gt_bbox"])
                np.testing.assert_array_equal(batch["image_size"][row], codec.image_size(batch["image"][row].tobytes()))
                seen.append(id)
    assert sorted(seen) == sorted(expected)


COCO_YAML = """
source:
  coco: {{annotation_file: {file}, image_dir: {folder}, remove_images_without_annotations: false}}
order: shuffled
seed: 1
batch_size: 5
executor: process
stages:
  - image_decoder: {{color_space: BGR}}
  - resize: {{size: [12, 10]}}
"""


def test_a_yaml_pipeline_decodes_the_images(tmp_path):
    tree = random_tree(random.Random(4))
    file, folder = write_coco(tmp_path, tree)
    (tmp_path / "coco.yaml").write_text(COCO_YAML.format(file=file, folder=folder))
    names = {row["id"]: row["file_name"] for row in tree["images"]}
    with load_pipeline(tmp_path / "coco.yaml").loader() as loader:
        ids = []
        for batch in loader:
            for id, image in zip(batch["image_id"].tolist(), batch["image"], strict=True):
                decoded = codec.decode((folder / names[id]).read_bytes(), "BGR")
                np.testing.assert_array_equal(image, cv2.resize(decoded, (10, 12)))
                ids.append(id)
    assert sorted(ids) == sorted(names)


@pytest.mark.parametrize(
    "sections", [{}, {"coco": {"annotation_file": "a", "image_dir": "b"}, "ofrecord": {"dir": "c"}}]
)
def test_yaml_names_one_source(sections):
    with pytest.raises(ConfigError, match="source: expected one source, ofrecord or coco"):
        pipeline_from({"source": sections, "batch_size": 1})


def test_a_sample_without_bytes_is_no_file():
    with pytest.raises(ConfigError, match="image_decoder: expected encoded: 'gt_label' to be uint8"):
        ImageDecoder(encoded="gt_label").output_spec(COCOSource("a", "b").output_spec())


def test_it_pickles_without_its_content_and_knows_itself_again(tmp_path):
    file, folder = write_coco(tmp_path, random_tree(random.Random(2)))
    source = COCOSource(file, folder)
    source.open()
    copied = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 1000
    assert copied.fingerprint() == source.fingerprint() != COCOSource(file, folder, False).fingerprint()
    source.close()
    assert len(source) == len(copied)


@pytest.mark.slow
def test_a_hundred_thousand_images_are_packed_in_seconds():
    rng = random.Random(0)
    outline = [round(rng.uniform(0, 600), 2) for _ in range(40)]
    tree = {
        "images": [{"id": id, "file_name": f"{id:012d}.jpg", "height": 480, "width": 640} for id in range(100_000)],
        "categories": [{"id": id} for id in range(1, 91)],
        "annotations": [
            {"id": number, "image_id": number % 100_000, "category_id": number % 90 + 1, "iscrowd": 0,
             "bbox": [10.5, 20.25, 100.0, 50.0], "segmentation": [outline]} for number in range(700_000)
        ],
    }  # fmt: skip
    start = time.perf_counter()
    index = build_index(tree, "large.json")
    assert time.perf_counter() - start < 30
    assert (len(index.files), len(index.boxes), len(index.points)) == (100_000, 700_000, 14_000_000)
    points, where = index.segments(99_999)
    assert len(points) == 140
    assert where[-1].tolist() == [19, 0, 6]
