"""A JSON Schema of pipeline files, for editors that complete and check YAML while it is typed."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from flowdata.batch_transforms import BATCH_TRANSFORMS
from flowdata.config import arguments_model
from flowdata.pipeline import Pipeline
from flowdata.pipeline_config import PipelineSection, SourceSection, yaml_stages

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_IMPORTED = r"^[\w.]+:[\w.]+$"  # module:Class
REFERENCE = {"$ref": "#/$defs/Reference"}


def pipeline_schema() -> dict[str, Any]:
    """The schema of a pipeline file, with every argument of every registered stage and batch transform.

    It accepts what loads, and ``${...}`` in place of any value; what depends on several values at once, such as stages
    that do not fit together, only loading can tell.
    """
    stages = yaml_stages()
    parts = {**stages, **BATCH_TRANSFORMS}
    models = {name: arguments_model(cls) for name, cls in parts.items()}
    everything: list[type[BaseModel]] = [PipelineSection, SourceSection, *models.values()]
    found, shared = models_json_schema([(model, "validation") for model in everything], ref_template="#/$defs/{model}")
    definitions = shared["$defs"]
    for name, cls in parts.items():
        own = definitions[_defined(found, models[name])]
        _describe(own, cls)
    for each in definitions.values():
        each["properties"] = {name: or_reference(value) for name, value in each["properties"].items()}
    definitions["Reference"] = {
        "title": "Reference",
        "description": "The value of another key, ${a.b}, or of an environment variable, ${env:X}.",
        "type": "string",
        "pattern": r"\$\{[^{}]*\}",
    }
    section = definitions.pop(_defined(found, PipelineSection))
    _describe(section, Pipeline)
    properties = section["properties"]
    source = definitions.pop(_defined(found, SourceSection))
    properties["source"] |= {"anyOf": [_one_of_many(source["properties"]), _imported(), REFERENCE]}
    properties["order"] |= {
        "anyOf": [
            {"enum": ["sequential", "shuffled"]},
            {
                "type": "object",
                "properties": {"buffered": or_reference({"type": "integer", "minimum": 1})},
                "required": ["buffered"],
                "additionalProperties": False,
            },
            REFERENCE,
        ]
    }
    for key, known in (("stages", stages), ("batch_transforms", BATCH_TRANSFORMS)):
        arguments = {name: {"$ref": f"#/$defs/{_defined(found, models[name])}"} for name in known}
        alone = [name for name in known if not definitions[_defined(found, models[name])].get("required")]
        items = {"anyOf": [{"enum": alone}, _imported(), _one_of_many(arguments), REFERENCE]}
        properties[key] |= {"anyOf": [{"type": "array", "items": items}, REFERENCE]}
    return {
        "$schema": DIALECT,
        "title": "flowdata pipeline",
        **section,
        "$defs": dict(sorted(definitions.items())),
    }


def _defined(found: Any, model: Any) -> str:
    """The name that a model has in ``$defs``."""
    name: str = found[model, "validation"]["$ref"].rpartition("/")[2]
    return name


def _imported() -> dict[str, Any]:
    return {"type": "string", "pattern": _IMPORTED}


def _one_of_many(arguments: dict[str, Any]) -> dict[str, Any]:
    """One name with its arguments; nothing after the colon means no arguments."""
    return {
        "type": "object",
        "properties": {name: {"anyOf": [schema, {"type": "null"}, REFERENCE]} for name, schema in arguments.items()},
        "patternProperties": {_IMPORTED: {"anyOf": [{"type": ["object", "null"]}, REFERENCE]}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def or_reference(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, in which ``${...}`` may stand for any value that is no text anyway."""
    schema = _inside(schema)
    about = {key: schema.pop(key) for key in ("title", "description", "default") if key in schema}
    if schema in ({}, {"type": "string"}):
        return about | schema
    return about | {"anyOf": [*(schema.get("anyOf") or [schema]), REFERENCE]}


def _inside(schema: dict[str, Any]) -> dict[str, Any]:
    """The same for what the values of a schema hold."""
    changed = dict(schema)
    if isinstance(schema.get("items"), dict):
        changed["items"] = or_reference(schema["items"])
    if "prefixItems" in schema:
        changed["prefixItems"] = [or_reference(each) for each in schema["prefixItems"]]
    if "anyOf" in schema:
        changed["anyOf"] = [_inside(each) for each in schema["anyOf"]]
    return changed


def _describe(schema: dict[str, Any], cls: type[Any]) -> None:
    """Add what the docstring of the class says of itself and of its arguments."""
    text = inspect.getdoc(cls) or ""
    schema["description"] = text.partition("\n\n")[0].replace("\n", " ")
    for name, words in argument_texts(text).items():
        if name in schema["properties"]:
            schema["properties"][name]["description"] = words


def argument_texts(docstring: str) -> dict[str, str]:
    r"""What the ``Args`` section of a docstring says of each argument.

    >>> argument_texts("Do it.\n\nArgs:\n    size: Pixels,\n        both ways.\n    fill: A value.\n\nShape:\n    Any.")
    {'size': 'Pixels, both ways.', 'fill': 'A value.'}
    """
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", docstring, re.MULTILINE)
    texts: dict[str, str] = {}
    for line in section[1].splitlines() if section else []:
        if begins := re.match(r"    (\w+): (.*)", line):
            name, texts[begins[1]] = begins[1], begins[2]
        elif line.strip() and texts:
            texts[name] += " " + line.strip()
    return texts
