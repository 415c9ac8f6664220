"""The YAML form of a pipeline.

data: {dir: data/imagenet}
source: {ofrecord: {dir: "${data.dir}/train"}}
order: shuffled
batch_size: 128
outputs: [image, label]
stages:
  - ofrecord_image_decoder_random_crop: {color_space: RGB}
  - resize: {size: [224, 224]}
  - coin_flip
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveInt, create_model

from flowdata.batch_transforms import BATCH_TRANSFORMS
from flowdata.config import Config, check, did_you_mean, load_config
from flowdata.errors import ConfigError
from flowdata.pipeline import LastBatch, Pipeline
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Order, order_from
from flowdata.stages import STAGES, affine, augment, color, crop, decode, draw, erase, geometry, normalize

BUILT_IN = (
    affine,
    augment,
    color,
    crop,
    decode,
    draw,
    erase,
    geometry,
    normalize,
)  # importing them is what registers their stages


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(_Section):
    """Values for other keys to refer to: ``${data.dir}``."""

    dir: str


class OFRecordSection(_Section):
    """Arguments of :class:`flowdata.sources.ofrecord.OFRecordSource`."""

    dir: str
    parts: PositiveInt | None = None
    prefix: str | None = None
    suffix_length: int | None = None


class SourceSection(_Section):
    """Where records come from, by kind."""

    ofrecord: OFRecordSection


def _order(value: Any) -> Any:
    try:
        order_from(value)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("order: ")) from None
    return value


class PipelineSection(_Section):
    """The keys of a pipeline; they mean what the arguments of :class:`flowdata.pipeline.Pipeline` mean."""

    data: DataSection | None = None
    source: SourceSection
    stages: list[Any] = Field(default_factory=list)
    batch_size: PositiveInt
    order: Annotated[Any, BeforeValidator(_order)] = "sequential"
    seed: NonNegativeInt = 0
    last_batch: LastBatch = "keep"
    outputs: tuple[str, ...] | None = None
    executor: Literal["serial", "process"] = "serial"
    workers: PositiveInt = 1
    prefetch_batches: PositiveInt = 4
    samples_per_message: PositiveInt = 8
    batch_transforms: list[Any] = Field(default_factory=list)


def load_pipeline(path_or_name: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Pipeline:
    """The pipeline that a YAML file describes.

    Args:
        path_or_name: A file, or the name of a shipped configuration such as ``pipelines/imagenet_train``.
        overrides: ``key.sub=value`` arguments that change or add values, see :func:`flowdata.config.override`.

    Raises:
        ConfigError: everything that is wrong with it, one line each, with file, line and key path.
    """
    return pipeline_from(load_config(path_or_name, overrides))


def pipeline_from(config: Config | Mapping[str, Any]) -> Pipeline:
    """The pipeline that a tree describes, such as a section of a training recipe.

    Args:
        config: A section of a loaded configuration, or a plain mapping.

    Raises:
        ConfigError: everything that is wrong with it, one line each.
    """
    if not isinstance(config, Config):
        config = Config(dict(config), "pipeline")
    problems: list[str] = []
    section = check(PipelineSection, config, problems)
    stages = _parts(config, "stages", STAGES, "stage", problems)
    batch_transforms = _parts(config, "batch_transforms", BATCH_TRANSFORMS, "batch transform", problems)
    if section is None or problems:
        raise ConfigError("\n".join(problems))
    order: Order = order_from(section.order)
    try:
        pipeline = Pipeline(
            OFRecordSource(**section.source.ofrecord.model_dump()),
            stages,
            batch_size=section.batch_size,
            order=order,
            seed=section.seed,
            last_batch=section.last_batch,
            outputs=section.outputs,
            executor=section.executor,
            workers=section.workers,
            prefetch_batches=section.prefetch_batches,
            samples_per_message=section.samples_per_message,
            batch_transforms=batch_transforms,
        )
        pipeline.output_specs()  # do the stages fit together?
    except ConfigError as error:
        raise config.error(str(error), "stages") from None
    try:
        pipeline.batch_specs()
    except ConfigError as error:
        raise config.error(str(error), "batch_transforms") from None
    return pipeline


def _parts(config: Config, key: str, known: Mapping[str, type[Any]], what: str, problems: list[str]) -> list[Any]:
    """The stages, or batch transforms, that a list names."""
    tree = config.tree.get(key) if isinstance(config.tree, dict) else None
    parts = []
    for index, item in enumerate(tree if isinstance(tree, list) else []):
        try:
            name, arguments = _name_and_arguments(item, what)
            if name not in known:
                raise ConfigError(f"unknown {what} {name!r}{did_you_mean(name, known)}")
        except ConfigError as error:
            problems.append(config.message(str(error), key, index))
            continue
        keys: tuple[str | int, ...] = (key, index) if isinstance(item, str) else (key, index, name)
        part = Config(arguments, config.file, config.marks, config.path + keys)
        checked = check(arguments_model(known[name]), part, problems)
        if checked is None:
            continue
        given = {key: getattr(checked, key) for key in checked.model_fields_set}
        try:
            parts.append(known[name](**given))
        except ConfigError as error:
            problems.append(part.message(str(error).removeprefix(f"{name}: ")))
    return parts


def _name_and_arguments(item: Any, what: str) -> tuple[str, Any]:
    if isinstance(item, str):
        return item, {}
    if isinstance(item, dict) and len(item) == 1:
        [(name, arguments)] = item.items()
        return name, {} if arguments is None else arguments
    raise ConfigError(f"expected the name of a {what}, or one name with its arguments, got {item!r}")


def arguments_model(cls: type[Any]) -> type[BaseModel]:
    """A model of the fields of a dataclass, so that its arguments are checked like everything else."""
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for each in fields(cls):
        default = each.default
        if default is MISSING:
            default = ... if each.default_factory is MISSING else Field(default_factory=each.default_factory)
        arguments[each.name] = (hints[each.name], default)
    model: type[BaseModel] = create_model(cls.__name__, __config__=ConfigDict(extra="forbid"), **arguments)
    return model
