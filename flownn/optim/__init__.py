"""Update rules and learning-rate schedules."""

from flownn.optim import lr_scheduler
from flownn.optim.adam import Adam, AdamW
from flownn.optim.adaptive import Adadelta, Adagrad, RMSprop
from flownn.optim.base import Optimizer
from flownn.optim.lamb import LAMB
from flownn.optim.sgd import SGD

__all__ = ["LAMB", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
