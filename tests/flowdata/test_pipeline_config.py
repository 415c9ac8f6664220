"""Pipelines in YAML: the same as in Python, and mistakes found before anything is read."""

from dataclasses import dataclass

import numpy as np
import pytest

from flowdata import pipeline_config, stages
from flowdata.batch_align import ImageBatchAlign
from flowdata.config import Config, config_folder, load_yaml
from flowdata.errors import ConfigError
from flowdata.pipeline import Pipeline
from flowdata.pipeline_config import load_pipeline, pipeline_from
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Buffered, Shuffled
from flowdata.stages import STAGES, stage
from flowdata.stages.decode import OFRecordImageDecoder, OFRecordRawDecoder
from flowdata.stages.draw import CoinFlip
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize
from tests.helpers.records import write_dataset

OF_RECORDS = sorted(path.stem for path in (config_folder() / "pipelines").glob("*.yaml") if path.stem != "coco_train")


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_file(text):
        (tmp_path / "x.yaml").write_text(text)
        return "x.yaml"

    return write_file


def failure(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return str(caught.value)


def test_yaml_and_python_describe_the_same_pipeline(write, tmp_path):
    folder = write_dataset(tmp_path, counts=(3, 4))
    text = """
data: {dir: .}
source:
  ofrecord: {dir: "${data.dir}/train", parts: 2, prefix: part-, suffix_length: 5}
order: {buffered: 3}
seed: 5
batch_size: 4
last_batch: wrap
outputs: [label, image]
executor: serial
workers: 3
prefetch_batches: 2
samples_per_message: 5
stages:
  - ofrecord_raw_decoder: {feature: class/label, output: label, shape: [], dtype: int64}
  - ofrecord_image_decoder:
  - resize: {size: [8, 9], interpolation: area}
  - coin_flip
  - crop_mirror_normalize: {crop: [6, 6], crop_position: [0, 1], mean: [1, 2, 3], std: 2, layout: NHWC}
"""
    expected = Pipeline(
        OFRecordSource(folder, parts=2, prefix="part-", suffix_length=5),
        [
            OFRecordRawDecoder(feature="class/label", output="label", dtype="int64"),
            OFRecordImageDecoder(),
            Resize(size=(8, 9), interpolation="area"),
            CoinFlip(),
            CropMirrorNormalize(
                crop=(6, 6), crop_position=(0, 1), mean=(1, 2, 3), std=2, layout="NHWC"
            ),
        ],
        batch_size=4, order=Buffered(3), seed=5, last_batch="wrap", outputs=("label", "image"),
        workers=3, prefetch_batches=2, samples_per_message=5,
    )  # fmt: skip
    found = load_pipeline(write(text))
    for name in ("stages", "batch_size", "order", "seed", "last_batch", "outputs", "executor", "workers",
                 "prefetch_batches", "samples_per_message"):  # fmt: skip
        assert getattr(found, name) == getattr(expected, name)
    assert repr(found.source) == repr(OFRecordSource("train", parts=2, prefix="part-", suffix_length=5))
    with found.loader() as left, expected.loader() as right:
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_equal(a["image"], b["image"])
            np.testing.assert_array_equal(a["label"], b["label"])


@pytest.mark.parametrize("name", OF_RECORDS)
def test_every_shipped_pipeline_of_records_loads_and_delivers(name, tmp_path):
    for split in ("train", "val"):
        write_dataset(tmp_path, counts=(2, 1), split=split)
    overrides = [f"data.dir={tmp_path}", "source.ofrecord.parts=2", "batch_size=2", "executor=serial"]
    description = load_pipeline(f"pipelines/{name}", overrides)
    specs = description.output_specs()
    assert set(specs) == {"image", "label"}
    assert all(spec.fixed for spec in specs.values())
    with description.loader() as loader:
        batches = list(loader)
    assert sorted(label for batch in batches for label in batch["label"].tolist()) == [0, 1, 2]
    assert batches[0]["image"].shape == (2, *specs["image"].shape)


def test_the_imagenet_pipelines_are_those_of_the_reference():
    train, evaluation = (load_pipeline(f"pipelines/imagenet_{name}") for name in ("train", "eval"))
    assert [each.stage_name for each in train.stages] == [
        "ofrecord_raw_decoder", "ofrecord_image_decoder_random_crop", "resize", "coin_flip", "crop_mirror_normalize",
    ]  # fmt: skip
    assert [each.stage_name for each in evaluation.stages] == [
        "ofrecord_raw_decoder", "ofrecord_image_decoder", "resize", "crop_mirror_normalize",
    ]  # fmt: skip
    for description in (train, evaluation):
        assert description.batch_size == 128
        specs = description.output_specs()
        assert specs["image"].shape == (3, 224, 224)
        assert specs["label"].shape == ()
        assert (description.stages[-1].mean, description.stages[-1].std) == (
            (123.68, 116.779, 103.939), (58.393, 57.12, 57.375),
        )  # fmt: skip
    assert train.order == Shuffled()
    assert evaluation.stages[2] == Resize(shorter=256)


def test_every_mistake_is_reported_at_once_with_its_place(write):
    text = """\
source:
  ofrecord: {dir: x, prats: 3}
batch_sise: 3
batch_size: "8"
order: shuffeld
last_batch: skip
stages:
  - resize: {size: [2, 2], shrter: 3}
  - coin_flip: {probability: 2}
  - coinflip
  - crop_mirror_normalize:
      meen: 3
      std: abc
  - {resize: 1, b: 2}
  - resize: 5
  - resize: {size: [2, 2], shorter: 3}
"""
    assert failure(load_pipeline, write(text)).splitlines() == [
        "x.yaml:2: source.ofrecord.prats: unknown key; did you mean 'parts'?",
        "x.yaml:3: batch_sise: unknown key; did you mean 'batch_size'?",
        "x.yaml:4: batch_size: expected a valid integer, got '8'",
        "x.yaml:5: order: expected sequential, shuffled or {buffered: SIZE}, got 'shuffeld'",
        "x.yaml:6: last_batch: expected 'keep', 'drop' or 'wrap', got 'skip'",
        "x.yaml:8: stages[0].resize.shrter: unknown key; did you mean 'shorter'?",
        "x.yaml:9: stages[1].coin_flip: expected probability from 0 to 1, got 2.0",
        "x.yaml:10: stages[2]: unknown stage 'coinflip'; did you mean 'coin_flip'?",
        "x.yaml:12: stages[3].crop_mirror_normalize.meen: unknown key; did you mean 'mean'?",
        "x.yaml:13: stages[3].crop_mirror_normalize.std: expected a valid number or a valid array, got 'abc'",
        "x.yaml:11: stages[3].crop_mirror_normalize.mean: the key is required",
        "x.yaml:14: stages[4]: expected the name of a stage, or one name with its arguments, got {'resize': 1, 'b': 2}",
        "x.yaml:15: stages[5].resize: expected an object, got 5",
        "x.yaml:16: stages[6].resize: expected one of size, shorter, longer, got size and shorter",
    ]


def test_mistakes_within_nested_values_are_reported_together_too(write):
    text = """\
data: {dir: d, drr: e}
source: {ofrecord: {dir: "${data.dir}", parts: -1}}
batch_size: 2
stages:
  - resize: {size: [2]}
  - resize: {size: [2, x]}
  - color_jitter: {brightness: [0.5, one], hue: 0.7}
  - color_jitter:
      contrast: [2, 1]
  - pad: {padding: [1, 2, 3]}
  - rand_augment:
      magnitude: 40
      interpolation: lanczos
  - trivial_augmnt: {fill: 0}
  - random_erasing: {value: noise, scale: [0, 2]}
batch_transforms:
  - mixup:
      num_classes: 3
      alhpa: 2
  - cutmix: {num_classes: 3, layout: HCW}
  - mix
"""
    assert failure(load_pipeline, write(text)).splitlines() == [
        "x.yaml:2: source.ofrecord.parts: expected greater than 0, got -1",
        "x.yaml:1: data.drr: unknown key; did you mean 'dir'?",
        "x.yaml:5: stages[0].resize.size[1]: the item is required",
        "x.yaml:6: stages[1].resize.size[1]: expected a valid integer, got 'x'",
        "x.yaml:7: stages[2].color_jitter.brightness: expected a valid number, got [0.5, 'one']",
        "x.yaml:7: stages[2].color_jitter.brightness[1]: expected a valid number, got 'one'",
        "x.yaml:8: stages[3].color_jitter: expected contrast as a number >= 0 or as two ascending numbers from 0.0 to "
        "inf, got (2.0, 1.0)",
        "x.yaml:10: stages[4].pad.padding: expected a valid integer or at most 2 items, got [1, 2, 3]",
        "x.yaml:10: stages[4].pad.padding[3]: the item is required",
        "x.yaml:13: stages[5].rand_augment.interpolation: expected 'nearest' or 'bilinear', got 'lanczos'",
        "x.yaml:14: stages[6]: unknown stage 'trivial_augmnt'; did you mean 'trivial_augment'?",
        "x.yaml:15: stages[7].random_erasing.value: expected a valid number or a valid array or 'random', got 'noise'",
        "x.yaml:19: batch_transforms[0].mixup.alhpa: unknown key; did you mean 'alpha'?",
        "x.yaml:20: batch_transforms[1].cutmix.layout: expected 'CHW' or 'HWC', got 'HCW'",
        "x.yaml:21: batch_transforms[2]: unknown batch transform 'mix'; did you mean 'mixup'?",
    ]


def test_a_misspelt_override_is_named_by_its_argument():
    text = failure(load_pipeline, "pipelines/digits", ["batch_sise=3", "stages.3.crop_mirror_normalize.meen=1"])
    assert text.splitlines() == [
        "argument 'batch_sise=3': batch_sise: unknown key; did you mean 'batch_size'?",
        "argument 'stages.3.crop_mirror_normalize.meen=1': stages[3].crop_mirror_normalize.meen: unknown key; "
        "did you mean 'mean'?",
    ]


def test_missing_keys(write):
    assert failure(load_pipeline, write("seed: 1")).splitlines() == [
        "x.yaml:1: source: the key is required",
        "x.yaml:1: batch_size: the key is required",
    ]


def test_stages_that_do_not_fit_together_are_found_on_loading(write):
    text = "source: {ofrecord: {dir: x}}\nbatch_size: 3\nstages:\n  - crop_mirror_normalize: {mean: 0, std: 1}\n"
    assert failure(load_pipeline, write(text)) == (
        "x.yaml:3: stages: crop_mirror_normalize: needs the value 'image', which no earlier stage produces; "
        "there is record"
    )


def test_a_section_of_a_recipe_is_a_pipeline(write):
    text = """\
data:
  train:
    source: {ofrecord: {dir: x}}
    batch_size: 3
    stages: [ofrecord_bytes_decoder: {feature: f}]
  eval:
    source: {ofrecord: {dir: x}}
    batch_size: 3
    stages: [ofrecord_bytes_decoder: {feture: f}]
"""
    recipe = load_yaml(write(text))
    assert pipeline_from(recipe.section("data", "train")).batch_size == 3
    assert failure(pipeline_from, recipe.section("data", "eval")).splitlines()[0] == (
        "x.yaml:9: data.eval.stages[0].ofrecord_bytes_decoder.feture: unknown key; did you mean 'feature'?"
    )


def test_a_plain_mapping_is_a_pipeline(tmp_path):
    tree = {"source": {"ofrecord": {"dir": tmp_path}}, "batch_size": 3, "stages": ["coin_flip"]}
    assert pipeline_from(tree).source.dir == tmp_path
    assert failure(pipeline_from, {**tree, "stage": []}) == ("pipeline: stage: unknown key; did you mean 'stages'?")
    assert failure(pipeline_from, Config([], "f")) == "f: expected an object, got []"


def test_a_stage_of_ones_own_is_available_by_name(monkeypatch):
    monkeypatch.setattr(stages, "STAGES", registry := dict(STAGES))
    monkeypatch.setattr(pipeline_config, "STAGES", registry)

    @stage("add_for_this_test")
    @dataclass(frozen=True, kw_only=True)
    class Add:
        amount: int
        name: str = "x"

        def output_spec(self, specs):
            return specs

        def __call__(self, sample, rng):
            return sample.replace(**{self.name: sample[self.name] + self.amount})

    tree = {"source": {"ofrecord": {"dir": "d"}}, "batch_size": 1}
    [found] = pipeline_from({**tree, "stages": [{"add_for_this_test": {"amount": 3}}]}).stages
    assert found == Add(amount=3)
    assert failure(pipeline_from, {**tree, "stages": ["add_for_this_test"]}) == (
        "pipeline: stages[0].amount: the key is required"
    )


def test_stages_and_batch_transforms_have_keys_of_their_own():
    tree = {"source": {"ofrecord": {"dir": "d"}}, "batch_size": 1, "stages": ["ofrecord_image_decoder"]}
    found = pipeline_from({**tree, "batch_transforms": [{"image_batch_align": {"alignment": 32, "size": [64, 96]}}]})
    assert found.batch_transforms == (ImageBatchAlign(alignment=32, size=(64, 96)),)
    assert failure(pipeline_from, {**tree, "batch_transforms": ["coin_flip"]}) == (
        "pipeline: batch_transforms[0]: unknown batch transform 'coin_flip'; it belongs under stages"
    )
    assert failure(pipeline_from, {**tree, "stages": ["image_batch_align"]}) == (
        "pipeline: stages[0]: unknown stage 'image_batch_align'; it belongs under batch_transforms"
    )
    assert failure(pipeline_from, {**tree, "batch_transforms": [{"image_batch_align": {"alignment": 3}}]}) == (
        "pipeline: batch_transforms[0].image_batch_align: expected alignment to be 0 or a power of two, got 3"
    )


def test_cuts(write, tmp_path):
    write_dataset(tmp_path, counts=(3, 4))
    text = """
source: {ofrecord: {dir: train, parts: 2}}
batch_size: 4
executor: process
workers: 2
outputs: [image]
stages: [{cut: {workers: 3}}, ofrecord_image_decoder, cut, {resize: {size: [8, 9]}}]
"""
    pipeline = load_pipeline(write(text))
    assert [(list(group.steps), group.workers) for group in pipeline.groups] == [([0], 2), ([1], 3), ([2], 1)]
    assert pipeline.step_names == ("read", "ofrecord_image_decoder", "resize")
    with pipeline.loader() as loader:
        assert [batch["image"].shape for batch in loader] == [(4, 8, 9, 3), (3, 8, 9, 3)]
    assert load_pipeline(write(text.replace("workers: 3", "workers: auto"))).groups[1].workers == "auto"
    assert "x.yaml:7: stages[0].cut: expected workers to be an integer >= 1 or auto, got 0" in failure(
        load_pipeline, write(text.replace("workers: 3", "workers: 0"))
    )
    assert "stages[0].cut.worker: unknown key; did you mean 'workers'?" in failure(
        load_pipeline, write(text.replace("workers: 3", "worker: 3"))
    )
    assert "expected stages after each cut" in failure(
        load_pipeline, write(text.replace(", {resize: {size: [8, 9]}}", ""))
    )
    assert "did you mean 'cut'" in failure(load_pipeline, write(text.replace("cut, ", "cutt, ")))


def test_workers_are_a_number_or_auto(write):
    text = "source: {ofrecord: {dir: x}}\nbatch_size: 4\nworkers: WORKERS\n"
    for wrong in ("many", "0", "2.5"):
        assert "x.yaml:3: workers: expected" in failure(load_pipeline, write(text.replace("WORKERS", wrong)))
    assert (
        pipeline_config.PipelineSection.model_validate(
            {"source": {"ofrecord": {"dir": "x"}}, "batch_size": 4, "workers": "auto"}
        ).workers
        == "auto"
    )
