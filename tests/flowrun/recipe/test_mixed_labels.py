"""A recipe with MixUp and CutMix trains, and alike whoever prepares the batches."""

import json
from pathlib import Path

import pytest

from tests.helpers import jobs

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_recipe_trains_on_mixed_labels(digits: Path, tmp_path: Path) -> None:
    figures = []
    for executor in ("serial", "process"):
        place = tmp_path / executor
        done = jobs.run(
            "flowrun", "-n", 1, "train/digits", f"data.dir={digits}", f"run.dir={place}", "epochs=2",
            f"data.train.executor={executor}", "data.train.batch_transforms=[mixup_or_cutmix: {num_classes: 10}]",
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
        figures.append([(row["kind"], row["loss"], row["accuracy"]) for row in rows])
    assert figures[0] == figures[1]
    training = [loss for kind, loss, _ in figures[0] if kind == "train"]
    assert sum(training[-5:]) < 0.9 * sum(training[:5])
    assert figures[0][-1][2] > 0.3  # evaluation knows whole labels; chance is 0.1
