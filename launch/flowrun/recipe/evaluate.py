"""Evaluation over all ranks: sums and counts, reduced once, and the answers worth looking at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import flownn as flow
from flowdata import Loader
from flowdist import Communicator
from flownn.nn import functional as F
from flownn.nn.parallel import DistributedDataParallel

WORST = 16


@dataclass(frozen=True)
class Answer:
    """What the model made of one sample.

    Args:
        probability: What the model gave to the true class; the worst answers have the lowest.
        index: Position of the sample in the evaluation set.
        label: True class.
        predicted: The model's class.
        confidence: What it gave to that.
        image: The network's input, (C, H, W), as it was normalised.
    """

    probability: float
    index: int
    label: int
    predicted: int
    confidence: float
    image: NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """The result over the whole evaluation set, equal on every rank.

    Args:
        loss: Mean cross-entropy per sample.
        accuracy: Share of samples whose most likely class is the right one, 0..1.
        samples: Samples seen.
        worst: The `WORST` answers that gave least to the true class, worst first; only on rank 0.
    """

    loss: float
    accuracy: float
    samples: int
    worst: tuple[Answer, ...] = ()


def evaluate(
    model: flow.nn.Module | DistributedDataParallel, loader: Loader, comm: Communicator, dtype: flow.dtype
) -> Evaluation:
    """Run the model over one epoch of ``loader`` in evaluation mode; the training mode is restored."""
    training = model.training
    model.eval()
    sums = np.zeros(3, np.float64)  # loss, correct, samples
    worst: list[Answer] = []
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
                sums += np.array([loss.item(), np.count_nonzero(predicted == labels), batch.size])
                worst = _worst([*worst, *_answers(batch, probabilities, predicted)])
    finally:
        model.train(training)
    comm.allreduce(sums)
    gathered = comm.allgather_object(worst)
    return Evaluation(
        loss=float(sums[0] / sums[2]),
        accuracy=float(sums[1] / sums[2]),
        samples=int(sums[2]),
        worst=tuple(_worst([each for part in gathered for each in part])) if comm.rank == 0 else (),
    )


def _answers(batch: Any, probabilities: Any, predicted: Any) -> Iterator[Answer]:
    rows = np.arange(batch.size)
    of_truth = probabilities[rows, batch["label"]]
    for row in np.argsort(of_truth, kind="stable")[:WORST].tolist():
        yield Answer(
            probability=float(of_truth[row]),
            index=int(batch.indices[row]),
            label=int(batch["label"][row]),
            predicted=int(predicted[row]),
            confidence=float(probabilities[row, predicted[row]]),
            image=np.array(batch["image"][row], np.float32),
        )


def _worst(answers: list[Answer]) -> list[Answer]:
    return sorted(answers, key=lambda each: (each.probability, each.index))[:WORST]
