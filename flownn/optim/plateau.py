"""A learning-rate schedule that follows a metric instead of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flownn.optim.base import Optimizer

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau:
    """Multiply the learning rate by ``factor`` whenever a metric has not improved for ``patience`` steps.

    Args:
        optimizer: Whose groups to set.
        mode: "min" if less is better, "max" if more is.
        factor: Below 1.
        patience: Steps without improvement that are allowed.
        threshold: By how much the best value must be passed.
        threshold_mode: "rel", the threshold is a part of the best value, or "abs".
        cooldown: Steps after a reduction that do not count.
        min_lr: Lower bound of the learning rate; one, or one per group.
        eps: Smaller changes of the learning rate are left out.

    Raises:
        ValueError: a factor of 1 or more, an unknown mode, or other numbers of bounds than of groups.

    Reference:
        ``torch.optim.lr_scheduler.ReduceLROnPlateau``.

    >>> import flownn as flow
    >>> sgd = flow.optim.SGD([flow.nn.Parameter(flow.ones(1))], lr=1.0)
    >>> schedule = ReduceLROnPlateau(sgd, patience=1)
    >>> for loss in (0.5, 0.6, 0.7):
    ...     schedule.step(loss)
    >>> sgd.param_groups[0]["lr"]
    0.1
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{name}: expected an Optimizer, got {type(optimizer).__name__}")
        if factor >= 1:
            raise ValueError(f"{name}: expected a factor below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"{name}: expected mode 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"{name}: expected threshold_mode 'rel' or 'abs', got {threshold_mode!r}")
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * groups
        if len(self.min_lrs) != groups:
            raise ValueError(f"{name}: expected min_lr for {groups} groups, got {len(self.min_lrs)}")
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.eps = eps
        self.best: float | None = None
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0

    def step(self, metrics: Any) -> None:
        """Take the metric of one more step.

        Args:
            metrics: A number or a tensor of one element.
        """
        value = float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                reduced = max(group["lr"] * self.factor, lowest)
                if group["lr"] - reduced > self.eps:
                    group["lr"] = reduced
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return value == value  # nan is never better
        sign = 1 if self.mode == "max" else -1
        margin = self.threshold * self.best if self.threshold_mode == "rel" else self.threshold
        goal = self.best + sign * margin
        return value > goal if self.mode == "max" else value < goal

    def get_last_lr(self) -> list[float]:
        """Every group's present learning rate."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What the schedule has seen; JSON-able. The learning rates themselves are in the optimizer's state."""
        return {name: getattr(self, name) for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken.

        Raises:
            ValueError: it has other entries.
        """
        if state_dict.keys() != self.state_dict().keys():
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: expected {sorted(self.state_dict())}, got {sorted(state_dict)}"
            )
        for name, value in state_dict.items():
            setattr(self, name, value)
