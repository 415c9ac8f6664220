"""Rules that divide each element's step by how large its gradients were: Adagrad, RMSprop, Adadelta."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from flownn.autograd import wrap
from flownn.optim.base import Optimizer
from flownn.optim.blocks import elementwise

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


class _Adaptive(Optimizer):
    """What the three share: the direction to go, and the running mean of its square."""

    def direction(self, xp: Any, value: NDArray[Any], grad: NDArray[Any], group: Mapping[str, Any]) -> NDArray[Any]:
        """The gradient, turned for ``maximize``, plus that of the penalty."""
        direction = grad
        if group["maximize"]:
            direction = xp.negative(grad, out=self.scratch(xp, value, 1))
        if group["weight_decay"]:
            penalty = xp.multiply(value, value.dtype.type(group["weight_decay"]), out=self.scratch(xp, value))
            direction = xp.add(direction, penalty, out=self.scratch(xp, value, 1))
        return direction

    def move_mean(self, xp: Any, mean: NDArray[Any], direction: NDArray[Any], kept: float) -> None:
        """``mean = kept * mean + (1 - kept) * direction**2`` in place."""
        work = xp.multiply(direction, direction, out=self.scratch(xp, mean))
        work *= mean.dtype.type(1 - kept)
        mean *= mean.dtype.type(kept)
        mean += work


def _check_share(name: str, option: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected {option} from 0 to 1, got {value}")


class Adagrad(_Adaptive):
    """Divide each step by the root of the sum of all squared gradients so far.

    With ``sum += g * g``: ``p -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(sum) + eps)``.

    Args:
        params: Parameters, or dicts of groups with options of their own.
        lr: Learning rate.
        lr_decay: How fast the learning rate falls.
        weight_decay: Factor of the L2 penalty's gradient.
        initial_accumulator_value: Where the sum starts.
        eps: Added to the root.
        maximize: Climb instead of descending.

    Raises:
        ValueError: a negative number.

    Reference:
        Duchi et al., 2011; ``torch.optim.Adagrad``.

    >>> import flownn as flow
    >>> p = flow.nn.Parameter(flow.tensor([1.0]))
    >>> p.grad = flow.tensor([0.5])
    >>> Adagrad([p], lr=0.1).step()
    >>> p.detach()
    tensor([0.9000], dtype=flownn.float32)
    """

    state_names = ("step", "sum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def check_options(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError where an option's value makes no sense."""
        super().check_options(group)
        for option in ("lr_decay", "initial_accumulator_value"):
            if not group[option] >= 0:
                raise ValueError(f"Adagrad: expected {option} of at least 0, got {group[option]}")

    @elementwise
    def update(
        self, xp: Any, value: NDArray[Any], grad: NDArray[Any], state: dict[str, Any], group: Mapping[str, Any]
    ) -> None:
        """Move ``value`` by one step."""
        number = value.dtype.type
        if not state:
            start = number(group["initial_accumulator_value"])
            state.update(step=0, sum=wrap(xp.full(value.shape, start, dtype=value.dtype)))
        state["step"] = step = int(state["step"]) + 1
        direction, work = self.direction(xp, value, grad, group), self.scratch(xp, value)
        total = state["sum"].data
        total += xp.multiply(direction, direction, out=work)
        xp.sqrt(total, out=work)
        work += number(group["eps"])
        xp.divide(direction, work, out=work)
        work *= number(group["lr"] / (1 + (step - 1) * group["lr_decay"]))
        value -= work


class RMSprop(_Adaptive):
    """Divide each step by the root of a running mean of the squared gradient.

    With ``v = alpha * v + (1 - alpha) * g * g``: ``p -= lr * g / (sqrt(v) + eps)``. ``centered`` takes the square of
    the gradient's running mean off v, and momentum collects steps: ``b = momentum * b + g / (...)``, ``p -= lr * b``.

    Args:
        params: Parameters, or dicts of groups with options of their own.
        lr: Learning rate.
        alpha: Share of the running means that is kept.
        eps: Added to the root.
        weight_decay: Factor of the L2 penalty's gradient.
        momentum: Share of the collected steps that is kept.
        centered: Divide by the gradient's deviation from its mean.
        maximize: Climb instead of descending.

    Raises:
        ValueError: a negative number, or ``alpha`` above 1.

    Reference:
        Tieleman and Hinton, 2012; Graves, 2013 for ``centered``; ``torch.optim.RMSprop``.

    >>> import flownn as flow
    >>> p = flow.nn.Parameter(flow.tensor([1.0]))
    >>> p.grad = flow.tensor([0.5])
    >>> RMSprop([p], lr=0.1, alpha=0.75).step()
    >>> p.detach()
    tensor([0.8000], dtype=flownn.float32)
    """

    state_names = ("step", "square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def check_options(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError where an option's value makes no sense."""
        super().check_options(group)
        _check_share("RMSprop", "alpha", group["alpha"])

    @elementwise
    def update(
        self, xp: Any, value: NDArray[Any], grad: NDArray[Any], state: dict[str, Any], group: Mapping[str, Any]
    ) -> None:
        """Move ``value`` by one step."""
        number = value.dtype.type
        if not state:
            state["step"] = 0
            for name, used in (
                ("square_avg", True),
                ("momentum_buffer", group["momentum"]),
                ("grad_avg", group["centered"]),
            ):
                if used:
                    state[name] = wrap(xp.zeros(value.shape, dtype=value.dtype))
        state["step"] = int(state["step"]) + 1
        direction, work = self.direction(xp, value, grad, group), self.scratch(xp, value)
        square = state["square_avg"].data
        self.move_mean(xp, square, direction, group["alpha"])
        if group["centered"]:
            mean = state["grad_avg"].data
            xp.subtract(direction, mean, out=work)
            work *= number(1 - group["alpha"])
            mean += work
            xp.multiply(mean, mean, out=work)
            xp.subtract(square, work, out=work)
            xp.sqrt(work, out=work)
        else:
            xp.sqrt(square, out=work)
        work += number(group["eps"])
        xp.divide(direction, work, out=work)
        if group["momentum"]:
            collected = state["momentum_buffer"].data
            collected *= number(group["momentum"])
            collected += work
            xp.multiply(collected, number(group["lr"]), out=work)
        else:
            work *= number(group["lr"])
        value -= work


class Adadelta(_Adaptive):
    """Scale each step by the size of earlier steps over the size of the gradients, so that units agree.

    With ``v = rho * v + (1 - rho) * g * g``: ``d = sqrt(s + eps) / sqrt(v + eps) * g``,
    ``s = rho * s + (1 - rho) * d * d`` and ``p -= lr * d``.

    Args:
        params: Parameters, or dicts of groups with options of their own.
        lr: Learning rate.
        rho: Share of the running means that is kept.
        eps: Added under the roots.
        weight_decay: Factor of the L2 penalty's gradient.
        maximize: Climb instead of descending.

    Raises:
        ValueError: a negative number, or ``rho`` above 1.

    Reference:
        Zeiler, 2012; ``torch.optim.Adadelta``.

    >>> import flownn as flow
    >>> p = flow.nn.Parameter(flow.tensor([1.0]))
    >>> p.grad = flow.tensor([0.5])
    >>> Adadelta([p], eps=0.1).step()
    >>> p.detach()
    tensor([0.5528], dtype=flownn.float32)
    """

    state_names = ("step", "square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def check_options(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError where an option's value makes no sense."""
        super().check_options(group)
        _check_share("Adadelta", "rho", group["rho"])

    @elementwise
    def update(
        self, xp: Any, value: NDArray[Any], grad: NDArray[Any], state: dict[str, Any], group: Mapping[str, Any]
    ) -> None:
        """Move ``value`` by one step."""
        number = value.dtype.type
        if not state:
            state["step"] = 0
            for name in ("square_avg", "acc_delta"):
                state[name] = wrap(xp.zeros(value.shape, dtype=value.dtype))
        state["step"] = int(state["step"]) + 1
        direction, work = self.direction(xp, value, grad, group), self.scratch(xp, value)
        square, moved = state["square_avg"].data, state["acc_delta"].data
        delta = self.scratch(xp, value, 2)
        self.move_mean(xp, square, direction, group["rho"])
        xp.add(moved, number(group["eps"]), out=delta)
        xp.add(square, number(group["eps"]), out=work)
        delta /= work
        xp.sqrt(delta, out=delta)
        delta *= direction
        self.move_mean(xp, moved, delta, group["rho"])
        delta *= number(group["lr"])
        value -= delta
