"""50 training steps beside PyTorch's, from the same weights on the same batches: the losses stay together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import models, nn, optim
from tests.helpers.twins import torch_gpt, torch_lenet

pytestmark = [pytest.mark.torch, pytest.mark.slow]

STEPS = 50
RULES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}),
    ("Adam", {"lr": 2e-3}),
    ("AdamW", {"lr": 2e-3, "weight_decay": 0.1, "amsgrad": True}),
    ("LAMB", {"lr": 1e-2, "weight_decay": 0.01}),
]
GPT = {"vocab_size": 128, "context": 32, "width": 48, "depth": 2, "heads": 4}


class SlowLamb:
    """LAMB by its formulas on PyTorch's tensors, in float64."""

    def __init__(self, torch: Any, parameters: Any, lr: float, weight_decay: float) -> None:
        self.torch, self.parameters, self.lr, self.decay, self.steps = torch, list(parameters), lr, weight_decay, 0
        self.means = [(torch.zeros_like(p).double(), torch.zeros_like(p).double()) for p in self.parameters]

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        self.steps += 1
        with self.torch.no_grad():
            for index, p in enumerate(self.parameters):
                mean, square = self.means[index]
                mean = 0.9 * mean + 0.1 * p.grad.double()
                square = 0.999 * square + 0.001 * p.grad.double() ** 2
                self.means[index] = mean, square
                update = mean / (1 - 0.9**self.steps) / ((square / (1 - 0.999**self.steps)).sqrt() + 1e-8)
                ratio = p.double().norm() / update.norm() if p.any() and update.any() else 1.0
                p -= self.lr * ratio * (update + self.decay * p.double())


def digits() -> Iterator[tuple[Any, Any]]:
    data = pytest.importorskip("sklearn.datasets", reason="scikit-learn brings the digits").load_digits()
    images = np.kron(data.images / 16, np.ones((2, 2))).astype(np.float32)[:, None]
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        chosen = rng.integers(0, len(images), 32)
        yield images[chosen], data.target[chosen]


def text() -> Iterator[tuple[Any, Any]]:
    content = (Path(__file__).resolve().parents[2] / "README.md").read_text().encode("ascii", "replace")
    tokens = np.frombuffer(content, np.uint8).astype(np.int64)
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        starts = rng.integers(0, len(tokens) - GPT["context"] - 1, 8)
        rows = np.stack([tokens[start : start + GPT["context"] + 1] for start in starts])
        yield rows[:, :-1], rows[:, 1:]


def losses(library: Any, make: Any, model: Any, optimizer: Any, batches: Any) -> list[float]:
    found = []
    for data, target in batches:
        scores = model(make(data))
        loss = library.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), make(target).reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("rule", RULES, ids=[name for name, _ in RULES])
@pytest.mark.parametrize(
    ("kind", "dtype", "rtol"), [("lenet", "float32", 1e-4), ("lenet", "float64", 1e-9), ("gpt", "float32", 1e-4)]
)
def test_losses_stay_together(kind: str, dtype: str, rtol: float, rule: tuple[str, dict[str, Any]]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    torch.manual_seed(0)
    name, options = rule
    if kind == "lenet":
        ours: Any = models.create("lenet", image_size=16)
        theirs, batches = torch_lenet(torch, image_size=16), list(digits())
    else:
        ours = models.create("gpt", **GPT)
        theirs, batches = torch_gpt(torch, **GPT), list(text())
        for p in theirs.parameters():  # PyTorch's own start is far from that of a transformer
            if p.ndim > 1:
                torch.nn.init.normal_(p, std=0.05)
    ours.to(getattr(flow, dtype)).load_state_dict(theirs.to(getattr(torch, dtype)).state_dict())
    mine = getattr(optim, name)(ours.parameters(), **options)
    other = (
        SlowLamb(torch, theirs.parameters(), **options)
        if name == "LAMB"
        else getattr(torch.optim, name)(theirs.parameters(), **options)
    )
    batches = [(each.astype(dtype) if each.dtype.kind == "f" else each, target) for each, target in batches]
    one = losses(nn, flow.tensor, ours, mine, batches)
    two = losses(torch.nn, torch.tensor, theirs, other, batches)
    np.testing.assert_allclose(one, two, rtol=rtol)
    assert np.mean(two[-5:]) < 0.95 * np.mean(two[:5])
