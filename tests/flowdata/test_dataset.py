"""dataset.json and the names of part files."""

import json

import pytest

from flowdata.dataset import DatasetInfo, SplitInfo, dataset_of, part_name
from flowdata.errors import ConfigError

INFO = DatasetInfo(
    classes=("cat", "dog"),
    splits={
        "train": SplitInfo(directory="train", parts=8, records=1234),
        "val": SplitInfo(directory="val", parts=1, records=0),
    },
    features={"encoded": "bytes", "class/label": "int32"},
)


@pytest.mark.parametrize(("index", "suffix_length", "name"), [
    (0, 5, "part-00000"), (0, -1, "part-0"), (10, -1, "part-10"), (7, 0, "part-7"), (7, 1, "part-7"),
    (123456, 5, "part-123456"), (99, 3, "part-099"),
])  # fmt: skip
def test_part_names(index, suffix_length, name):
    assert part_name(index, "part-", suffix_length) == name


def test_the_file_has_the_documented_form(tmp_path):
    assert json.loads(INFO.save(tmp_path).read_text()) == {
        "version": 1,
        "format": "ofrecord",
        "classes": ["cat", "dog"],
        "splits": {
            "train": {"directory": "train", "parts": 8, "records": 1234},
            "val": {"directory": "val", "parts": 1, "records": 0},
        },
        "part_name_prefix": "part-",
        "part_name_suffix_length": 5,
        "features": {"encoded": "bytes", "class/label": "int32"},
    }
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]
    assert DatasetInfo.load(tmp_path) == INFO


def test_a_folder_finds_its_description(tmp_path):
    for name in ("train", "val", "extra"):
        (tmp_path / name).mkdir()
    INFO.save(tmp_path)
    assert dataset_of(tmp_path / "train") == (INFO, "train")
    assert dataset_of(str(tmp_path / "train" / ".." / "val")) == (INFO, "val")
    assert dataset_of(tmp_path / "extra") is None
    assert dataset_of(tmp_path) is None


@pytest.mark.parametrize(("change", "message"), [
    ({"version": 2}, "version: expected 1, got 2"),
    ({"format": "tfrecord"}, "format: expected 'ofrecord', got 'tfrecord'"),
    ({"clases": []}, "clases: unknown key; did you mean 'classes'?"),
    ({"splits": {"train": {"directory": "train", "parts": 0, "records": 1}}}, "splits.train.parts: expected greater"),
    ({"splits": {"train": {"directory": "train", "parts": 1}}}, "splits.train.records: the key is required"),
    ({"splits": {"train": {"directory": "t", "parts": 1, "records": 1, "part": 3}}},
     "splits.train.part: unknown key; did you mean 'parts'?"),
])  # fmt: skip
def test_a_wrong_description_is_an_error(tmp_path, change, message):
    tree = INFO.model_dump(mode="json") | change
    (tmp_path / "dataset.json").write_text(json.dumps(tree))
    with pytest.raises(ConfigError) as caught:
        DatasetInfo.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'dataset.json'}: {message}")


def test_a_description_that_is_missing_or_no_json(tmp_path):
    with pytest.raises(ConfigError, match=r"dataset.json: cannot be read \(No such file"):
        DatasetInfo.load(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ConfigError, match=r"dataset.json: expected JSON \(.*line 1"):
        DatasetInfo.load(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"dataset\.json: expected an object"):
        DatasetInfo.load(tmp_path)
