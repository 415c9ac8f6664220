"""Classify a directory of pictures with a trained model."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import flownn as flow
from flowdata import ConfigError, DataError, ImageFiles, Pipeline, SampleKey, split_range
from flowdist import Communicator
from flownn.nn import functional as F
from flowrun.recipe.progress import Reporter
from flowrun.recipe.run import write_whole

Row = tuple[int, str, str, str]  # position, file, label, probability


def predict(
    model: flow.nn.Module,
    pipeline: Pipeline,
    classes: Sequence[str],
    directory: Path,
    output: Path,
    comm: Communicator,
    report: Reporter,
    dtype: flow.dtype,
) -> None:
    """Write a CSV of file, label and probability for every picture below ``directory``.

    Pictures that cannot be read are listed at the end and stand in the CSV without a label.

    Args:
        model: The trained model; put into evaluation mode.
        pipeline: The evaluation pipeline, whose stages prepare a picture for the model.
        classes: Class names by label.
        directory: Where to look for pictures, also in subdirectories.
        output: The CSV file; written whole by rank 0.
        comm: The ranks that share the work.
        report: Where the lines for the user go.
        dtype: Floating-point type of the model.

    Raises:
        ConfigError: ``directory`` does not exist or holds no file that looks like a picture.
    """
    source = ImageFiles(str(directory))
    source.open()
    mine = split_range(len(source), comm.size, comm.rank)
    single = Pipeline(source, pipeline.stages, batch_size=pipeline.batch_size, seed=pipeline.seed, outputs=("image",))
    single.output_specs()
    model.eval()
    rows: list[Row] = []
    bad: list[str] = []
    for start in range(mine.start, mine.stop, pipeline.batch_size):
        chunk = range(start, min(start + pipeline.batch_size, mine.stop))
        images, kept = _read(single, source, chunk, rows, bad)
        if kept:
            rows += _classify(model, np.stack(images), kept, source, classes, dtype)
    gathered = comm.allgather_object((rows, bad))
    failures = [line for _, lines in gathered for line in lines]
    if comm.rank == 0:
        _write(output, sorted(row for part, _ in gathered for row in part))
        report.line(f"{len(source) - len(failures)} of {len(source)} pictures classified, written to {output}")
        for line in failures:
            report.line(f"unreadable: {line}")
    if len(failures) == len(source):
        raise ConfigError(f"predict: none of the {len(source)} files in {directory} could be read")


def _read(
    pipeline: Pipeline, source: ImageFiles, chunk: range, rows: list[Row], bad: list[str]
) -> tuple[list[Any], list[int]]:
    images, kept = [], []
    for index in chunk:
        try:
            images.append(pipeline.process(SampleKey(0, index))["image"])
            kept.append(index)
        except DataError as error:
            bad.append(str(error))
            rows.append((index, source.paths[index], "", ""))
    return images, kept


def _classify(
    model: flow.nn.Module, images: Any, kept: list[int], source: ImageFiles, classes: Sequence[str], dtype: flow.dtype
) -> list[Row]:
    with flow.no_grad():
        probabilities = F.softmax(model(flow.tensor(images, dtype=dtype)), dim=1).numpy()
    best = probabilities.argmax(axis=1)
    return [
        (index, source.paths[index], classes[label], f"{probabilities[row, label]:.6f}")
        for row, (index, label) in enumerate(zip(kept, best.tolist(), strict=True))
    ]


def _write(output: Path, rows: Sequence[Row]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("file", "label", "probability"))
    writer.writerows(row[1:] for row in rows)
    write_whole(output, table.getvalue())
