"""Evaluation over all ranks: sums and counts, reduced once, and the mistakes worth looking at."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import flownn as flow
from flowdata import Loader
from flowdist import Communicator
from flownn.nn import functional as F

WORST = 16


@dataclass(frozen=True)
class Mistake:
    """One sample that the model got wrong.

    Args:
        confidence: Probability that the model gave to its wrong answer.
        index: Position of the sample in the evaluation set.
        label: True class.
        predicted: The model's class.
        image: The network's input, (C, H, W), as it was normalised.
    """

    confidence: float
    index: int
    label: int
    predicted: int
    image: NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """The result over the whole evaluation set, equal on every rank.

    Args:
        loss: Mean cross-entropy per sample.
        accuracy: Share of samples whose most likely class is the right one, 0..1.
        samples: Samples seen.
        mistakes: The most confident mistakes, worst first, at most `WORST`; only on rank 0.
    """

    loss: float
    accuracy: float
    samples: int
    mistakes: tuple[Mistake, ...] = ()


def evaluate(model: flow.nn.Module, loader: Loader, comm: Communicator, dtype: flow.dtype) -> Evaluation:
    """Run the model over one epoch of ``loader`` in evaluation mode; the training mode is restored."""
    training = model.training
    model.eval()
    sums = np.zeros(3, np.float64)  # loss, correct, samples
    worst: list[tuple[float, int, Mistake]] = []
    try:
        with flow.no_grad():
            for batch in loader:
                if batch.size == 0:
                    continue
                labels = batch["label"]
                logits = model(flow.tensor(batch["image"], dtype=dtype))
                loss = F.cross_entropy(logits, flow.tensor(labels, dtype=flow.int64), reduction="sum")
                probabilities = F.softmax(logits, dim=1).numpy()
                predicted = probabilities.argmax(axis=1)
                sums += (loss.item(), np.count_nonzero(predicted == labels), batch.size)
                _remember(worst, batch, probabilities, predicted)
    finally:
        model.train(training)
    comm.allreduce(sums)
    gathered = comm.allgather_object([mistake for _, _, mistake in worst])
    mistakes = sorted((each for part in gathered for each in part), key=lambda each: -each.confidence)
    return Evaluation(
        loss=float(sums[0] / sums[2]),
        accuracy=float(sums[1] / sums[2]),
        samples=int(sums[2]),
        mistakes=tuple(mistakes[:WORST]) if comm.rank == 0 else (),
    )


def _remember(worst: list[tuple[float, int, Mistake]], batch: Any, probabilities: Any, predicted: Any) -> None:
    for row in np.flatnonzero(predicted != batch["label"]).tolist():
        mistake = Mistake(
            confidence=float(probabilities[row, predicted[row]]),
            index=int(batch.indices[row]),
            label=int(batch["label"][row]),
            predicted=int(predicted[row]),
            image=np.array(batch["image"][row], np.float32),
        )
        entry = (mistake.confidence, -mistake.index, mistake)
        if len(worst) < WORST:
            heapq.heappush(worst, entry)
        else:
            heapq.heappushpop(worst, entry)
