"""Adam and its variant with decoupled weight decay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from flownn.autograd import wrap
from flownn.optim.base import Optimizer
from flownn.optim.blocks import elementwise

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Scale each step by running means of the gradient and of its square.

    Args:
        params: Parameters, or dicts of groups with options of their own.
        lr: Learning rate.
        betas: Shares of the running means of the gradient and of its square that are kept.
        eps: Added to the root of the mean square.
        weight_decay: Factor of the L2 penalty's gradient.
        amsgrad: Divide by the largest mean square so far.
        do_bias_correction: Divide the means by ``1 - beta**step``, which makes up for their start at 0.
        maximize: Climb instead of descending.

    Raises:
        ValueError: a negative number, or a beta outside 0 <= beta < 1.

    Reference:
        Kingma and Ba, 2015; Reddi et al., 2018 for amsgrad; ``torch.optim.Adam``, and OneFlow's ``do_bias_correction``.

    >>> import flownn as flow
    >>> p = flow.nn.Parameter(flow.tensor([1.0]))
    >>> p.grad = flow.tensor([0.5])
    >>> Adam([p], lr=0.1).step()
    >>> p.detach()
    tensor([0.9000], dtype=flownn.float32)
    """

    state_names = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        do_bias_correction: bool = True,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "do_bias_correction": do_bias_correction,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def own_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Raise ValueError for a state of the variant with the other kind of weight decay."""
        options = super().own_options(group)
        if options.pop("decoupled_weight_decay", self.decoupled) != self.decoupled:
            other = "Adam" if self.decoupled else "AdamW"
            raise ValueError(f"{type(self).__name__}.load_state_dict: this is a state of {other}")
        return options

    @elementwise
    def update(
        self, xp: Any, value: NDArray[Any], grad: NDArray[Any], state: dict[str, Any], group: Mapping[str, Any]
    ) -> None:
        """Move ``value`` by one step."""
        number = value.dtype.type
        beta1, beta2 = group["betas"]
        work = self.scratch(xp, value)
        if not state:
            state["step"] = 0
            for name in self.state_names[1 : 4 if group["amsgrad"] else 3]:
                state[name] = wrap(xp.zeros(value.shape, dtype=value.dtype))
        state["step"] = step = int(state["step"]) + 1
        direction = grad
        if group["maximize"]:
            direction = xp.negative(grad, out=self.scratch(xp, value, 1))
        if group["weight_decay"]:
            if self.decoupled:
                value *= number(1 - group["lr"] * group["weight_decay"])
            else:
                xp.multiply(value, number(group["weight_decay"]), out=work)
                direction = xp.add(direction, work, out=self.scratch(xp, value, 1))
        mean, square = state["exp_avg"].data, state["exp_avg_sq"].data
        xp.subtract(direction, mean, out=work)
        work *= number(1 - beta1)
        mean += work
        xp.multiply(direction, direction, out=work)
        work *= number(1 - beta2)
        square *= number(beta2)
        square += work
        if group["amsgrad"]:
            square = xp.maximum(state["max_exp_avg_sq"].data, square, out=state["max_exp_avg_sq"].data)
        correction1, correction2 = self.corrections(step, group)
        xp.sqrt(square, out=work)
        work /= number(math.sqrt(correction2))
        work += number(group["eps"])
        xp.divide(mean, work, out=work)
        work *= number(group["lr"] / correction1)
        value -= work


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters directly and does not pass through the running means.

    Args:
        params: Parameters, or dicts of groups with options of their own.
        lr: Learning rate.
        betas: Shares of the running means of the gradient and of its square that are kept.
        eps: Added to the root of the mean square.
        weight_decay: Every step multiplies the parameters by ``1 - lr * weight_decay``.
        amsgrad: Divide by the largest mean square so far.
        do_bias_correction: Divide the means by ``1 - beta**step``, which makes up for their start at 0.
        maximize: Climb instead of descending.

    Raises:
        ValueError: a negative number, or a beta outside 0 <= beta < 1.

    Reference:
        Loshchilov and Hutter, 2019; ``torch.optim.AdamW``, with OneFlow's ``do_bias_correction``.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        do_bias_correction: bool = True,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, do_bias_correction, maximize=maximize)
