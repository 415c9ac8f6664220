"""The smallest module and autograd engine that satisfy what data parallelism asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Gradient:
    def __init__(self, data: Array) -> None:
        self.data = data


class Parameter:
    def __init__(self, values: Any, dtype: Any = np.float64, requires_grad: bool = True) -> None:
        self.data: Array = np.array(values, dtype)
        self.grad: Gradient | None = None
        self.grad_sink: Any = None
        self.requires_grad = requires_grad

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape


class Module:
    """``forward(model, x)`` returns a value and the contributions to gradients, in the order of use."""

    def __init__(
        self,
        parameters: dict[str, Parameter],
        forward: Callable[[Any, Any], Loss],
        buffers: dict[str, Parameter] | None = None,
    ) -> None:
        self.entries = parameters
        self.buffers = buffers or {}
        self.training = True
        self.compute = forward

    def __getitem__(self, name: str) -> Parameter:
        return self.entries[name]

    def __call__(self, x: Any) -> Any:
        return self.compute(self, x)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        seen: set[int] = set()
        for name, parameter in self.entries.items():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def named_buffers(self) -> Iterator[tuple[str, Parameter]]:
        yield from self.buffers.items()

    def parameters(self) -> list[Parameter]:
        return [parameter for _, parameter in self.named_parameters()]

    def state_dict(self) -> dict[str, Array]:
        return {name: tensor.data.copy() for name, tensor in (self.entries | self.buffers).items()}

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Module:
        self.training = mode
        return self

    def eval(self) -> Module:
        return self.train(False)

    def gradients(self) -> dict[str, list[float] | float | None]:
        return {name: None if p.grad is None else p.grad.data.tolist() for name, p in self.named_parameters()}

    def __repr__(self) -> str:
        return "Module(\n  tiny\n)"


class Backward:
    def __init__(self) -> None:
        self.ends: list[Callable[[], None]] = []
        self.failures: list[Callable[[], None]] = []

    def at_end(self, callback: Callable[[], None]) -> None:
        self.ends.append(callback)

    def at_failure(self, callback: Callable[[], None]) -> None:
        self.failures.append(callback)


class Loss:
    def __init__(self, value: Any, contributions: list[tuple[Parameter, Any]]) -> None:
        self.value = value
        self.contributions = contributions

    def backward(self, before_each: Callable[[Parameter], None] = lambda _: None) -> None:
        """Deliver each gradient when its last contribution has arrived; the last used comes first."""
        backward = Backward()
        try:
            left = Counter(id(parameter) for parameter, _ in self.contributions)
            totals: dict[int, Array] = {}
            for parameter, gradient in reversed(self.contributions):
                if parameter.requires_grad:
                    before_each(parameter)
                    totals[id(parameter)] = totals.get(id(parameter), 0) + np.asarray(gradient)
                    left[id(parameter)] -= 1
                    if not left[id(parameter)]:
                        deliver(parameter, totals[id(parameter)].astype(parameter.data.dtype), backward)
            for callback in backward.ends:
                callback()
        except BaseException:
            for callback in backward.failures:
                callback()
            raise


def deliver(parameter: Parameter, gradient: Array, backward: Backward) -> None:
    sink = parameter.grad_sink
    if sink is None:
        parameter.grad = Gradient(gradient if parameter.grad is None else parameter.grad.data + gradient)
        return
    buffer = sink.buffer
    if parameter.grad is None:
        buffer[...] = gradient
    else:
        if parameter.grad.data is not buffer:
            buffer[...] = parameter.grad.data
        buffer += gradient
    parameter.grad = Gradient(buffer)
    sink.ready(backward)


def scale(**values: Any) -> Module:
    """``x * w`` for one parameter per name, each used once in the order of names; the loss is the sum."""
    dtype = values.pop("dtype", np.float64)

    def forward(module: Module, x: Any) -> Loss:
        product = x * np.prod([p.data for p in module.entries.values()], axis=0)
        return Loss(product, [(p, product / p.data) for p in module.entries.values()])

    return Module({name: Parameter(value, dtype) for name, value in values.items()}, forward)


def two_layers(seed: int = 0, dtype: Any = np.float64, width: int = 5) -> Module:
    """``mean((x @ first + bias) ** 2 @ second - y) ** 2)``, with gradients by hand."""
    rng = np.random.default_rng(seed)

    def forward(module: Module, batch: tuple[Array, Array]) -> Loss:
        x, y = batch
        first, bias, second = (module[name].data for name in ("first", "bias", "second"))
        hidden = x @ first + bias
        error = (hidden**2) @ second - y
        loss = float((error**2).mean())
        d_output = 2 * error / error.size
        d_hidden = d_output @ second.T * 2 * hidden
        used = [("first", x.T @ d_hidden), ("bias", d_hidden.sum(0)), ("second", (hidden**2).T @ d_output)]
        return Loss(loss, [(module[name], gradient) for name, gradient in used])

    shapes = {"first": (3, width), "bias": (width,), "second": (width, 2)}
    return Module({name: Parameter(rng.standard_normal(shape) * 0.3, dtype) for name, shape in shapes.items()}, forward)
