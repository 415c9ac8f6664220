"""The picture of a run: loss and accuracy curves, and the worst answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowrun.recipe.evaluate import Answer


def draw_run(
    path: Path, title: str, metrics: Sequence[Mapping[str, Any]], answers: Sequence[Answer], classes: Sequence[str]
) -> bool:
    """Draw the run's picture as PNG; return False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = (len(answers) + 7) // 8
    figure = Figure(figsize=(10, 3.4 + 1.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.add_gridspec(1 + rows, 8, height_ratios=[2.2, *[1] * rows])
    _draw_loss(figure.add_subplot(grid[0, :4]), metrics)
    _draw_accuracy(figure.add_subplot(grid[0, 4:]), metrics)
    for number, answer in enumerate(answers):
        axes = figure.add_subplot(grid[1 + number // 8, number % 8])
        axes.imshow(_visible(answer.image), cmap="gray", interpolation="nearest")
        wrong = answer.predicted != answer.label
        text = (
            f"{classes[answer.label]} taken for\n{classes[answer.predicted]}"
            if wrong
            else f"{classes[answer.label]},\nright"
        )
        axes.set_title(f"{text} ({answer.confidence:.0%})", fontsize=8, color="tab:red" if wrong else "black")
        axes.axis("off")
    figure.savefig(path, dpi=110)
    return True


def _draw_loss(axes: Any, metrics: Sequence[Mapping[str, Any]]) -> None:
    train = [row for row in metrics if row["kind"] == "train"]
    steps = np.array([row["step"] for row in train])
    losses = np.array([row["loss"] for row in train])
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
    width = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    axes.plot(steps[width - 1 :], smooth, color="tab:blue", label="training")
    evaluations = [row for row in metrics if row["kind"] == "eval"]
    axes.plot(
        [row["step"] for row in evaluations], [row["loss"] for row in evaluations], "o-", color="tab:orange",
        markersize=3, label="evaluation",
    )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        which("{x:.2g}")
    axes.legend()


def _draw_accuracy(axes: Any, metrics: Sequence[Mapping[str, Any]]) -> None:
    evaluations = [row for row in metrics if row["kind"] == "eval"]
    errors = [100 * (1 - row["accuracy"]) for row in evaluations]
    axes.plot(
        [row["step"] for row in evaluations], [100 - error for error in errors], "o-", color="tab:orange", markersize=3
    )
    axes.set(xlabel="step", ylabel="evaluation accuracy, %")
    if evaluations:
        axes.annotate(
            f"{evaluations[-1]['accuracy']:.2%}", (evaluations[-1]["step"], 100 - errors[-1]),
            textcoords="offset points", xytext=(-6, -14), ha="right",
        )  # fmt: skip
    axes.grid(alpha=0.3)


def _visible(image: Any) -> Any:
    """A normalised (C, H, W) image as something to look at: grey (H, W) or colour (H, W, 3), stretched to 0..1."""
    low, high = float(image.min()), float(image.max())
    stretched = (image - low) / max(high - low, 1e-6)
    return stretched[0] if len(stretched) == 1 else stretched[:3].transpose(1, 2, 0)
