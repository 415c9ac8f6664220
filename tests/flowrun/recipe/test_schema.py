"""The JSON Schema of recipes: shipped ones pass, misspelt ones do not."""

import json
import re
import subprocess
import sys

import pytest

from flowdata.config import config_folder, load_yaml, override
from flowrun.recipe.config import RecipeConfig
from flowrun.recipe.schema import recipe_schema
from tests.helpers import jobs

RECIPES = sorted((config_folder() / "train").glob("*.yaml"))


@pytest.fixture(scope="module")
def accepts():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid


@pytest.mark.parametrize("file", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_pass(file, accepts):
    assert accepts(load_yaml(file).tree)


@pytest.mark.parametrize(("change", "expected"), [
    ("checkpoint=some/path", True), ("checkpoint={path: x, keep: 3}", True), ("checkpoint={kep: 3}", False),
    ("epochs=0", False), ("epochs=${env:E}", True), ("epoch=3", False), ("precision=float16", False),
    ("data.train.batch_sise=3", False), ("data.train.stages.1={resize: {size: [2]}}", False),
    ("data.train.batch_transforms=[mixup: {num_classes: 10}]", True), ("optimizer={name: sgd, args: {lr: 1}}", True),
    ("model.name=my_models:Mine", True), ("ddp.bucket_size=-1", False),
])  # fmt: skip
def test_what_is_accepted(change, expected, accepts):
    assert accepts(override(load_yaml("train/digits"), [change]).tree) == expected


def test_it_is_complete():
    schema = recipe_schema()
    assert set(schema["properties"]) == set(RecipeConfig.model_fields)
    assert set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema))) == set(schema["$defs"])
    assert "random_erasing" in json.dumps(schema["$defs"]["Pipeline"])


def test_the_command_prints_it(tmp_path):
    printed = jobs.run("flowdata", "config", "schema", "recipe", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    # in a fresh process, too: other tests register stages of their own in this one
    code = "import json; from flowrun.recipe.schema import recipe_schema; print(json.dumps(recipe_schema()))"
    made = subprocess.run(
        [sys.executable, "-c", code], env=jobs.environment(), capture_output=True, text=True, check=True
    )
    assert json.loads(printed.stdout) == json.loads(made.stdout)
