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
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    create_model,
    model_validator,
)

from flowdata.config import Config, check, did_you_mean, load_config
from flowdata.errors import ConfigError
from flowdata.failures import OnError
from flowdata.pipeline import ExecutorName, LastBatch, Pipeline
from flowdata.sources.base import Source
from flowdata.sources.coco import COCOSource
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Order, order_from
from flowdata.stages import STAGES, Cut, Stage, decode, draw, geometry, normalize

BUILT_IN = (decode, draw, geometry, normalize)  # importing them is what registers their stages


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


class COCOSection(_Section):
    """Arguments of :class:`flowdata.sources.coco.COCOSource`."""

    annotation_file: str
    image_dir: str
    remove_images_without_annotations: bool = True


class SourceSection(_Section):
    """Where samples come from, by kind; exactly one."""

    ofrecord: OFRecordSection | None = None
    coco: COCOSection | None = None

    @model_validator(mode="after")
    def _one(self) -> SourceSection:
        if (self.ofrecord is None) == (self.coco is None):
            raise ValueError("expected one source, ofrecord or coco")
        return self

    def source(self) -> Source:
        """The source that the section describes."""
        if self.coco is not None:
            return COCOSource(**self.coco.model_dump())
        assert self.ofrecord is not None, "there is exactly one"
        return OFRecordSource(**self.ofrecord.model_dump())


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
    executor: ExecutorName = "serial"
    workers: PositiveInt | Literal["auto"] = 1
    prefetch_batches: PositiveInt = 4
    samples_per_message: PositiveInt = 8
    max_worker_restarts: NonNegativeInt = 3
    sample_deadline: PositiveFloat | None = None
    on_error: OnError = "raise"
    quarantine: str | None = None
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05


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
    stages = _stages(config, problems)
    if section is None or problems:
        raise ConfigError("\n".join(problems))
    order: Order = order_from(section.order)
    try:
        pipeline = Pipeline(
            section.source.source(),
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
            max_worker_restarts=section.max_worker_restarts,
            sample_deadline=section.sample_deadline,
            on_error=section.on_error,
            quarantine=section.quarantine,
            max_bad_fraction=section.max_bad_fraction,
        )
        pipeline.output_specs()  # do the stages fit together?
    except ConfigError as error:
        raise config.error(str(error), "stages") from None
    return pipeline


class CutSection(_Section):
    """Arguments of :class:`flowdata.stages.Cut`."""

    workers: PositiveInt | Literal["auto"] = 1


def _stages(config: Config, problems: list[str]) -> list[Stage | Cut]:
    tree = config.tree.get("stages") if isinstance(config.tree, dict) else None
    stages: list[Stage | Cut] = []
    for index, item in enumerate(tree if isinstance(tree, list) else []):
        try:
            name, arguments = _name_and_arguments(item)
            if name not in STAGES and name != "cut":
                raise ConfigError(f"unknown stage {name!r}{did_you_mean(name, [*STAGES, 'cut'])}")
        except ConfigError as error:
            problems.append(config.message(str(error), "stages", index))
            continue
        keys: tuple[str | int, ...] = ("stages", index) if isinstance(item, str) else ("stages", index, name)
        part = Config(arguments, config.file, config.marks, config.path + keys)
        checked = check(CutSection if name == "cut" else _arguments_model(name), part, problems)
        if checked is None:
            continue
        if isinstance(checked, CutSection):
            stages.append(Cut(checked.workers))
            continue
        given = {key: getattr(checked, key) for key in checked.model_fields_set}
        try:
            stages.append(STAGES[name](**given))
        except ConfigError as error:
            problems.append(part.message(str(error).removeprefix(f"{name}: ")))
    return stages


def _name_and_arguments(item: Any) -> tuple[str, Any]:
    if isinstance(item, str):
        return item, {}
    if isinstance(item, dict) and len(item) == 1:
        [(name, arguments)] = item.items()
        return name, {} if arguments is None else arguments
    raise ConfigError(f"expected the name of a stage, or one name with its arguments, got {item!r}")


@cache
def _arguments_model(name: str) -> type[BaseModel]:
    """A model of the fields of a stage, so that its arguments are checked like everything else."""
    stage = STAGES[name]
    hints = get_type_hints(stage)
    arguments: dict[str, Any] = {}
    for each in fields(stage):
        required = each.default is MISSING and each.default_factory is MISSING
        arguments[each.name] = (hints[each.name], ... if required else None)
    model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **arguments)
    return model
