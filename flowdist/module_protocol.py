"""What data parallelism asks of a module, its parameters and the engine that computes their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from numpy.typing import NDArray


class BackwardPass(Protocol):
    """One call of ``backward``."""

    def at_end(self, callback: Callable[[], None], /) -> None:
        """Call this after the whole graph was processed and before ``backward`` returns; its errors propagate."""

    def at_failure(self, callback: Callable[[], None], /) -> None:
        """Call this if ``backward`` raises part-way."""


class GradientSink(Protocol):
    """Where the engine puts a parameter's gradient, and whom it tells.

    In the end what is there is multiplied by ``factor``. Where a first gradient is written, that costs nothing, so the
    engine may do it; otherwise the sink does.
    """

    @property
    def buffer(self) -> NDArray[Any]:
        """Array of the parameter's shape and dtype: set to the gradient if there is none yet, else added to.

        The engine reads this immediately before it writes, and afterwards ``parameter.grad`` is over exactly it.
        """

    @property
    def factor(self) -> float:
        """What the gradient of this backward is to be multiplied by."""

    def ready(self, backward: Any, multiplied: bool = False, /) -> None:
        """The gradient of this `BackwardPass` is complete; called once per parameter and backward.

        ``multiplied`` says that it has the factor already.
        """


class HasArray(Protocol):
    """A tensor as far as it matters here."""

    @property
    def data(self) -> Any:
        """The NumPy array."""


class ParameterLike(Protocol):
    """A parameter or buffer of a module."""

    data: Any
    grad: Any
    grad_sink: Any
    requires_grad: bool

    @property
    def shape(self) -> Any:
        """Dimensions, convertible to a tuple of ints."""


class ModuleLike(Protocol):
    """A network: callable, with parameters and buffers that have names."""

    training: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output."""

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Dotted names and parameters, each shared parameter once."""

    def named_buffers(self) -> Iterator[tuple[str, Any]]:
        """Dotted names and tensors that are state but not trained."""
