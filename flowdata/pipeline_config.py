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
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from flowdata import batch_align, mixing
from flowdata.batch_transforms import BATCH_TRANSFORMS
from flowdata.config import Config, check, did_you_mean, load_config
from flowdata.errors import ConfigError
from flowdata.failures import OnError
from flowdata.pipeline import ExecutorName, Pipeline
from flowdata.plan import LastBatch
from flowdata.sources.base import Source
from flowdata.sources.coco import COCOSource
from flowdata.sources.function import as_source
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Order, order_from
from flowdata.stages import (
    STAGES,
    Cut,
    affine,
    augment,
    boxes,
    color,
    crop,
    decode,
    draw,
    erase,
    geometry,
    masks,
    normalize,
)
from flowdata.user_code import build, import_module, load

BUILT_IN = (
    affine,
    augment,
    batch_align,
    boxes,
    color,
    crop,
    decode,
    draw,
    erase,
    geometry,
    masks,
    mixing,
    normalize,
)  # importing them is what registers what they hold


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
    verify: Literal["digests"] | None = None


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
    imports: list[str] = Field(default_factory=list)
    source: Any  # SourceSection, or module:Class with its arguments
    stages: list[Any] = Field(default_factory=list)
    batch_transforms: list[Any] = Field(default_factory=list)
    batch_size: PositiveInt
    order: Annotated[Any, BeforeValidator(_order)] = "sequential"
    seed: NonNegativeInt = 0
    last_batch: LastBatch = "keep"
    group_by_aspect_ratio: bool = False
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


def yaml_stages() -> dict[str, type[Any]]:
    """What may stand in a list of stages, by the name it has there."""
    return {**STAGES, "cut": Cut}


def load_pipeline(
    path_or_name: str | os.PathLike[str], overrides: Sequence[str] = (), *, allow_imports: bool = False
) -> Pipeline:
    """The pipeline that a YAML file describes.

    Args:
        path_or_name: A file, or the name of a shipped configuration such as ``pipelines/imagenet_train``.
        overrides: ``key.sub=value`` arguments that change or add values, see :func:`flowdata.config.override`.
        allow_imports: Whether the file may name code of yours: modules in ``imports``, and ``module:Class`` as source,
            stage or batch transform. Importing a module runs it.

    Raises:
        ConfigError: everything that is wrong with it, one line each, with file, line and key path.
    """
    return pipeline_from(load_config(path_or_name, overrides), allow_imports=allow_imports)


def pipeline_from(config: Config | Mapping[str, Any], *, allow_imports: bool = False) -> Pipeline:
    """The pipeline that a tree describes, such as a section of a training recipe.

    Args:
        config: A section of a loaded configuration, or a plain mapping.
        allow_imports: See :func:`load_pipeline`.

    Raises:
        ConfigError: everything that is wrong with it, one line each.
    """
    if not isinstance(config, Config):
        config = Config(dict(config), "pipeline")
    problems: list[str] = []
    tree = config.tree if isinstance(config.tree, dict) else {}
    for index, name in enumerate(tree["imports"] if isinstance(tree.get("imports"), list) else []):
        try:
            import_module(str(name), allow_imports)
        except ConfigError as error:
            problems.append(config.message(str(error), "imports", index))
    source = _source(config.section("source"), allow_imports, problems) if "source" in tree else None
    section = check(PipelineSection, config, problems)
    parts = {
        key: _parts(config, key, known, what, allow_imports, problems)
        for key, known, what in (
            ("stages", yaml_stages(), "stage"),
            ("batch_transforms", BATCH_TRANSFORMS, "batch transform"),
        )
    }
    if section is None or source is None or problems:
        raise ConfigError("\n".join(problems))
    order: Order = order_from(section.order)
    try:
        pipeline = Pipeline(
            source,
            parts["stages"],
            batch_transforms=parts["batch_transforms"],
            batch_size=section.batch_size,
            order=order,
            seed=section.seed,
            last_batch=section.last_batch,
            group_by_aspect_ratio=section.group_by_aspect_ratio,
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
    try:
        pipeline.batch_specs()
    except ConfigError as error:
        raise config.error(str(error), "batch_transforms") from None
    return pipeline


def _source(config: Config, allow_imports: bool, problems: list[str]) -> Source | None:
    kinds = (
        [config.tree] if isinstance(config.tree, str) else list(config.tree) if isinstance(config.tree, dict) else []
    )
    if not any(":" in kind for kind in kinds):
        section = check(SourceSection, config, problems)
        return None if section is None else section.source()
    try:
        name, arguments = _name_and_arguments(config.tree, "source")
        keys = () if isinstance(config.tree, str) else (name,)
        place = Config(arguments, config.file, config.marks, config.path + keys)
        made = build(load(name, allow_imports), name, place, problems, call=True)
        return None if made is None else as_source(made)
    except ConfigError as error:
        problems.append(config.message(str(error)))
        return None


def _parts(
    config: Config, key: str, known: Mapping[str, type[Any]], what: str, allow_imports: bool, problems: list[str]
) -> list[Any]:
    """The stages, or batch transforms, that a list names."""
    tree = config.tree.get(key) if isinstance(config.tree, dict) else None
    parts = []
    for index, item in enumerate(tree if isinstance(tree, list) else []):
        try:
            name, arguments = _name_and_arguments(item, what)
            if ":" not in name and name not in known:
                raise ConfigError(f"unknown {what} {name!r}{_hint(name, known)}")
            target = load(name, allow_imports) if ":" in name else known[name]
        except ConfigError as error:
            problems.append(config.message(str(error), key, index))
            continue
        keys: tuple[str | int, ...] = (key, index) if isinstance(item, str) else (key, index, name)
        place = Config(arguments, config.file, config.marks, config.path + keys)
        parts.append(build(target, name, place, problems))
    return parts


def _hint(name: str, known: Mapping[str, type[Any]]) -> str:
    for key, elsewhere in (("stages", STAGES), ("batch_transforms", BATCH_TRANSFORMS)):
        if name in elsewhere:  # and not in what is known here
            return f"; it belongs under {key}"
    return did_you_mean(name, known)


def _name_and_arguments(item: Any, what: str) -> tuple[str, Any]:
    if isinstance(item, str):
        return item, {}
    if isinstance(item, dict) and len(item) == 1:
        [(name, arguments)] = item.items()
        return name, {} if arguments is None else arguments
    raise ConfigError(f"expected the name of a {what}, or one name with its arguments, got {item!r}")
