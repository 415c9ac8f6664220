"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import wrap
from flownn.optim.base import Optimizer
from flownn.optim.blocks import elementwise

__all__ = ["SGD"]


class SGD(Optimizer):
    """Follow the gradient, with momentum where asked for.

    With g the gradient plus ``weight_decay * p`` and v the velocity (the first g at first):
    ``v = momentum * v + (1 - dampening) * g`` and ``p -= lr * v``, with Nesterov ``p -= lr * (g + momentum * v)``.

    Args:
        params: Parameters, or dicts of groups with options of their own.
        lr: Learning rate.
        momentum: Share of the velocity that is kept.
        dampening: Share of the gradient that does not go into the velocity.
        weight_decay: Factor of the L2 penalty's gradient.
        nesterov: Look ahead by one step of momentum; needs momentum and no dampening.
        maximize: Climb instead of descending.

    Raises:
        ValueError: a negative number, or Nesterov without momentum or with dampening.

    Reference:
        ``torch.optim.SGD``; Sutskever et al., 2013 for Nesterov's momentum.

    >>> import flownn as flow
    >>> p = flow.nn.Parameter(flow.tensor([1.0]))
    >>> p.grad = flow.tensor([0.5])
    >>> SGD([p], lr=0.1).step()
    >>> p.data
    array([0.95], dtype=float32)
    """

    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def check_options(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError where an option's value makes no sense."""
        super().check_options(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum above 0 and dampening 0")

    @elementwise
    def update(
        self, xp: Any, value: NDArray[Any], grad: NDArray[Any], state: dict[str, Any], group: Mapping[str, Any]
    ) -> None:
        """Move ``value`` by one step; neither the gradient nor memory beside two scratch arrays is touched."""
        number = value.dtype.type
        work = self.scratch(xp, value)
        direction = grad
        if group["maximize"]:
            direction = xp.negative(grad, out=self.scratch(xp, value, 1))
        if group["weight_decay"]:
            xp.multiply(value, number(group["weight_decay"]), out=work)
            direction = xp.add(direction, work, out=self.scratch(xp, value, 1))
        if group["momentum"]:
            kept = state.get("momentum_buffer")
            if kept is None:
                velocity = direction.copy()
                state["momentum_buffer"] = wrap(velocity)
            else:
                velocity = kept.data
                velocity *= number(group["momentum"])
                kept_back = group["dampening"]
                velocity += xp.multiply(direction, number(1 - kept_back), out=work) if kept_back else direction
            if group["nesterov"]:
                xp.multiply(velocity, number(group["momentum"]), out=work)
                direction = xp.add(direction, work, out=self.scratch(xp, value, 1))
            else:
                direction = velocity
        value -= xp.multiply(direction, number(group["lr"]), out=work)
