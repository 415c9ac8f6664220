"""Modules that hold parameters in a list or a dict."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any, NoReturn, Self, overload

from flownn.nn.modules.module import Module
from flownn.nn.parameter import Parameter
from flownn.tensor import Tensor

__all__ = ["ParameterDict", "ParameterList"]


def _as_parameter(value: Any) -> Any:
    """A plain tensor becomes a parameter over the same memory; anything else stays what it is."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _lines(items: Iterable[tuple[Any, Any]]) -> str:
    """One line per entry, as PyTorch prints it."""
    lines = []
    for key, value in items:
        if isinstance(value, Parameter):
            sizes = "x".join(map(str, value.shape))
            place = f" ({value.device})" if value.is_cuda else ""
            text = f"Parameter containing: [{value.dtype} of size {sizes}{place}]"
        else:
            text = f"Object of type: {type(value).__name__}"
        lines.append(f"  ({key}): {text}")
    return "\n".join(lines)


class ParameterList(Module):
    """Hold parameters in a list, so that they are found; it is not called itself.

    Args:
        parameters: The first entries. Tensors become parameters, other objects are held as they are.

    Raises:
        RuntimeError: it is called.

    Reference:
        ``torch.nn.ParameterList``.

    >>> import flownn as flow
    >>> ParameterList([flow.ones(2, 3), flow.zeros(4)])
    ParameterList(
        (0): Parameter containing: [flownn.float32 of size 2x3]
        (1): Parameter containing: [flownn.float32 of size 4]
    )
    """

    def __init__(self, parameters: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        self.extend(() if parameters is None else parameters)

    def _key(self, index: int) -> str:
        position = operator.index(index)
        if not -self._size <= position < self._size:
            raise IndexError(f"ParameterList: index {position} is out of range for {self._size} entries")
        return str(position % self._size)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(self[i] for i in range(*index.indices(self._size)))
        return getattr(self, self._key(index))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._key(index), _as_parameter(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(self._size))

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def append(self, value: Any) -> Self:
        """Add a parameter at the end."""
        self._size += 1
        self[-1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add parameters at the end.

        Raises:
            TypeError: ``values`` is a tensor or cannot be gone through.
        """
        if isinstance(values, Tensor) or not isinstance(values, Iterable):
            raise TypeError(f"ParameterList.extend: expected an iterable of tensors, got {type(values).__name__}")
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """A line per entry."""
        return _lines(enumerate(self))

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("ParameterList: it holds parameters and cannot be called")


class ParameterDict(Module):
    """Hold parameters under names, so that they are found; it is not called itself.

    Args:
        parameters: The first entries: a mapping, whose keys are sorted unless it is an ``OrderedDict`` or a
            `ParameterDict`, or pairs. Tensors become parameters, other objects are held as they are.

    Raises:
        RuntimeError: it is called.

    Reference:
        ``torch.nn.ParameterDict``. A key that hides an attribute of the dict, such as ``"keys"``, is refused.

    >>> import flownn as flow
    >>> ParameterDict({"left": flow.ones(2, 3), "right": flow.zeros(4)})
    ParameterDict(
        (left): Parameter containing: [flownn.float32 of size 2x3]
        (right): Parameter containing: [flownn.float32 of size 4]
    )
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self._keys:
            self._check_new(key, {})
        setattr(self, key, _as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def keys(self) -> KeysView[str]:
        """Names in the order they were added."""
        return self._keys.keys()

    def values(self) -> Iterable[Any]:
        """Entries in the order they were added."""
        return (self[key] for key in self._keys)

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and entries in the order they were added."""
        return ((key, self[key]) for key in self._keys)

    def get(self, key: str, default: Any = None) -> Any:
        """The entry ``key``, or ``default`` where there is none."""
        return self[key] if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The entry ``key``, which becomes ``default`` where there was none."""
        if key not in self._keys:
            self[key] = default
        return self[key]

    def update(self, parameters: Any) -> None:
        """Add entries, or put them in the place of those with the same names.

        Args:
            parameters: A mapping, whose keys are sorted unless it is an ``OrderedDict`` or a `ParameterDict`, or pairs.

        Raises:
            TypeError: neither.
            ValueError: an element of the iterable is no pair, or a name cannot be one.
        """
        if isinstance(parameters, (OrderedDict, ParameterDict)):
            pairs = list(parameters.items())
        elif isinstance(parameters, Mapping):
            pairs = sorted(parameters.items())
        elif isinstance(parameters, Iterable) and not isinstance(parameters, Tensor):
            pairs = [tuple(each) for each in parameters]
        else:
            raise TypeError(f"ParameterDict.update: expected a mapping or pairs, got {type(parameters).__name__}")
        for position, pair in enumerate(pairs):
            if len(pair) != 2:
                raise ValueError(f"ParameterDict.update: expected pairs, element {position} has length {len(pair)}")
        for key, value in pairs:
            self[key] = value

    def pop(self, key: str) -> Any:
        """Take an entry out."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last entry out, with its name.

        Raises:
            KeyError: there is none.
        """
        if not self._keys:
            raise KeyError("ParameterDict.popitem: it is empty")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Take all entries out."""
        for key in list(self._keys):
            del self[key]

    def copy(self) -> ParameterDict:
        """Another dict with the same parameters."""
        return ParameterDict(self)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new dict with these names, all for ``default``."""
        return ParameterDict((key, default) for key in keys)

    def __or__(self, other: Any) -> ParameterDict:
        result = self.copy()
        result.update(other)
        return result

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        """A line per entry."""
        return _lines(self.items())

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("ParameterDict: it holds parameters and cannot be called")
