"""Learning-rate schedules: each a pure function of the step and the group's first learning rate.

So a schedule's state is its step number, and resuming, or joining schedules, needs no replay. `ReduceLROnPlateau` is
the exception.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flownn.optim.base import Optimizer
from flownn.optim.plateau import ReduceLROnPlateau

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class LRScheduler:
    """Base class: sets every group's ``lr`` at construction and at each `step`.

    A subclass sets its attributes, then calls ``super().__init__``, and defines ``lr_at``, or ``rates`` where groups
    differ in more than their first learning rate.

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

    def rates(self, epoch: int, base_lrs: Sequence[float]) -> list[float]:
        """Every group's learning rate at step ``epoch``."""
        return [self.lr_at(epoch, base_lr) for base_lr in base_lrs]

    def _set(self) -> None:
        rates = self.rates(self.last_epoch, self.base_lrs)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

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
        lr_lambda: One function for all groups, or a list with one for each.
        last_epoch: The step to continue after; -1 starts.

    Raises:
        ValueError: another number of functions than of groups.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"LambdaLR: expected {groups} functions, got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int, base_lrs: Sequence[float]) -> list[float]:
        """Every group's first learning rate times its function's value."""
        return [base_lr * function(epoch) for base_lr, function in zip(base_lrs, self.lr_lambdas, strict=True)]


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


class CosineAnnealingWarmRestarts(LRScheduler):
    """Follow half a cosine down to ``eta_min``, then start again, each time taking ``T_mult`` times as long.

    Args:
        optimizer: Whose groups to set.
        T_0: Steps until the first restart.
        T_mult: How many times as long the next one takes.
        eta_min: The learning rate at the bottom.
        last_epoch: The step to continue after; -1 starts.

    Reference:
        Loshchilov and Hutter, 2017; ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_0 = _positive("CosineAnnealingWarmRestarts.T_0", T_0)
        self.T_mult = _positive("CosineAnnealingWarmRestarts.T_mult", T_mult)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """``eta_min + (base_lr - eta_min) * (1 + cos(pi * t / T)) / 2``, t steps into a round of T."""
        length = self.T_0
        while epoch >= length and self.T_mult > 1:
            epoch, length = epoch - length, length * self.T_mult
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * (epoch % length) / length)) / 2


class OneCycleLR(LRScheduler):
    """Rise to ``max_lr``, fall to almost nothing, and move the momentum the other way: for one short training.

    Args:
        optimizer: Whose groups to set.
        max_lr: The highest learning rate; one, or one per group.
        total_steps: Length of the cycle; None means ``epochs * steps_per_epoch``.
        epochs: Number of epochs.
        steps_per_epoch: Steps in each.
        pct_start: Part of the cycle that rises, from 0 to 1.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: Whether to move the momentum, or the first of Adam's betas, from ``max_momentum`` at the start
            to ``base_momentum`` at ``max_lr`` and back.
        base_momentum: The lowest momentum.
        max_momentum: The highest momentum.
        div_factor: The cycle starts at ``max_lr / div_factor``.
        final_div_factor: It ends at the start's learning rate over this.
        three_phase: Fall to the start's learning rate in as many steps as it rose, and to the end in what is left.
        last_epoch: The step to continue after; -1 starts.

    Raises:
        ValueError: no length, a part outside 0 to 1, another strategy, other numbers of learning rates than groups, an
            optimizer without momentum to move, or a step beyond the end.

    Reference:
        Smith and Topin, 2019; ``torch.optim.lr_scheduler.OneCycleLR``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: expected total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        self.total_steps = _positive("OneCycleLR.total_steps", total_steps)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: expected pct_start from 0 to 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: expected anneal_strategy 'cos' or 'linear', got {anneal_strategy!r}")
        groups = optimizer.param_groups
        if cycle_momentum and not all("betas" in group or "momentum" in group for group in groups):
            raise ValueError(f"OneCycleLR: {type(optimizer).__name__} has no momentum; pass cycle_momentum=False")
        highest = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(groups)
        if len(highest) != len(groups):
            raise ValueError(f"OneCycleLR: expected max_lr for {len(groups)} groups, got {len(highest)}")
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.momenta = (max_momentum, base_momentum)
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        rise = pct_start * total_steps - 1
        # Where each phase ends, and in which of the levels start, top, end.
        self.phases = (
            [(rise, 1), (2 * rise, 0), (total_steps - 1, 2)] if three_phase else [(rise, 1), (total_steps - 1, 2)]
        )
        if last_epoch == -1:
            for group, rate in zip(groups, highest, strict=True):
                group["initial_lr"] = rate / div_factor
        super().__init__(optimizer, last_epoch)

    def _between(self, epoch: int, levels: tuple[float, float, float]) -> float:
        """The value at step ``epoch`` of what moves from the start's level to the top's and on."""
        if epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: step {epoch} is beyond the end at {self.total_steps}")
        begin, level = 0.0, levels[0]
        for end, towards in self.phases:
            if epoch <= end or end == self.total_steps - 1:
                break
            begin, level = end, levels[towards]
        share = (epoch - begin) / (end - begin)
        if self.anneal_strategy == "linear":
            return level + (levels[towards] - level) * share
        return levels[towards] + (level - levels[towards]) / 2 * (1 + math.cos(math.pi * share))

    def lr_at(self, epoch: int, base_lr: float) -> float:
        """The learning rate of the phase that is on at ``epoch``."""
        return self._between(epoch, (base_lr, base_lr * self.div_factor, base_lr / self.final_div_factor))

    def _set(self) -> None:
        super()._set()
        if self.cycle_momentum:
            high, low = self.momenta
            momentum = self._between(self.last_epoch, (high, low, high))
            for group in self.optimizer.param_groups:
                group.update({"betas": (momentum, group["betas"][1])} if "betas" in group else {"momentum": momentum})


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
    >>> [schedule.rates(step, [1.0])[0] for step in range(5)]
    [0.5, 0.75, 1.0, 0.5, 0.0]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        if not self.schedulers or any(each.optimizer is not optimizer for each in self.schedulers):
            raise ValueError("SequentialLR: expected at least one schedule, all of the given optimizer")
        if any(isinstance(each, OneCycleLR) for each in self.schedulers):
            raise ValueError("SequentialLR: OneCycleLR has a first learning rate of its own and cannot be a part")
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(set(self.milestones)):
            raise ValueError(
                f"SequentialLR: expected {len(self.schedulers) - 1} rising milestones for {len(self.schedulers)} "
                f"schedules, got {self.milestones}"
            )
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch: int, base_lrs: Sequence[float]) -> list[float]:
        """Those of the schedule that is on at ``epoch``."""
        index = bisect_right(self.milestones, epoch)
        return self.schedulers[index].rates(epoch - (self.milestones[index - 1] if index else 0), base_lrs)
