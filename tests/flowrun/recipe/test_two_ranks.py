"""Two ranks compute what one rank computes: same global batches, same mean gradient, same weights."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.helpers import jobs

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.timeout(300)]

# No batch norm and no dropout, whose results depend on how a batch is cut.
MODEL = """
from flownn import nn


class Plain(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(16 * 36, num_classes),
        )
"""
PARAMETERS = ["0.weight", "0.bias", "3.weight", "3.bias", "6.weight", "6.bias"]  # in the optimizer's order


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_recipe_on_two_ranks_equals_one(digits: Path, tmp_path: Path, precision: str, tolerance: float) -> None:
    (tmp_path / "plain_model.py").write_text(MODEL)
    losses, weights, gradients = {}, {}, {}
    for ranks in (1, 2):
        place = tmp_path / f"ranks{ranks}"
        # 1437 = 4 * 300 + 237: five steps an epoch, the last of odd size
        done = jobs.run(
            "flowrun", "-n", ranks, "-x", f"PYTHONPATH={tmp_path}:{jobs.environment()['PYTHONPATH']}", "train/digits",
            f"data.dir={digits}", f"run.dir={place}", "--allow-imports", "model={name: 'plain_model:Plain'}",
            f"precision={precision}", "epochs=4", "data.train.batch_size=300", "optimizer.args.lr=0.02",
            "schedule={name: constant}", "label_smoothing=0.0", "checkpoint={every_steps: 1, keep: 20}", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
        losses[ranks] = np.array([row["loss"] for row in rows if row["kind"] == "train"])
        weights[ranks] = load_file(place / "model.safetensors")
        gradients[ranks] = step_gradients(place / "checkpoints", momentum=0.9, weight_decay=5e-4)
        assert [row["samples"] for row in rows if row["kind"] == "train"] == [300, 300, 300, 300, 237] * 4
    assert len(losses[1]) == 20
    assert losses[1][-5:].mean() < 0.85 * losses[1][:5].mean()
    np.testing.assert_allclose(losses[2], losses[1], rtol=tolerance)
    if precision == "float64":
        assert len(gradients[1]) == 20
        for one, two in zip([weights[1], *gradients[1]], [weights[2], *gradients[2]], strict=True):
            assert one.keys() == two.keys()
            for name, value in one.items():
                assert np.abs(two[name] - value).max() <= tolerance * np.abs(value).max(), name


def step_gradients(checkpoints: Path, momentum: float, weight_decay: float) -> list[dict[str, np.ndarray]]:
    """The mean gradient of every step: what SGD added to the velocities between two checkpoints.

    The first entry is the first velocity itself, gradient and weight decay together.
    """
    states = [load_file(path) for path in sorted(checkpoints.glob("step-*.safetensors"))]

    def velocity(state: dict[str, np.ndarray], number: int) -> np.ndarray:
        return state[f"optimizer.state.{number}.momentum_buffer"]

    return [{name: velocity(states[0], number) for number, name in enumerate(PARAMETERS)}] + [
        {
            name: velocity(after, number) - momentum * velocity(before, number) - weight_decay * before[f"model.{name}"]
            for number, name in enumerate(PARAMETERS)
        }
        for before, after in pairwise(states)
    ]
