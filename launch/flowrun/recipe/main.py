"""From the command line of a recipe to a finished run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import flowdist
import flownn as flow
from flowdata import ConfigError, ShardSpec
from flowdist import Communicator
from flowrun.recipe.checkpoint import load_checkpoint, newest_checkpoint
from flowrun.recipe.config import Recipe, load_recipe
from flowrun.recipe.evaluate import Evaluation, evaluate
from flowrun.recipe.picture import draw_run
from flowrun.recipe.predict import predict
from flowrun.recipe.progress import Reporter, reporting
from flowrun.recipe.run import RunDirectory, find_resumable, new_run_directory
from flowrun.recipe.trainer import Trainer


def main(argv: Sequence[str] | None = None) -> None:
    """Run one rank of a recipe."""
    parser = argparse.ArgumentParser(
        prog="flowrun RECIPE", description="Train, evaluate or predict with a YAML recipe.", allow_abbrev=False
    )
    parser.add_argument("recipe", help="a YAML file, or a shipped name such as train/digits")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe, such as epochs=5")
    parser.add_argument(
        "--resume", metavar="auto|PATH", help="continue from the newest checkpoint that fits, or from the one named"
    )
    parser.add_argument(
        "--allow-imports",
        action="store_true",
        help="let the recipe name code of yours as module:Class",
    )
    args = parser.parse_intermixed_args(argv)
    recipe = load_recipe(args.recipe, args.overrides, allow_imports=args.allow_imports)
    comm = flowdist.connect()
    with _computing_with(recipe.config.compute_threads), reporting(comm.rank) as report:
        if recipe.config.mode == "train":
            root = Path(recipe.config.run.root) / Path(args.recipe).stem
            _train(recipe, comm, report, root, args.resume)
        elif args.resume is not None:
            raise ConfigError(f"--resume continues a training; with mode={recipe.config.mode} give checkpoint=...")
        elif recipe.config.mode == "eval":
            _evaluate(recipe, comm, report)
        else:
            _predict(recipe, comm, report)
    comm.close()


@contextmanager
def _computing_with(threads: int) -> Iterator[None]:
    """Compute with so many threads inside."""
    before = flow.get_num_threads()
    flow.set_num_threads(threads)
    try:
        yield
    finally:
        flow.set_num_threads(before)


def _train(recipe: Recipe, comm: Communicator, report: Reporter, root: Path, resume: str | None) -> None:
    run, checkpoint = _agree_on_run(recipe, comm, root, resume)
    if comm.rank == 0:
        run.start(recipe.resolved, comm.size)
        if checkpoint is None:
            run.cut_metrics(0)  # an earlier job may have been killed here before its first checkpoint
    if resume == "auto" and checkpoint is None:
        report.line("--resume auto: no checkpoint of this recipe found, starting afresh")
    report.line(f"run directory: {run.path}")
    trainer = Trainer(recipe, comm, run, report)
    try:
        if checkpoint is not None:
            trainer.resume(checkpoint)
        evaluation = trainer.train()
    finally:
        trainer.close()
    if comm.rank == 0:
        _finish(recipe, run, trainer, evaluation, report)


def _agree_on_run(
    recipe: Recipe, comm: Communicator, root: Path, resume: str | None
) -> tuple[RunDirectory, Path | None]:
    """Rank 0 looks, everybody uses what it found; its error is everybody's."""
    found: tuple[Path, Path | None] | ConfigError | None = None
    if comm.rank == 0:
        try:
            found = _choose_run(recipe, root, resume)
        except ConfigError as error:
            found = error
    agreed = comm.allgather_object(found)[0]
    if isinstance(agreed, ConfigError):
        raise agreed
    path, checkpoint = agreed
    return RunDirectory(path), checkpoint


def _choose_run(recipe: Recipe, root: Path, resume: str | None) -> tuple[Path, Path | None]:
    named = Path(recipe.config.run.dir) if recipe.config.run.dir is not None else None
    if resume is None:
        if named is not None and (named / "checkpoints").exists():
            raise ConfigError(
                f"run.dir: {named} already holds a run; add --resume auto to continue it, or name another directory"
            )
        return named or new_run_directory(root), None
    if resume == "auto":
        earlier = find_resumable(named, root, recipe.resolved)
        if earlier is None:
            return named or new_run_directory(root), None
        return earlier, newest_checkpoint(earlier)
    checkpoint = newest_checkpoint(Path(resume))
    return named or new_run_directory(root), checkpoint


def _finish(recipe: Recipe, run: RunDirectory, trainer: Trainer, evaluation: Evaluation, report: Reporter) -> None:
    """Export the weights, draw the picture, write the summary."""
    checkpoint = newest_checkpoint(run.path)
    weights = run.path / "model.safetensors"
    flow.save(trainer.model.state_dict(), weights)
    picture: Path | None = run.path / "run.png"
    title = f"{recipe.config.model.name}: accuracy {evaluation.accuracy:.2%} on {evaluation.samples} pictures"
    assert picture is not None
    if not draw_run(picture, title, run.metrics(), evaluation.worst, recipe.classes):
        picture = None
        report.line('no picture: matplotlib is not installed (pip install "flowstack[report]")')
    summary = trainer.summary(evaluation) | {
        "checkpoint": str(checkpoint),
        "weights": str(weights),
        "picture": str(picture) if picture else None,
    }
    run.write_summary(summary)
    report.line(
        f"done: accuracy {evaluation.accuracy:.4f}, {summary['images_per_second']:.0f} images/s, "
        f"{summary['data_wait_seconds']:.1f} of {summary['train_seconds']:.1f} s waiting for data, "
        f"kernels {summary['kernel_provider']}, see {run.path}"
    )


def _load_model(recipe: Recipe, report: Reporter) -> flow.nn.Module:
    assert recipe.config.checkpoint.path is not None
    path = newest_checkpoint(Path(recipe.config.checkpoint.path))
    checkpoint = load_checkpoint(path)
    if tuple(checkpoint.classes) != recipe.classes:
        raise ConfigError(
            f"checkpoint {path}: was trained on {len(checkpoint.classes)} classes ({', '.join(checkpoint.classes[:5])} "
            f"…), the data set has {len(recipe.classes)} ({', '.join(recipe.classes[:5])} …)"
        )
    model = recipe.build_model()
    try:
        model.load_state_dict(checkpoint.model)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ConfigError(f"checkpoint {path}: does not fit model {recipe.config.model.name}: {error}") from error
    report.line(f"checkpoint {path}, step {checkpoint.step}")
    return model


def _evaluate(recipe: Recipe, comm: Communicator, report: Reporter) -> None:
    model = _load_model(recipe, report)
    with recipe.eval_pipeline.loader(ShardSpec(comm.rank, comm.size)) as loader:
        result = evaluate(model, loader, comm, recipe.dtype)
    report.line(f"loss {result.loss:.6f}  accuracy {result.accuracy:.4f}  samples {result.samples}")


def _predict(recipe: Recipe, comm: Communicator, report: Reporter) -> None:
    assert recipe.config.input is not None
    model = _load_model(recipe, report)
    output = Path(recipe.config.output or "predictions.csv")
    predict(model, recipe.eval_pipeline, recipe.classes, Path(recipe.config.input), output, comm, report, recipe.dtype)
