"""Train a recipe's model on any number of ranks.

What a step computes depends on the recipe, the step number and the number of ranks, never on workers, restarts or
timing: batches and augmentation come from the pipeline's own plan, other random numbers from (seed, step, rank).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import flownn as flow
from flowdata import Batch, Loader, ShardSpec
from flowdist import Communicator
from flownn.nn import functional as F
from flownn.nn.parallel import DistributedDataParallel
from flownn.nn.utils import clip_grad_norm_
from flowrun.recipe.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from flowrun.recipe.config import Recipe
from flowrun.recipe.evaluate import Evaluation, evaluate
from flowrun.recipe.progress import Reporter
from flowrun.recipe.run import RunDirectory


class TrainingError(Exception):
    """Training cannot go on; the message says at which step and what to try."""

    summary_only = True


@dataclass
class _Window:
    """Sums of the steps since the last report, one column per step: loss sum, correct, samples."""

    first_step: int
    sums: list[tuple[float, float, float]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)


class Trainer:
    """One rank's side of training a recipe.

    Args:
        recipe: The validated recipe.
        comm: The ranks that train together.
        run: The run's directory; only rank 0 writes to it.
        report: Where progress goes.
    """

    def __init__(self, recipe: Recipe, comm: Communicator, run: RunDirectory, report: Reporter) -> None:
        self.recipe, self.comm, self.run, self.report = recipe, comm, run, report
        self.dtype = recipe.dtype
        flow.manual_seed(recipe.config.seed)
        self.model = DistributedDataParallel(
            recipe.build_model(),
            comm=comm,
            bucket_size=recipe.config.ddp.bucket_size,
            bucket_cap_mb=recipe.config.ddp.bucket_cap_mb,
            broadcast_buffers=recipe.config.ddp.broadcast_buffers,
        )
        shard = ShardSpec(comm.rank, comm.size)
        self.loader: Loader = recipe.train_pipeline.loader(shard)
        self.eval_loader: Loader = recipe.eval_pipeline.loader(shard)
        self.total_steps = len(self.loader) * recipe.config.epochs
        self.optimizer = recipe.build_optimizer(self.model.parameters())
        self.schedule = recipe.build_schedule(self.optimizer, len(self.loader), self.total_steps)
        self.step = 0
        self.seconds = 0.0
        self.data_wait_seconds = 0.0
        self.last_evaluation: Evaluation | None = None

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint: weights, optimizer, position in the data and metrics."""
        checkpoint = load_checkpoint(path)
        self.model.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.loader.load_state_dict(dict(checkpoint.loader))
        self.step = checkpoint.step
        self.seconds, self.data_wait_seconds = checkpoint.seconds, checkpoint.data_wait_seconds
        self.schedule.load_state_dict(dict(checkpoint.schedule))
        if self.comm.rank == 0:
            self.run.cut_metrics(self.step)
        self.report.line(f"resuming after step {self.step} of {self.total_steps} from {path}")

    def train(self) -> Evaluation:
        """Train to the end of the last epoch; return the final evaluation."""
        config = self.recipe.config
        window = _Window(self.step)
        while self.loader.epoch < config.epochs:
            epoch = self.loader.epoch
            waited = self.loader.stats.wait_seconds
            started = time.perf_counter()
            for batch in self.loader:
                self._train_step(batch, window)
                due = config.checkpoint.every_steps and self.step % config.checkpoint.every_steps == 0
                if due or self.step % config.log.every_steps == 0 or self.loader.epoch != epoch:
                    window = self._flush(window)
                now = time.perf_counter()
                self.seconds += now - started
                self.data_wait_seconds += self.loader.stats.wait_seconds - waited
                waited = self.loader.stats.wait_seconds
                if due and self.loader.epoch == epoch:
                    self._save()
                started = time.perf_counter()
            done = epoch + 1
            if done % config.eval_every_epochs == 0 or done == config.epochs:
                self._evaluate(epoch)
            if done % config.checkpoint.every_epochs == 0 or done == config.epochs or (
                config.checkpoint.every_steps and self.step % config.checkpoint.every_steps == 0
            ):  # fmt: skip
                self._save()
        if self.last_evaluation is None:  # resumed from the checkpoint of a finished run
            self._evaluate(config.epochs - 1, record=False)
        assert self.last_evaluation is not None
        return self.last_evaluation

    def _train_step(self, batch: Batch, window: _Window) -> None:
        config = self.recipe.config
        flow.manual_seed(_step_seed(config.seed, self.step, self.comm.rank))
        labels = batch["label"]
        shares = labels.ndim == 2  # MixUp and CutMix give each class its share
        targets = flow.tensor(labels, dtype=self.dtype if shares else flow.int64)
        logits = self.model(flow.tensor(batch["image"], dtype=self.dtype))
        loss = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=config.label_smoothing)
        # The ranks' gradients are averaged: weighting by the global count makes that the mean over the global batch,
        # however unevenly it is split.
        (loss * (self.comm.size / batch.global_size)).backward()
        if config.clip_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), config.clip_grad_norm)
        window.rates.append(float(self.optimizer.param_groups[0]["lr"]))
        window.epochs.append(batch.epoch)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.schedule.step()
        truth = labels.argmax(axis=1) if shares else labels
        correct = np.count_nonzero(logits.detach().numpy().argmax(axis=1) == truth) if batch.size else 0
        window.sums.append((loss.item(), float(correct), float(batch.size)))

    def _flush(self, window: _Window) -> _Window:
        """Sum the window over the ranks, write its metrics, show where training is."""
        if not window.sums:
            return window
        sums = np.array(window.sums, np.float64).reshape(-1)
        self.comm.allreduce(sums)
        rows: list[dict[str, Any]] = [
            {
                "kind": "train",
                "step": window.first_step + 1 + number,
                "epoch": window.epochs[number],
                "loss": loss / samples,
                "accuracy": correct / samples,
                "lr": window.rates[number],
                "samples": int(samples),
            }
            for number, (loss, correct, samples) in enumerate(sums.reshape(-1, 3).tolist())
        ]
        if bad := [row for row in rows if not np.isfinite(row["loss"])]:
            raise TrainingError(
                f"training: the loss became {bad[0]['loss']} at step {bad[0]['step']} (lr {bad[0]['lr']:g}); "
                "lower optimizer.args.lr, lengthen schedule.warmup_epochs or set clip_grad_norm"
            )
        if self.comm.rank == 0:
            self.run.add_metrics(rows)
            last = rows[-1]
            self.report.step(
                self.step, self.total_steps,
                f"epoch {last['epoch'] + 1}/{self.recipe.config.epochs}  loss {last['loss']:.4f}  "
                f"{self.images_per_second:.0f} images/s  waiting for data {self.data_wait_share:.0%}",
            )  # fmt: skip
        return _Window(self.step)

    def _evaluate(self, epoch: int, record: bool = True) -> None:
        self.model.sync_buffers()
        if self.eval_loader.epoch != epoch:
            self.eval_loader.seek(epoch)
        result = evaluate(self.model, self.eval_loader, self.comm, self.dtype)
        self.last_evaluation = result
        if self.comm.rank == 0:
            row = {"kind": "eval", "step": self.step, "epoch": epoch, "loss": result.loss, "accuracy": result.accuracy}
            if record:
                self.run.add_metrics([row])
            self.report.line(
                f"epoch {epoch + 1}/{self.recipe.config.epochs}  evaluation loss {result.loss:.4f}  "
                f"accuracy {result.accuracy:.4f} ({result.samples} samples)"
            )

    def _save(self) -> None:
        self.model.sync_buffers()
        if self.comm.rank == 0:
            checkpoint = Checkpoint(
                step=self.step,
                model=self.model.state_dict(),
                optimizer=self.optimizer.state_dict(),
                schedule=self.schedule.state_dict(),
                loader=self.loader.state_dict(),
                seconds=self.seconds,
                data_wait_seconds=self.data_wait_seconds,
                classes=list(self.recipe.classes),
                config=self.recipe.resolved,
            )
            save_checkpoint(self.run.checkpoints, checkpoint, self.recipe.config.checkpoint.keep)

    @property
    def images_per_second(self) -> float:
        """Training images per second over all ranks, evaluation and saving not counted."""
        whole_epochs, steps = divmod(self.step, len(self.loader))
        images = whole_epochs * self._images_per_epoch + steps * self.recipe.train_pipeline.batch_size
        return images / self.seconds if self.seconds else 0.0

    @property
    def _images_per_epoch(self) -> int:
        pipeline = self.recipe.train_pipeline
        full = len(self.loader) * pipeline.batch_size
        return min(full, len(pipeline.source)) if pipeline.last_batch == "keep" else full

    @property
    def data_wait_share(self) -> float:
        """Share of the training time in which this rank waited for data."""
        return self.data_wait_seconds / self.seconds if self.seconds else 0.0

    def close(self) -> None:
        """End the data workers and the communication thread."""
        self.loader.close()
        self.eval_loader.close()
        self.model.close()

    def summary(self, evaluation: Evaluation) -> dict[str, Any]:
        """The figures a user wants to see at the end."""
        return {
            "accuracy": evaluation.accuracy,
            "loss": evaluation.loss,
            "images_per_second": self.images_per_second,
            "data_wait_seconds": self.data_wait_seconds,
            "train_seconds": self.seconds,
            "kernel_provider": flow.backends()["cpu"],
            "epochs": self.recipe.config.epochs,
            "steps": self.step,
            "ranks": self.comm.size,
            "run_dir": str(self.run.path),
        }


def _step_seed(seed: int, step: int, rank: int) -> int:
    """One 64-bit seed from three numbers, mixed so that neighbouring steps and ranks have nothing in common."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])
