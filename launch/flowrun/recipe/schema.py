"""A JSON Schema of recipes, for editors: ``flowdata config schema recipe`` prints it."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from flowdata.schema import REFERENCE, or_reference, pipeline_schema
from flowrun.recipe.config import RecipeConfig


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe, pipelines included; ``${...}`` may stand for any value."""
    recipe = RecipeConfig.model_json_schema()
    pipeline = pipeline_schema()
    definitions = recipe.pop("$defs")
    for section in (recipe, *definitions.values()):
        section["properties"] = {name: or_reference(value) for name, value in section["properties"].items()}
    for name in ("train", "eval"):
        definitions["DataConfig"]["properties"][name] = {"anyOf": [{"$ref": "#/$defs/Pipeline"}, REFERENCE]}
    recipe["properties"]["checkpoint"]["anyOf"].append({"type": "string"})  # its path alone
    definitions |= pipeline.pop("$defs")
    dialect, title = pipeline.pop("$schema"), pipeline.pop("title")
    definitions["Pipeline"] = pipeline | {"title": title}
    return {"$schema": dialect, **recipe, "title": "flowrun recipe", "$defs": dict(sorted(definitions.items()))}


def main() -> None:
    """Print the schema, with the stages of the modules that the arguments name."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    print(json.dumps(recipe_schema(), indent=2))


if __name__ == "__main__":
    main()
