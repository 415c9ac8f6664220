"""Optimizer: parameter groups with options, state per parameter, and the update of arrays in place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from flownn import backend
from flownn.autograd import enable_grad, wrap
from flownn.optim import blocks
from flownn.overwritten import mark_all_overwritten
from flownn.tensor import Tensor

__all__ = ["Optimizer"]

# What PyTorch's state also holds: how to compute, not what. The rules here have one way.
_OTHER_LIBRARY = frozenset({"foreach", "fused", "capturable", "differentiable", "param_names"})


class Optimizer:
    """Base class of the update rules.

    A subclass passes its options' defaults here and defines ``update``, which changes one parameter's array.

    Args:
        params: Parameters, or dicts with the parameters of a group under "params" and options of its own.
        defaults: Options for the groups that do not set them.

    Raises:
        ValueError: no parameters, a parameter twice, or an option that the rule does not know or take.
    """

    state_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Any, dict[str, Any]] = {}
        self._scratch: dict[Any, NDArray[Any]] = {}
        if isinstance(params, Tensor):
            raise TypeError(f"{type(self).__name__}: expected an iterable of parameters, got one tensor")
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: expected at least one parameter")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own.

        Args:
            group: Parameters under "params", and any of the rule's options.
        """
        name = type(self).__name__
        added = dict(group)
        added["params"] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        unknown = added.keys() - self.defaults.keys() - {"params", "initial_lr"}
        if unknown:
            raise ValueError(f"{name}: unknown options {sorted(unknown)}; it takes {', '.join(self.defaults)}")
        known = {id(p) for each in self.param_groups for p in each["params"]}
        for p in added["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: expected parameters to be tensors, got {type(p).__name__}")
            if p.grad_fn is not None:
                raise ValueError(
                    f"{name}: a parameter of shape {tuple(p.shape)} was computed; only leaves can be trained"
                )
            if id(p) in known:
                raise ValueError(f"{name}: a parameter of shape {tuple(p.shape)} is given twice")
            known.add(id(p))
        for option, value in self.defaults.items():
            added.setdefault(option, value)
        self.check_options(added)
        self.param_groups.append(added)

    def check_options(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError where an option's value makes no sense."""
        for option in ("lr", "weight_decay", "momentum", "eps"):
            if option in group and not group[option] >= 0:
                raise ValueError(f"{type(self).__name__}: expected {option} of at least 0, got {group[option]}")
        betas = group.get("betas", (0.0, 0.0))
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: expected two betas from 0 to below 1, got {betas}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.data[...] = 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes the loss and the gradients anew; called first.

        Returns:
            What ``closure`` returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            try:
                blocks.update_all(self, moved, group)
            finally:
                mark_all_overwritten([p.data for p in moved], f"{type(self).__name__}.step")
        return loss

    def update(
        self, xp: Any, value: NDArray[Any], grad: NDArray[Any], state: dict[str, Any], group: Mapping[str, Any]
    ) -> None:
        """Change ``value`` in place, following ``grad``; ``state`` is this parameter's, of tensors and numbers.

        Marked with `flownn.optim.blocks.elementwise`, it is also called with pieces of parameters and with several
        joined to one array.
        """
        raise NotImplementedError(f"{type(self).__name__}: define update()")

    def update_joined(
        self,
        xp: Any,
        value: NDArray[Any],
        grad: NDArray[Any],
        state: dict[str, Any],
        group: Mapping[str, Any],
        bounds: Sequence[int],
    ) -> None:
        """`update` for several parameters in one array, the i-th at ``bounds[i]:bounds[i + 1]``."""
        self.update(xp, value, grad, state, group)

    def corrections(self, step: int, group: Mapping[str, Any]) -> list[float]:
        """What to divide running means by that started at 0, ``1 - beta**step`` each; 1 where that is not wanted."""
        return [1 - beta**step if group["do_bias_correction"] else 1.0 for beta in group["betas"]]

    def scratch(self, xp: Any, like: NDArray[Any], slot: int | str = 0, size: int | None = None) -> NDArray[Any]:
        """Uninitialised memory, the same for all parameters that a thread updates in a step.

        It has the dtype of ``like`` and its shape, or one dim of ``size``.
        """
        wanted = like.size if size is None else size
        key = (xp.__name__, like.dtype, slot, threading.get_ident())
        flat = self._scratch.get(key)
        if flat is None or flat.size < wanted:
            flat = self._scratch[key] = xp.empty(wanted, dtype=like.dtype)
        return flat[:wanted].reshape(like.shape) if size is None else flat[:wanted]

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles get: all but the scratch memory."""
        return {**self.__dict__, "_scratch": {}}

    # ------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """All that continues a training: ``state`` by the parameter's number, and ``param_groups`` with numbers.

        Tensors share memory with the optimizer's.
        """
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers[id(p)] = len(numbers)
            groups.append({**group, "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers[id(p)]: dict(values) for p, values in self.state.items()}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave: options of the groups and state of the parameters, bit for bit.

        Args:
            state_dict: Of this rule, here or in PyTorch.

        Raises:
            ValueError: other numbers of groups or parameters, an unknown option or state, or a state of another shape.
                Then nothing was changed.
        """
        name = type(self).__name__
        groups = [self.own_options(group) for group in state_dict["param_groups"]]
        sizes = [len(group["params"]) for group in self.param_groups]
        given = [len(group["params"]) for group in groups]
        if sizes != given:
            raise ValueError(f"{name}.load_state_dict: expected groups of {sizes} parameters, got {given}")
        for group in groups:
            if unknown := group.keys() - self.defaults.keys() - {"params", "initial_lr"}:
                raise ValueError(f"{name}.load_state_dict: unknown options {sorted(unknown)}")
            self.check_options({**self.defaults, **group})
        by_number = {
            number: p
            for own, group in zip(self.param_groups, groups, strict=True)
            for number, p in zip(group["params"], own["params"], strict=True)
        }
        state: dict[Any, dict[str, Any]] = {}
        for number, values in state_dict["state"].items():
            p = by_number.get(int(number))
            if p is None or values.keys() - set(self.state_names):
                raise ValueError(f"{name}.load_state_dict: state {sorted(values)} for parameter {number} is not known")
            state[p] = {
                key: int(value) if key == "step" else self._own(f"{number}.{key}", value, p)
                for key, value in values.items()
            }
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update({option: value for option, value in group.items() if option != "params"})
        self.state = state

    def own_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """A group of a saved state without what another library's optimizers add."""
        return {option: value for option, value in group.items() if option not in _OTHER_LIBRARY}

    def _own(self, key: str, value: Any, p: Tensor) -> Any:
        """A copy of one value of the state, on the parameter's device and of its type; numbers stay numbers."""
        if not isinstance(value, Tensor) and not hasattr(value, "__array__"):
            return value
        array = value.data if isinstance(value, Tensor) else backend.foreign_array(value)
        if array.ndim and array.shape != p.data.shape:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: expected {key} of shape {tuple(p.data.shape)}, "
                f"got {tuple(array.shape)}"
            )
        return wrap(backend.to_device(array, backend.device_of(p.data)).astype(p.data.dtype))

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for index, group in enumerate(self.param_groups):
            options = (f"    {option}: {group[option]}" for option in sorted(group) if option != "params")
            lines += [f"Parameter Group {index}", *options]
        return "\n".join([*lines, ")"])
