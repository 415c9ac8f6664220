"""LAMB: Adam's direction with a step per parameter that fits the parameter's size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flownn.autograd import wrap
from flownn.optim.base import Optimizer
from flownn.optim.blocks import cut, joinable

__all__ = ["LAMB"]


class LAMB(Optimizer):
    """Scale Adam's step of each parameter by the parameter's norm over the step's norm: for large batches.

    With m and v Adam's running means: ``u = m / (sqrt(v) + eps)``, ``ratio = |p| / |u|`` and
    ``p -= lr * ratio * (u + weight_decay * p)``. The ratio is 1 where either norm is 0.

    Args:
        params: Parameters, or dicts of groups with options of their own.
        lr: Learning rate.
        betas: Shares of the running means of the gradient and of its square that are kept.
        eps: Added to the root of the mean square.
        weight_decay: Strength of the weight decay.
        adam_w_mode: Decay the parameters as above; without it, add ``weight_decay * p`` to the gradient.
        do_bias_correction: Divide m and v by ``1 - beta**step``, which makes up for their start at 0.
        amsgrad: Not available.
        maximize: Climb instead of descending.

    Raises:
        ValueError: a negative number, or a beta outside 0 <= beta < 1.
        NotImplementedError: ``amsgrad`` is true.

    Reference:
        You et al., 2020; ``oneflow.optim.LAMB``: the ratio has the norm of u alone, where the paper has that of
        ``u + weight_decay * p``, and no bounds.

    >>> import flownn as flow
    >>> p = flow.nn.Parameter(flow.tensor([3.0, 4.0]))
    >>> p.grad = flow.tensor([0.5, -0.5])
    >>> LAMB([p], lr=0.1).step()
    >>> p.detach()
    tensor([2.6464, 4.3536], dtype=flownn.float32)
    """

    state_names = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        adam_w_mode: bool = True,
        do_bias_correction: bool = True,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "adam_w_mode": adam_w_mode,
            "do_bias_correction": do_bias_correction,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def check_options(self, group: Mapping[str, Any]) -> None:
        """Raise where an option's value makes no sense or is not available."""
        super().check_options(group)
        if group["amsgrad"]:
            raise NotImplementedError("LAMB: amsgrad=True is not available")

    @joinable
    def update(
        self, xp: Any, value: NDArray[Any], grad: NDArray[Any], state: dict[str, Any], group: Mapping[str, Any]
    ) -> None:
        """Move ``value`` by one step."""
        step_of = self._step_of(xp, value, grad, state, group)
        rate = (group["lr"] * _ratio(xp, value, step_of)).astype(value.dtype)
        self._move(xp, value, step_of, rate, group)

    def update_joined(
        self,
        xp: Any,
        value: NDArray[Any],
        grad: NDArray[Any],
        state: dict[str, Any],
        group: Mapping[str, Any],
        bounds: Sequence[int],
    ) -> None:
        """`update` for several parameters in one array, each with a ratio of its own."""
        step_of = self._step_of(xp, value, grad, state, group)
        rates = self.scratch(xp, value, "rates")
        for start, stop in pairwise(bounds):
            rates[start:stop] = group["lr"] * _ratio(xp, value[start:stop], step_of[start:stop])
        self._move(xp, value, step_of, rates, group)

    def _step_of(
        self, xp: Any, value: NDArray[Any], grad: NDArray[Any], state: dict[str, Any], group: Mapping[str, Any]
    ) -> NDArray[Any]:
        """Adam's step, in scratch memory: the running means, corrected, one by the root of the other."""
        number = value.dtype.type
        beta1, beta2 = group["betas"]
        decay = number(group["weight_decay"])
        if not state:
            state["step"] = 0
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = wrap(xp.zeros(value.shape, dtype=value.dtype))
        state["step"] = int(state["step"]) + 1
        correction1, correction2 = self.corrections(state["step"], group)
        whole = self.scratch(xp, value, "step_of")
        for v, g, mean, square, step_of in cut(xp, value, grad, state["exp_avg"].data, state["exp_avg_sq"].data, whole):
            work = self.scratch(xp, v)
            direction = xp.negative(g, out=step_of) if group["maximize"] else g
            if decay and not group["adam_w_mode"]:
                xp.multiply(v, decay, out=work)
                direction = xp.add(direction, work, out=step_of)
            mean *= number(beta1)
            mean += xp.multiply(direction, number(1 - beta1), out=work)
            square *= number(beta2)
            xp.multiply(direction, direction, out=work)
            work *= number(1 - beta2)
            square += work
            xp.sqrt(square, out=work)
            work /= number(math.sqrt(correction2))
            work += number(group["eps"])
            xp.divide(mean, work, out=step_of)
            step_of /= number(correction1)
        return whole

    def _move(self, xp: Any, value: NDArray[Any], step_of: NDArray[Any], rate: Any, group: Mapping[str, Any]) -> None:
        """``value -= rate * (step_of + weight_decay * value)``, with the decay of AdamW's kind only."""
        decay = value.dtype.type(group["weight_decay"])
        for v, s, *rates in cut(xp, value, step_of, *([rate] if rate.ndim else [])):
            if decay and group["adam_w_mode"]:
                s += xp.multiply(v, decay, out=self.scratch(xp, v))
            s *= rates[0] if rates else rate
            v -= s


def _ratio(xp: Any, value: NDArray[Any], step: NDArray[Any]) -> Any:
    """``|value| / |step|``, 1 where either is 0; on the device, so that no step waits for the one before."""
    sizes = [xp.sqrt(_sum_of_squares(xp, each.reshape(-1))) for each in (value, step)]
    both = (sizes[0] > 0) & (sizes[1] > 0)
    return xp.where(both, sizes[0], 1) / xp.where(both, sizes[1], 1)


def _sum_of_squares(xp: Any, flat: NDArray[Any]) -> Any:
    """In double precision."""
    total = xp.zeros((), np.float64)
    for (piece,) in cut(xp, flat):
        total = total + xp.square(piece, dtype=np.float64).sum()
    return total
