"""What one side can do for one part, whichever library does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Network:
    """A network that is being trained.

    Args:
        parameters: Number of trained values.
        save: Writes its weights by name to an .npz file.
        load: Takes them from one; every name must fit.
        loss: Forward in training mode and the loss, without a step.
    """

    parameters: int
    save: Callable[[str], None]
    load: Callable[[str], None]
    loss: Callable[[], float]


@dataclass(frozen=True)
class Work:
    """The calls that are timed.

    Args:
        about: Versions and settings, for the result.
        calls: By the name of the figure.
        network: Of a training part.
    """

    about: Mapping[str, Any]
    calls: Mapping[str, Callable[[], object]]
    network: Network | None = None
