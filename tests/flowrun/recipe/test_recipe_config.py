"""Mistakes in a recipe that show before anything runs."""

import sys

import pytest

from flowdata import ConfigError
from flowrun.recipe.config import load_recipe

MODEL = "model.args.num_classes=10"


def test_evaluation_needs_whole_labels():
    mixed = "data.{}.batch_transforms=[mixup: {{num_classes: 10}}]"
    recipe = load_recipe("train/digits", [MODEL, mixed.format("train")])
    assert recipe.train_pipeline.batch_specs()["label"].shape == (10,)
    with pytest.raises(ConfigError, match=r"data\.eval: evaluation needs one class per picture, got labels"):
        load_recipe("train/digits", [MODEL, mixed.format("eval")])


def test_pipelines_with_code_of_ones_own_need_permission(tmp_path, monkeypatch):
    (tmp_path / "own_steps_of_a_recipe.py").write_text("def keep(sample, rng):\n    return sample\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    change = "data.train.stages.2=own_steps_of_a_recipe:keep"
    with pytest.raises(ConfigError, match=r"data\.train\.stages\[2\]: .*add --allow-imports"):
        load_recipe("train/digits", [MODEL, change])
    assert "own_steps_of_a_recipe" not in sys.modules
    size = "data.train.stages.3={crop_mirror_normalize: {mean: 1, std: 1, crop: [8, 8]}}"
    recipe = load_recipe("train/digits", [MODEL, change, size], allow_imports=True)
    assert repr(recipe.train_pipeline.stages[2]) == "own_steps_of_a_recipe:keep"
