"""Learning-rate schedules: each a pure function of the step and the group's first learning rate.

So a schedule's state is its step number, and resuming, or joining schedules, needs no replay.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flownn.optim.base import Optimizer

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "PolynomialLR",
    "SequentialLR",
    "StepLR",
]


class LRScheduler:
    """Base class: sets every group's ``lr`` at construction and at each `step`.

    A subclass sets its attributes, then calls ``super().__init__``, and defines ``lr_at``.

    Args:
        optimizer: Whose groups to set. A group's learning rate at the first construction is kept as "initial_lr".
        last_epoch: The step to continue after; -1 starts.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an Optimizer, got {type(optimizer).__name__}")
        for group in optimizer.param_groups:
            if last_epoch >= 0 and "initial_lr" not in group:
                raise ValueError(f"{type(self).__name__}: last_epoch={last_epoch} needs 'initial_lr' in every group")
            group.setdefault("initial_lr", group["lr"])
        self.optimizer = optimizer
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch + 1
        self._set()

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """The learning rate at step ``epoch`` of a group that began with ``base_lr``."""
        raise NotImplementedError(f"{type(self).__name__}: define lr_at()")

    def _set(self) -> None:
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.lr_at(self.last_epoch, base_lr)

    def step(self) -> None:
        """Go on by one; call it after the optimizer's ``step``."""
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """Every group's present learning rate."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands; JSON-able."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to where ``state_dict`` was taken, and set the learning rates of there."""
        base_lrs = [float(lr) for lr in state_dict["base_lrs"]]
        if len(base_lrs) != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: expected {len(self.base_lrs)} groups, got {len(base_lrs)}"
            )
        self.base_lrs = base_lrs
        self.last_epoch = int(state_dict["last_epoch"])
        self._set()


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value}")
    return value


class LambdaLR(LRScheduler):
    """Multiply by what functions of the step return.

    Args:
        optimizer: Whose groups to set.
        lr_lambda: One function for all groups.
        last_epoch: The step to continue after; -1 starts.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float], last_epoch: int = -1) -> None:
        self.lr_lambda = lr_lambda
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """``base_lr`` times the function's value."""
        return base_lr * self.lr_lambda(epoch)


class StepLR(LRScheduler):
    """Multiply by ``gamma`` every ``step_size`` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = _positive("StepLR.step_size", step_size)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """``base_lr * gamma ** (epoch // step_size)``."""
        return base_lr * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiply by ``gamma`` at each of the steps ``milestones``."""

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """``base_lr`` times gamma to the number of milestones reached."""
        return base_lr * self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(LRScheduler):
    """Multiply by ``gamma`` at every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """``base_lr * gamma ** epoch``."""
        return base_lr * self.gamma**epoch


class ConstantLR(LRScheduler):
    """Multiply by ``factor`` for the first ``total_iters`` steps."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """``base_lr * factor`` at first, then ``base_lr``."""
        return base_lr * (self.factor if epoch < self.total_iters else 1.0)


class LinearLR(LRScheduler):
    """Multiply by a factor that goes from ``start_factor`` to ``end_factor`` in ``total_iters`` steps: a warm-up.

    Args:
        optimizer: Whose groups to set.
        start_factor: Factor at step 0.
        end_factor: Factor from step ``total_iters`` on.
        total_iters: Number of steps between them; 0 means the end at once.
        last_epoch: The step to continue after; -1 starts.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(
                "LinearLR: expected 0 < start_factor <= 1 and 0 <= end_factor <= 1, "
                f"got {start_factor} and {end_factor}"
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """``base_lr`` times the factor of this step."""
        if epoch >= self.total_iters:
            return base_lr * self.end_factor
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * epoch / self.total_iters)


class PolynomialLR(LRScheduler):
    """Multiply by ``(1 - step / total_iters) ** power``, 0 from step ``total_iters`` on."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = _positive("PolynomialLR.total_iters", total_iters)
        self.power = power
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """``base_lr`` times the factor of this step."""
        return float(base_lr * (1 - min(epoch, self.total_iters) / self.total_iters) ** self.power)


class CosineAnnealingLR(LRScheduler):
    """Follow half a cosine from the first learning rate down to ``eta_min`` in ``T_max`` steps, and back up.

    Args:
        optimizer: Whose groups to set.
        T_max: Steps until the minimum.
        eta_min: The learning rate there.
        last_epoch: The step to continue after; -1 starts.

    Reference:
        Loshchilov and Hutter, 2017, without restarts; ``torch.optim.lr_scheduler.CosineAnnealingLR``.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = _positive("CosineAnnealingLR.T_max", T_max)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """``eta_min + (base_lr - eta_min) * (1 + cos(pi * epoch / T_max)) / 2``."""
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class SequentialLR(LRScheduler):
    """Follow schedules one after the other, each from its own step 0.

    Args:
        optimizer: Whose groups to set; all schedules are made for it.
        schedulers: The schedules.
        milestones: The steps at which the second and following ones begin.
        last_epoch: The step to continue after; -1 starts.

    Raises:
        ValueError: not one milestone between any two schedules, in rising order, or a schedule of another optimizer.

    >>> import flownn as flow
    >>> sgd = flow.optim.SGD([flow.nn.Parameter(flow.ones(1))], lr=1.0)
    >>> warm_up, decay = LinearLR(sgd, start_factor=0.5, total_iters=2), CosineAnnealingLR(sgd, T_max=2)
    >>> schedule = SequentialLR(sgd, [warm_up, decay], milestones=[2])
    >>> [schedule.lr_at(step, 1.0) for step in range(5)]
    [0.5, 0.75, 1.0, 0.5, 0.0]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        if not self.schedulers or any(each.optimizer is not optimizer for each in self.schedulers):
            raise ValueError("SequentialLR: expected at least one schedule, all of the given optimizer")
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(set(self.milestones)):
            raise ValueError(
                f"SequentialLR: expected {len(self.schedulers) - 1} rising milestones for {len(self.schedulers)} "
                f"schedules, got {self.milestones}"
            )
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """The learning rate of the schedule that is on at ``epoch``."""
        index = bisect_right(self.milestones, epoch)
        return self.schedulers[index].lr_at(epoch - (self.milestones[index - 1] if index else 0), base_lr)
