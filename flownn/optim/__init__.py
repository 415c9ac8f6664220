"""Update rules and learning-rate schedules."""

from flownn.optim import lr_scheduler
from flownn.optim.adam import Adam, AdamW
from flownn.optim.base import Optimizer
from flownn.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
