"""A configuration with everything said: interpolations replaced and defaults filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from flowdata.batch_transforms import BatchFunction
from flowdata.config import Config, validate
from flowdata.pipeline_config import PipelineSection, SourceSection, pipeline_from
from flowdata.stages import FunctionStage


def resolve(config: Config, *, allow_imports: bool = False) -> Any:
    """The tree of an interpolated configuration, with the defaults of every pipeline in it.

    A pipeline is a mapping with ``source`` and ``batch_size``: the file itself, or sections of a training recipe, whose
    other keys stay as they are. What results loads to the same pipelines.

    Raises:
        ConfigError: everything that is wrong with a pipeline, one line each.
    """
    tree = config.tree
    if isinstance(tree, dict) and {"source", "batch_size"} <= tree.keys():
        return _resolved_pipeline(config, allow_imports)
    if isinstance(tree, dict):
        return {key: resolve(config.section(key), allow_imports=allow_imports) for key in tree}
    return tree


def _resolved_pipeline(config: Config, allow_imports: bool) -> dict[str, Any]:
    pipeline = pipeline_from(config, allow_imports=allow_imports)
    section = validate(PipelineSection, config).model_dump(mode="json")
    source = config.tree["source"]
    if isinstance(source, dict) and not any(":" in kind for kind in source):
        section["source"] = validate(SourceSection, config.section("source")).model_dump(mode="json", exclude_none=True)
    section["stages"] = _with_arguments(section["stages"], pipeline.stages)
    section["batch_transforms"] = _with_arguments(section["batch_transforms"], pipeline.batch_transforms)
    return section


def _with_arguments(items: Sequence[Any], parts: Sequence[Any]) -> list[Any]:
    resolved = []
    for item, part in zip(items, parts, strict=True):
        name = item if isinstance(item, str) else next(iter(item))
        if is_dataclass(part) and not isinstance(part, (FunctionStage, BatchFunction)):
            arguments = {each.name: _plain(getattr(part, each.name)) for each in fields(part)}
        else:  # only its maker knows what it would have got by default
            arguments = {} if isinstance(item, str) else item[name]
        resolved.append({name: arguments} if arguments else name)
    return resolved


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, (tuple, list)) else value
