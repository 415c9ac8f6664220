"""`config show --resolve`: everything said, and still the same pipeline."""

from dataclasses import fields

import pytest
import yaml

from flowdata.cli import main
from flowdata.config import config_folder, load_config
from flowdata.pipeline_config import load_pipeline, pipeline_from
from flowdata.tools.shapes import make_shapes
from flowdata.yaml_reader import dump_yaml, parse_yaml
from tests.helpers.records import write_dataset

SHIPPED = sorted(path.stem for path in (config_folder() / "pipelines").glob("*.yaml"))
FULL = """\
    data: {dir: DIR}
    source: {ofrecord: {dir: "${data.dir}/train", prefix: part-}}
    batch_size: 4
    outputs: [image, label]
    order: {buffered: 3}
    stages:
      - ofrecord_raw_decoder: {feature: class/label, output: label}
      - ofrecord_image_decoder
      - resize: {size: [12, 10]}
      - rand_augment: {fill: [1, 2, 3]}
      - "no_such_package_yet:stage"
      - crop_mirror_normalize: {mean: 1e-3, std: [1, 2, 3]}
      - random_erasing: {layout: CHW, value: random}
    batch_transforms: [mixup_or_cutmix: {num_classes: 7}]
    """


def resolved(capsys, *arguments):
    assert main(["config", "show", *arguments, "--resolve"]) == 0
    return capsys.readouterr().out


def same(left, right):
    for each in fields(left):
        if each.name != "source":
            assert getattr(left, each.name) == getattr(right, each.name), each.name
    assert left.fingerprint() == right.fingerprint()


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_printed_loads_to_the_same_pipeline(name, tmp_path, capsys):
    overrides = [f"data.dir={tmp_path}"]
    if name.startswith("coco"):
        make_shapes(tmp_path, count=2)
    else:
        for split in ("train", "val"):
            write_dataset(tmp_path, counts=(2, 1), split=split)
        overrides.append("source.ofrecord.parts=2")
    text = resolved(capsys, f"pipelines/{name}", *overrides)
    assert "${" not in text
    (tmp_path / "resolved.yaml").write_text(text)
    same(load_pipeline(tmp_path / "resolved.yaml"), load_pipeline(f"pipelines/{name}", overrides))
    assert resolved(capsys, str(tmp_path / "resolved.yaml")) == text  # there is nothing left to say


def test_every_default_is_filled_in(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path, counts=(4, 3))
    (tmp_path / "own_steps.py").write_text("def keep(sample, rng):\n    return sample\n")
    text = FULL.replace("DIR", str(tmp_path)).replace("no_such_package_yet:stage", "own_steps:keep")
    (tmp_path / "x.yaml").write_text(text)
    assert main(["config", "show", "x.yaml", "--resolve"]) == 2
    assert "add --allow-imports" in capsys.readouterr().err
    assert main(["config", "show", "x.yaml", "--allow-imports"]) == 2
    assert "--allow-imports goes with --resolve" in capsys.readouterr().err
    tree = yaml.safe_load(resolved(capsys, "x.yaml", "--allow-imports"))
    assert tree["last_batch"] == "keep"
    assert tree["workers"] == 1
    assert tree["source"] == {"ofrecord": {"dir": f"{tmp_path}/train", "prefix": "part-"}}
    assert tree["stages"][3] == {"rand_augment": {
        "num_ops": 2, "magnitude": 9, "num_magnitude_bins": 31, "interpolation": "nearest", "fill": [1, 2, 3],
        "image": "image",
    }}  # fmt: skip
    assert tree["stages"][4] == "own_steps:keep"
    assert tree["stages"][5]["crop_mirror_normalize"]["crop_position"] == [0.5, 0.5]
    assert tree["batch_transforms"][0]["mixup_or_cutmix"]["cutmix_probability"] == 0.5
    same(pipeline_from(tree, allow_imports=True), load_pipeline("x.yaml", allow_imports=True))


def test_the_pipelines_of_a_recipe_are_filled_in(tmp_path, capsys):
    for split in ("train", "val"):
        write_dataset(tmp_path, counts=(2,), split=split)
    overrides = [f"data.dir={tmp_path}", *(f"data.{part}.source.ofrecord.parts=1" for part in ("train", "eval"))]
    text = resolved(capsys, "train/digits", *overrides)
    (tmp_path / "recipe.yaml").write_text(text)
    tree = yaml.safe_load(text)
    before = load_config("train/digits", overrides)
    for split in ("train", "eval"):
        assert tree["data"][split]["prefetch_batches"] == 4
        same(pipeline_from(tree["data"][split]), pipeline_from(before.section("data", split)))
    assert {key: tree[key] for key in before.tree if key != "data"} == {
        key: before.tree[key] for key in before.tree if key != "data"
    }


@pytest.mark.parametrize("tree", [
    {"a": "1e-3", "b": "010", "c": "yes", "d": "0o17", "e": "1:30", "f": ""}, {"x": [1e-7, 3, -0.5, True, None]},
    {"path": "a: b # c", "list": [[1, 2], [3, 4]], "unicode": "é", "deep": {"er": {"still": [{"a": "~"}]}}},
])  # fmt: skip
def test_what_is_dumped_is_read_as_it_was(tree):
    assert parse_yaml(dump_yaml(tree), "x")[0] == tree
    assert yaml.safe_load(dump_yaml(tree)) == tree
