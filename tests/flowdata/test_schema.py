"""The JSON Schema accepts what loads and refuses what does not."""

import json
import re
from dataclasses import MISSING, fields

import pytest

from flowdata.batch_transforms import BATCH_TRANSFORMS
from flowdata.cli import main
from flowdata.config import config_folder, load_yaml
from flowdata.errors import ConfigError
from flowdata.pipeline_config import PipelineSection, pipeline_from, yaml_stages
from flowdata.schema import pipeline_schema
from flowdata.stages import STAGES

FILES = [*sorted((config_folder() / "pipelines").glob("*.yaml")), config_folder() / "bench" / "preprocess.yaml"]
BASE = {"source": {"ofrecord": {"dir": "x"}}, "batch_size": 2}
LABEL = {"ofrecord_raw_decoder": {"feature": "l", "output": "label"}}
IMAGE = ["ofrecord_image_decoder", {"resize": {"size": [8, 8]}}]

# Does the document load? What depends on several values at once is not the schema's business.
DOCUMENTS = [
    ({}, True),
    ({"batch_size": 0}, False),
    ({"batch_size": "8"}, False),
    ({"batch_sise": 8}, False),
    ({"source": {"ofrecord": {}}}, False),
    ({"source": {"ofrecrd": {"dir": "x"}}}, False),
    ({"source": {"ofrecord": {"dir": "x", "parts": 0}}}, False),
    ({"source": 3}, False),
    ({"order": "shuffled"}, True),
    ({"order": "shuffeld"}, False),
    ({"order": {"buffered": 3}}, True),
    ({"order": {"buffered": 0}}, False),
    ({"order": {"buffered": "x"}}, False),
    ({"last_batch": "skip"}, False),
    ({"outputs": ["label"], "stages": [LABEL]}, True),
    ({"outputs": "label", "stages": [LABEL]}, False),
    ({"outputs": None}, True),
    ({"seed": -1}, False),
    ({"executor": "thread pool"}, False),
    ({"stages": "coin_flip"}, False),
    ({"stages": ["coin_flip"]}, True),
    ({"stages": ["coinflip"]}, False),
    ({"stages": ["resize"]}, False),  # it loads no further than that: none of the three sizes
    ({"stages": ["ofrecord_raw_decoder"]}, False),
    ({"stages": [{"coin_flip": None}]}, True),
    ({"stages": [{"coin_flip": {"probability": 0.3}}]}, True),
    ({"stages": [{"coin_flip": {"probability": 1}}]}, True),
    ({"stages": [{"coin_flip": {"probability": "x"}}]}, False),
    ({"stages": [{"coin_flip": {"probabillity": 0.3}}]}, False),
    ({"stages": [{"coin_flip": {}, "resize": {}}]}, False),
    ({"stages": [*IMAGE, {"pad": {"padding": [1, 2]}}]}, True),
    ({"stages": [*IMAGE, {"pad": {"padding": [1, 2, 3]}}]}, False),
    ({"stages": [*IMAGE, {"pad": {"padding": 2, "fill": [1, 2, 3], "mode": "edge"}}]}, True),
    ({"stages": [*IMAGE, {"pad": {"padding": 2, "mode": "wrap"}}]}, False),
    ({"stages": [*IMAGE, {"color_jitter": {"hue": 0.1, "contrast": [0.5, 2]}}]}, True),
    ({"stages": [*IMAGE, {"color_jitter": {"contrast": [0.5]}}]}, False),
    ({"stages": [*IMAGE, {"random_erasing": {"value": "random"}}]}, True),
    ({"stages": [*IMAGE, {"random_erasing": {"value": "noise"}}]}, False),
    ({"stages": [*IMAGE, LABEL], "batch_transforms": [{"mixup": {"num_classes": 3}}]}, True),
    ({"stages": [*IMAGE, LABEL], "batch_transforms": [{"mixup": {}}]}, False),
    ({"stages": [*IMAGE, LABEL], "batch_transforms": ["resize"]}, False),
    ({"imports": "x"}, False),
]


def loads(document):
    try:
        pipeline_from(document)
    except ConfigError:
        return False
    return True


@pytest.fixture(scope="module")
def accepts():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = pipeline_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid


@pytest.mark.parametrize(("change", "expected"), DOCUMENTS, ids=lambda value: json.dumps(value)[:60])
def test_what_loads(change, expected):
    assert loads(BASE | change) == expected


@pytest.mark.parametrize(("change", "expected"), DOCUMENTS, ids=lambda value: json.dumps(value)[:60])
def test_the_schema_says_the_same(change, expected, accepts):
    if change != {"stages": ["resize"]}:
        assert accepts(BASE | change) == expected


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_the_schema_accepts_shipped_files(file, accepts):
    assert accepts(load_yaml(file).tree)  # with ${...} in them, as an editor sees them


def test_references_and_imported_code_are_accepted(accepts):
    assert accepts(BASE | {
        "batch_size": "${env:B}", "order": "${o}", "stages": [
            "${s}", "my_code:Stage", {"my_code.deep:Stage": {"any": [1]}}, {"resize": {"size": ["${h}", "${w}"]}},
            {"coin_flip": {"probability": "${env:P}"}}, {"resize": "${r}"},
        ],
    })  # fmt: skip
    assert accepts(BASE | {"source": "my_code:source"})
    assert accepts(BASE | {"source": {"my_code:Source": None}})
    assert not accepts(BASE | {"batch_size": "many"})


def test_every_argument_of_every_stage_is_in_it():
    schema = pipeline_schema()
    for key, known in (("stages", yaml_stages()), ("batch_transforms", BATCH_TRANSFORMS)):
        alone, _, with_arguments, _ = schema["properties"][key]["anyOf"][0]["items"]["anyOf"]
        assert set(with_arguments["properties"]) == set(known)
        for name, cls in known.items():
            reference = with_arguments["properties"][name]["anyOf"][0]["$ref"].rpartition("/")[2]
            definition = schema["$defs"][reference]
            assert set(definition["properties"]) == {each.name for each in fields(cls)}
            required = {
                each.name for each in fields(cls) if each.default is MISSING and each.default_factory is MISSING
            }
            assert set(definition.get("required", [])) == required
            assert (name in alone["enum"]) == (not required)
            assert definition["additionalProperties"] is False
            for argument, about in definition["properties"].items():
                assert about["description"], (name, argument)
    assert set(schema["properties"]) == set(PipelineSection.model_fields)


def test_references_within_it_lead_somewhere():
    schema = pipeline_schema()
    used = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
    assert used == set(schema["$defs"])


def test_the_command_prints_it(capsys):
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(pipeline_schema()))


def test_the_command_knows_stages_of_a_module(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_stage.py").write_text(
        "from dataclasses import dataclass\nfrom flowdata import stage\n"
        "@stage('own')\n@dataclass\nclass Own:\n    much: int\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert main(["config", "schema", "--import", "own_stage"]) == 0
        assert json.loads(capsys.readouterr().out)["$defs"]["Own"]["required"] == ["much"]
    finally:
        STAGES.pop("own", None)
