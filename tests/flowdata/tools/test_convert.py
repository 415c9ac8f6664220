import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from flowdata import codec
from flowdata.dataset import FILE_NAME, DatasetInfo
from flowdata.errors import ConfigError, DataError
from flowdata.pipeline_config import pipeline_from
from flowdata.records.wire import Record
from flowdata.sample import SampleKey
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.tools import writing
from flowdata.tools.convert import convert_images, stratified_split
from flowdata.tools.pictures import ImageOptions
from flowdata.tools.writing import Conversion
from tests.helpers import records as helpers

COLOURS = {"blue": (250, 20, 20), "green": (20, 250, 20), "red": (20, 20, 250)}  # BGR


def picture(name: str, size: tuple[int, int] = (12, 16)) -> Any:
    return np.full((*size, 3), COLOURS[name], np.uint8)


def write(path: Path, image: Any, *options: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, image, list(options))
    assert done
    path.write_bytes(data.tobytes())
    return path.read_bytes()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Ten baseline JPEG files in each of three folders, every file different."""
    for name in COLOURS:
        for number in range(10):
            image = picture(name)
            image[0, 0] = number * 20
            write(tmp_path / "src" / name / f"{number}.jpg", image, cv2.IMWRITE_JPEG_QUALITY, 100)
    return tmp_path / "src"


def records(directory: Path) -> list[Record]:
    source = OFRecordSource(directory)
    source.open()
    found = [source.read(SampleKey(0, index))["record"] for index in range(len(source))]
    source.close()
    return found


def text(record: Record, name: str) -> str:
    value = record[name].values[0]
    assert isinstance(value, bytes)
    return value.decode()


def digest(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and ".flowdata-index" not in path.parts
    }


# -- the split -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sizes", "count"), [((10, 10, 10), 3), ((100, 50, 7), 31), ((5, 1, 2), 4), ((4,), 0)])
def test_a_split_is_a_stratified_partition(sizes: tuple[int, ...], count: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    train, val = stratified_split(labels, count, seed=3)
    assert sorted(train + val) == list(range(len(labels)))
    assert len(val) == count
    taken = Counter(labels[index] for index in val)
    for label, size in enumerate(sizes):
        assert taken[label] < size  # each class keeps something to train on
        assert abs(taken[label] - size * count / len(labels)) < 1 or size < 3


def test_a_split_depends_on_the_seed_alone() -> None:
    labels = [0, 1] * 50
    assert stratified_split(labels, 20, 1) == stratified_split(labels, 20, 1)
    assert stratified_split(labels, 20, 1) != stratified_split(labels, 20, 2)


def test_a_split_that_would_empty_a_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="take at most 1"):
        stratified_split([0, 0, 1], 2, seed=0)


# -- the conversion --------------------------------------------------------------------------------------------------


def test_baseline_jpeg_bytes_are_kept_and_labelled_by_sorted_folder(folders: Path, tmp_path: Path) -> None:
    result = convert_images(folders, tmp_path / "out", parts=4, val_fraction=0.2)
    assert (result.kept, result.encoded, result.skipped) == (30, 0, [])
    info = DatasetInfo.load(tmp_path / "out")
    assert info.classes == ("blue", "green", "red")
    assert {name: (each.parts, each.records) for name, each in info.splits.items()} == {"train": (4, 24), "val": (1, 6)}
    seen = set()
    for split in ("train", "val"):
        for record in records(tmp_path / "out" / split):
            name = text(record, "filename")
            assert record["encoded"].values[0] == (folders / name).read_bytes()
            assert info.classes[record["class/label"].values[0]] == text(record, "class/text") == name.split("/")[0]
            assert record["class/label"].kind == "int32"
            assert [record[key].values.tolist() for key in ("height", "width", "channels")] == [[12], [16], [3]]
            assert text(record, "format") == "JPEG"
            assert text(record, "colorspace") == "RGB"
            seen.add(name)
    assert len(seen) == 30
    val = Counter(int(record["class/label"].values[0]) for record in records(tmp_path / "out" / "val"))
    assert val == {0: 2, 1: 2, 2: 2}


def test_the_records_are_shuffled_and_the_seed_decides(folders: Path, tmp_path: Path) -> None:
    for name, seed, workers in (("a", 5, 1), ("b", 5, 3), ("c", 6, 1)):
        convert_images(folders, tmp_path / name, parts=2, seed=seed, workers=workers)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")
    labels = [int(record["class/label"].values[0]) for record in records(tmp_path / "a" / "train")]
    assert labels != sorted(labels)


def test_what_is_not_baseline_jpeg_is_encoded_again(tmp_path: Path) -> None:
    source = tmp_path / "src" / "things"
    write(source / "progressive.jpg", picture("red"), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    write(source / "gray.png", picture("red")[..., 0])
    write(source / "colour.png", picture("red"))
    write(source / "deep.png", picture("red").astype(np.uint16) * 257)
    write(source / "other.webp", picture("red"), cv2.IMWRITE_WEBP_QUALITY, 101)
    write(source / "deeper" / "other.bmp", picture("red"))
    gray = write(source / "gray.jpg", picture("red")[..., 0], cv2.IMWRITE_JPEG_QUALITY, 70)
    result = convert_images(tmp_path / "src", tmp_path / "out", parts=1, val_fraction=0)
    assert (result.kept, result.encoded, result.skipped) == (1, 6, [])
    for record in records(tmp_path / "out" / "train"):
        data, name = record["encoded"].values[0], text(record, "filename").split("/")[-1]
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if name.startswith("gray"):
            assert (data == gray) == (name == "gray.jpg")
            assert image.shape == (12, 16)
            assert record["channels"].values.tolist() == [1]
            assert text(record, "colorspace") == "GRAY"
        else:
            np.testing.assert_allclose(image.astype(int), picture("red").astype(int), atol=3)
        start = data.find(b"\xff\xc0")  # the frame header of a baseline file
        assert start > 0
        assert b"\xff\xc2" not in data[:start]


def test_unreadable_files_are_listed_and_the_rest_is_there(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (folders / "red" / "0.jpg").read_bytes()
    (folders / "red" / "cut.jpg").write_bytes(whole[:-2])
    (folders / "red" / "notes.txt").write_text("no image")
    (folders / "red" / "empty.jpg").touch()
    (folders / "red" / "broken").symlink_to("nowhere")
    os.mkfifo(folders / "red" / "pipe")
    (folders / "red" / ".hidden").write_text("not looked at")
    (folders / "README.txt").write_text("beside the classes")
    monkeypatch.setattr(writing, "SHOWN_SKIPPED", 2)
    result = convert_images(folders, tmp_path / "out", parts=2)
    expected = ["README.txt", *(f"red/{name}" for name in ("broken", "cut.jpg", "empty.jpg", "notes.txt", "pipe"))]
    assert [each.name for each in result.skipped] == expected
    lines = (tmp_path / "out" / "skipped.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == expected
    assert "cut short" in lines[2]
    assert all(len(line.split("\t")[1]) > 5 for line in lines)
    info = DatasetInfo.load(tmp_path / "out")
    assert sum(split.records for split in info.splits.values()) == 30
    assert sum(len(records(tmp_path / "out" / split)) for split in info.splits) == 30
    summary = result.summary()
    assert "red/broken" in summary
    assert "4 more" in summary
    assert "6 skipped" in summary


def test_no_readable_file_is_an_error_and_leaves_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "src" / "a").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "src" / "a" / f"{number}.jpg").write_text("no")
    with pytest.raises(DataError, match=r"none of the 3 items of split train could be read; the first is a/\d\.jpg"):
        convert_images(tmp_path / "src", tmp_path / "out", parts=1, val_fraction=0)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("at", [1, 15, 28])
def test_an_interrupted_conversion_leaves_nothing(folders: Path, tmp_path: Path, at: int) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 30
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_images(folders, tmp_path / "out", parts=4, progress=interrupt)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_killed_conversion_has_no_dataset_json(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What SIGKILL just before the last step leaves: nobody cleans up.
    monkeypatch.setattr(DatasetInfo, "save", lambda self, directory: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr(writing, "_clear", lambda out: None)
    with pytest.raises(KeyboardInterrupt):
        convert_images(folders, tmp_path / "out", parts=2)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["train", "val"]
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="--overwrite"):
        convert_images(folders, tmp_path / "out", parts=1)
    convert_images(folders, tmp_path / "out", parts=1, overwrite=True)
    assert len(records(tmp_path / "out" / "train")) == 27
    assert [path.name for path in (tmp_path / "out" / "train").glob("part-*")] == ["part-00000"]


def test_overwrite_replaces_the_data_set_and_nothing_else(folders: Path, tmp_path: Path) -> None:
    convert_images(folders, tmp_path / "out", parts=8)
    (tmp_path / "out" / "mine.txt").write_text("keep")
    convert_images(folders, tmp_path / "out", parts=2, val_fraction=0, overwrite=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
    assert sorted(digest(tmp_path / "out")) == [FILE_NAME, "mine.txt", "train/part-00000", "train/part-00001"]
    assert set(json.loads((tmp_path / "out" / FILE_NAME).read_text())["splits"]) == {"train"}


def test_links_are_followed_but_not_in_circles(folders: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "linked.jpg", picture("red"))
    os.symlink(elsewhere, folders / "red" / "more")
    os.symlink(folders / "red", folders / "red" / "circle")
    result = convert_images(folders, tmp_path / "out", parts=1, val_fraction=0)
    assert result.kept == 31
    assert result.skipped == []


# -- options ---------------------------------------------------------------------------------------------------------


def photo(size: tuple[int, int]) -> Any:
    return np.ascontiguousarray(helpers.picture(*size)[..., ::-1])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A large colour and a large gray picture, and a small one."""
    write(tmp_path / "src" / "a" / "wide.jpg", photo((120, 200)))
    write(tmp_path / "src" / "a" / "gray.jpg", photo((120, 80))[..., 0])
    write(tmp_path / "src" / "a" / "small.jpg", photo((60, 50)))
    return tmp_path / "src"


def converted(source: Path, out: Path, **arguments: Any) -> tuple[Conversion, dict[str, Record]]:
    result = convert_images(source, out, parts=1, val_fraction=0, **arguments)
    return result, {text(record, "filename").split("/")[-1]: record for record in records(out / "train")}


def test_the_short_side_is_reduced_and_never_enlarged(photos: Path, tmp_path: Path) -> None:
    result, found = converted(photos, tmp_path / "out", options=ImageOptions(short_side=64, quality=99))
    assert (result.kept, result.encoded) == (1, 2)
    assert found["small.jpg"]["encoded"].values[0] == (photos / "a" / "small.jpg").read_bytes()
    for name, shape in (("wide.jpg", (64, 107, 3)), ("gray.jpg", (96, 64, 1))):
        image = codec.decode(found[name]["encoded"].values[0], "RGB" if shape[2] == 3 else "GRAY")
        assert image.shape == shape
        assert tuple(int(found[name][key].values[0]) for key in ("height", "width", "channels")) == shape
        whole = codec.decode((photos / "a" / name).read_bytes(), "RGB" if shape[2] == 3 else "GRAY")
        expected = cv2.resize(whole, (shape[1], shape[0]), interpolation=cv2.INTER_AREA).reshape(shape)
        assert np.abs(image.astype(int) - expected).mean() < 2


def test_row_restarts_encode_again_and_store_the_offsets(photos: Path, tmp_path: Path) -> None:
    result, found = converted(photos, tmp_path / "out", options=ImageOptions(row_restarts=True))
    assert (result.kept, result.encoded) == (0, 3)
    assert result.info is not None
    assert result.info.features["encoded/rows"] == "int32"
    for name, rows in (("wide.jpg", 15), ("gray.jpg", 15), ("small.jpg", 8)):
        data, offsets = found[name]["encoded"].values[0], found[name]["encoded/rows"]
        assert offsets.kind == "int32"
        assert len(offsets) == rows + 1
        found_offsets = codec.row_offsets(data)
        np.testing.assert_array_equal(offsets.values, found_offsets)
    (tmp_path / "again" / "a").mkdir(parents=True)
    (tmp_path / "again" / "a" / "wide.jpg").write_bytes(found["wide.jpg"]["encoded"].values[0])
    result, again = converted(tmp_path / "again", tmp_path / "out2", options=ImageOptions(row_restarts=True))
    assert (result.kept, result.encoded) == (1, 0)  # it has the markers already
    assert again["wide.jpg"]["encoded"] == found["wide.jpg"]["encoded"]
    assert again["wide.jpg"]["encoded/rows"] == found["wide.jpg"]["encoded/rows"]


def test_a_pipeline_gives_the_same_pixels_with_and_without_row_slices(photos: Path, tmp_path: Path) -> None:
    convert_images(photos, tmp_path / "out", parts=1, val_fraction=0, options=ImageOptions(row_restarts=True))
    for seed in range(5):
        batches = []
        for on in (True, False):
            stages = [{"ofrecord_image_decoder_random_crop": {"row_slices": on}}, {"resize": {"size": [9, 9]}}]
            source = {"ofrecord": {"dir": str(tmp_path / "out" / "train")}}
            pipeline = pipeline_from({"source": source, "stages": stages, "batch_size": 3, "seed": seed})
            with pipeline.loader() as loader:
                batches.append(next(iter(loader))["image"])
        np.testing.assert_array_equal(*batches)


def test_the_orientation_is_applied_on_request(tmp_path: Path) -> None:
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "turned.jpg").write_bytes(helpers.oriented_jpeg(6, height=40, width=56))
    (tmp_path / "src" / "a" / "upright.jpg").write_bytes(helpers.oriented_jpeg(1, height=40, width=56))
    result, found = converted(tmp_path / "src", tmp_path / "ignored")
    assert result.kept == 2
    assert found["turned.jpg"]["height"].values.tolist() == [40]
    result, found = converted(tmp_path / "src", tmp_path / "applied", options=ImageOptions(orientation="apply"))
    assert (result.kept, result.encoded) == (1, 1)
    data = found["turned.jpg"]["encoded"].values[0]
    assert (codec.image_size(data), codec.image_info(data).orientation) == ((56, 40), 1)
    expected = codec.decode(helpers.oriented_jpeg(6, height=40, width=56), orientation="apply")
    assert np.abs(codec.decode(data).astype(int) - expected).mean() < 2


def test_quality_counts_for_what_is_encoded_again(photos: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in (30, 95):
        options = ImageOptions(quality=quality, row_restarts=True)
        sizes.append(
            len(converted(photos, tmp_path / str(quality), options=options)[1]["wide.jpg"]["encoded"].values[0])
        )
    assert sizes[0] < sizes[1]


def test_digests_are_written_beside_the_parts(folders: Path, tmp_path: Path) -> None:
    convert_images(folders, tmp_path / "out", parts=3, digests=True)
    assert sorted(path.name for path in (tmp_path / "out" / "train").iterdir() if path.is_file()) == [
        name for part in range(3) for name in (f"part-{part:05d}", f"part-{part:05d}.crc32c")
    ]
    source = OFRecordSource(tmp_path / "out" / "train", verify="digests")
    for index in range(len(source)):
        source.read(SampleKey(0, index))
    source.close()
    convert_images(folders, tmp_path / "out", parts=1, overwrite=True)
    assert not list((tmp_path / "out").rglob("*.crc32c"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quality": 0}, "a quality from 1 to 100, got 0"),
        ({"short_side": 0}, "short-side >= 1, got 0"),
        ({"orientation": "exif"}, "orientation ignore or apply, got 'exif'"),
    ],
)
def test_wrong_options_are_config_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageOptions(**arguments)


# -- wrong arguments -------------------------------------------------------------------------------------------------


def _no_directory(root: Path) -> None: ...


def _no_folders(root: Path) -> None:
    (root / "src").mkdir()
    (root / "src" / "a.jpg").touch()


def _empty_folder(root: Path) -> None:
    write(root / "src" / "a" / "a.png", picture("red"))
    (root / "src" / "b").mkdir()


def _two_files(root: Path) -> None:
    for name in ("a.png", "b.png"):
        write(root / "src" / "a" / name, picture("red"))


def _out_is_a_file(root: Path) -> None:
    _two_files(root)
    (root / "out").touch()


@pytest.mark.parametrize(
    ("arrange", "arguments", "message"),
    [
        (_no_directory, {}, "src is not a directory"),
        (_no_folders, {}, "has no folders"),
        (_empty_folder, {}, "b has no files"),
        (_two_files, {"val_fraction": 1.0}, "0 <= val-fraction < 1, got 1.0"),
        (_two_files, {"val_fraction": -0.1}, "got -0.1"),
        (_two_files, {"val_fraction": float("nan")}, "got nan"),
        (_two_files, {"val_fraction": 0.1}, "of 2 files is no file"),
        (_two_files, {"val_fraction": 0.9}, "take at most 1"),
        (_two_files, {"val_fraction": 0}, "expected parts <= 2, the number of files, got 8"),
        (_two_files, {"val_fraction": 0.5, "parts": 1, "val_parts": 2}, "expected val-parts <= 1"),
        (_two_files, {"val_fraction": 0, "parts": 1, "out": "src/a"}, "lies within the source directory"),
        (_out_is_a_file, {"val_fraction": 0, "parts": 1}, "expected a directory to write, found a file"),
    ],
)
def test_wrong_input_is_a_config_error(tmp_path: Path, arrange: Any, arguments: dict[str, Any], message: str) -> None:
    arrange(tmp_path)
    out = tmp_path / arguments.pop("out", "out")
    with pytest.raises(ConfigError, match=message):
        convert_images(tmp_path / "src", out, **arguments)
    assert not (out / FILE_NAME).exists()
