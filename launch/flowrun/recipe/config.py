"""Recipes: YAML and overrides to a validated description of what to train on what."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

import flownn as flow
from flowdata import Config, ConfigError, DatasetInfo, Pipeline, load_config, pipeline_from, validate
from flowdata.dataset import FILE_NAME
from flownn import models, optim
from flownn.optim import lr_scheduler

OPTIMIZERS = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW, "lamb": optim.LAMB}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Where the data is and how it becomes batches; batch sizes are global, over all ranks.

    ``dir`` and ``image_size`` are there for the pipelines to refer to, so that one override changes both. The pipelines
    themselves are checked by `flowdata.pipeline_from`.
    """

    dir: str | None = None
    image_size: PositiveInt | None = None
    train: dict[str, Any]
    eval: dict[str, Any]


class ModelConfig(_Section):
    """A registered model by name, or ``module:Class`` with ``--allow-imports``, and its arguments."""

    name: str
    args: dict[str, Any] = {}


class OptimizerConfig(_Section):
    """An optimizer of ``flownn.optim`` by name, and its arguments."""

    name: Literal["sgd", "adam", "adamw", "lamb"] = "sgd"
    args: dict[str, Any] = {}


class ScheduleConfig(_Section):
    """The learning rate over time: a linear warm-up, then constant or along half a cosine."""

    name: Literal["constant", "cosine"] = "constant"
    warmup_epochs: NonNegativeFloat = 0.0
    final_fraction: NonNegativeFloat = 0.0


class DDPConfig(_Section):
    """Options of ``DistributedDataParallel``."""

    bucket_size: PositiveInt | None = 10
    bucket_cap_mb: PositiveFloat | None = 25.0
    broadcast_buffers: bool = True


class CheckpointConfig(_Section):
    """When checkpoints are written, how many stay; ``path`` is the one that eval and predict load."""

    path: str | None = None
    every_steps: PositiveInt | None = None
    every_epochs: PositiveInt = 1
    keep: PositiveInt = 2


class LogConfig(_Section):
    """How often the figures of the last steps are summed over the ranks, written and shown."""

    every_steps: PositiveInt = 10


class RunConfig(_Section):
    """``dir`` names the run's directory; without it, a new one is made below ``root``."""

    root: str = "runs"
    dir: str | None = None


class RecipeConfig(_Section):
    """Everything a recipe can say."""

    mode: Literal["train", "eval", "predict"] = "train"
    seed: NonNegativeInt = 0
    epochs: PositiveInt
    precision: Literal["float32", "float64"] = "float32"
    compute_threads: PositiveInt = 1
    eval_every_epochs: PositiveInt = 1
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    clip_grad_norm: PositiveFloat | None = None
    data: DataConfig
    model: ModelConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ddp: DDPConfig = DDPConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    run: RunConfig = RunConfig()
    input: str | None = None
    output: str | None = None

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


@dataclass(frozen=True)
class Recipe:
    """A validated recipe together with what its data set says of itself.

    Args:
        config: The recipe.
        source: The tree it was read from, which knows the line of each value.
        classes: Class names by label.
        allow_imports: Whether the recipe may name code of the user's own, as ``module:Class``.
    """

    config: RecipeConfig
    source: Config
    classes: tuple[str, ...]
    allow_imports: bool = False

    @property
    def resolved(self) -> dict[str, Any]:
        """The recipe with every default filled in, as plain JSON-able values."""
        return self.config.model_dump(mode="json")

    @cached_property
    def train_pipeline(self) -> Pipeline:
        """The training pipeline."""
        return pipeline_from(self.source.section("data", "train"), allow_imports=self.allow_imports)

    @cached_property
    def eval_pipeline(self) -> Pipeline:
        """The evaluation pipeline.

        Raises:
            ConfigError: its labels are shares of classes, as after MixUp, which no prediction equals.
        """
        pipeline = pipeline_from(self.source.section("data", "eval"), allow_imports=self.allow_imports)
        label = pipeline.batch_specs().get("label")
        if label is not None and label.shape != ():
            raise self.source.error(f"evaluation needs one class per picture, got labels {label}", "data", "eval")
        return pipeline

    @property
    def dtype(self) -> flow.dtype:
        """Floating-point type of parameters and activations."""
        return flow.float64 if self.config.precision == "float64" else flow.float32

    def build_model(self) -> flow.nn.Module:
        """The model with fresh weights, drawn from the global generator.

        Raises:
            ConfigError: no such model, wrong arguments, or another number of classes than the data set has.
        """
        name, args = self.config.model.name, dict(self.config.model.args)
        if args.setdefault("num_classes", len(self.classes)) != len(self.classes):
            raise self.source.error(
                f"the data set has {len(self.classes)} classes, got {args['num_classes']}; leave it out to take "
                "those of the data set",
                "model", "args", "num_classes",
            )  # fmt: skip
        try:
            model = self._imported(name)(**args) if ":" in name else models.create(name, **args)
        except (TypeError, ValueError) as error:
            raise self.source.error(str(error), "model") from error
        return model.to(self.dtype)

    def _imported(self, name: str) -> Any:
        if not self.allow_imports:
            raise self.source.error(
                f"{name!r} runs code from a module; add --allow-imports if you trust it", "model", "name"
            )
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise self.source.error(f"cannot load {name!r}: {error}", "model", "name") from error

    def build_optimizer(self, parameters: Iterable[flow.nn.Parameter]) -> optim.Optimizer:
        """The optimizer over ``parameters``.

        Raises:
            ConfigError: an argument is unknown or out of range.
        """
        name = self.config.optimizer.name
        try:
            optimizer: optim.Optimizer = OPTIMIZERS[name](parameters, **self.config.optimizer.args)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise self.source.error(str(error), "optimizer", "args") from error
        return optimizer

    def build_schedule(self, optimizer: optim.Optimizer, steps_per_epoch: int, steps: int) -> lr_scheduler.LRScheduler:
        """The learning-rate schedule, stepped once per optimizer step."""
        schedule = self.config.schedule
        warmup = min(round(schedule.warmup_epochs * steps_per_epoch), steps - 1)
        main: lr_scheduler.LRScheduler
        if schedule.name == "cosine":
            final = schedule.final_fraction * optimizer.param_groups[0]["lr"]
            main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warmup, eta_min=final)
        else:
            main = lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
        if warmup == 0:
            return main
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        return lr_scheduler.SequentialLR(optimizer, [rise, main], milestones=[warmup])


def load_recipe(name: str, overrides: Sequence[str] = (), *, allow_imports: bool = False) -> Recipe:
    """Read a recipe: a YAML file or a shipped name, with ``key.sub=value`` overrides.

    Raises:
        ConfigError: with file, line and key path of everything that is wrong.
    """
    source = load_config(name, overrides)
    config = validate(RecipeConfig, source)
    for mode, needed in {"eval": ("checkpoint",), "predict": ("checkpoint", "input")}.items():
        if config.mode == mode:
            given = {"checkpoint": config.checkpoint.path, "input": config.input}
            if missing := [f"{key}=..." for key in needed if given[key] is None]:
                raise ConfigError(f"mode={mode} needs {' and '.join(missing)}")
    recipe = Recipe(config, source, _classes(config), allow_imports)
    recipe.eval_pipeline  # noqa: B018  # every mode needs it; a mistake shows now, with its line
    if config.mode == "train":
        recipe.train_pipeline  # noqa: B018
    return recipe


def _classes(config: RecipeConfig) -> tuple[str, ...]:
    """The class names: of the data set if it describes itself, else of the checkpoint, else numbered."""
    if config.data.dir is not None and (Path(config.data.dir) / FILE_NAME).is_file():
        return DatasetInfo.load(config.data.dir).classes
    if config.mode == "predict" and config.checkpoint.path is not None:  # pictures need no data set
        return _classes_of_checkpoint(Path(config.checkpoint.path))
    count = config.model.args.get("num_classes")
    if not isinstance(count, int):
        raise ConfigError(
            f"data.dir: {config.data.dir or 'not set'} holds no {FILE_NAME} to take the classes from; set data.dir to "
            "a directory that `flowdata convert` or `flowdata make` wrote, or give model.args.num_classes"
        )
    return tuple(str(label) for label in range(count))


def _classes_of_checkpoint(path: Path) -> tuple[str, ...]:
    from flowrun.recipe.checkpoint import load_checkpoint, newest_checkpoint

    return tuple(load_checkpoint(newest_checkpoint(path)).classes)


__all__ = ["Recipe", "RecipeConfig", "load_recipe"]
