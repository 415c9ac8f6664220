"""Modules that hold modules."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Self, overload

from flownn.nn.modules.module import Module, indented

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class _Numbered(Module):
    """Modules under the names "0", "1", ...; what lists and sequences share."""

    def _key(self, index: int) -> str:
        size = len(self._modules)
        index = operator.index(index)
        if not -size <= index < size:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {size} modules")
        return list(self._modules)[index]

    def _replace(self, modules: Iterable[Module | None]) -> None:
        found = list(modules)
        self._modules.clear()
        for index, module in enumerate(found):
            self.add_module(str(index), module)

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        gone = set(names[index]) if isinstance(index, slice) else {self._key(index)}
        self._replace(module for name, module in self._modules.items() if name not in gone)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before the one at ``index``."""
        modules = list(self)
        modules.insert(index, module)
        self._replace(modules)
        return self

    def pop(self, index: int = -1) -> Any:
        """Take a module out."""
        module = self._modules[self._key(index)]
        del self[index]
        return module


class Sequential(_Numbered):
    """Call modules one after the other, each on what the one before returned.

    Args:
        args: Modules, or one dict of modules by name.

    Shape:
        Input of the first module; output of the last.

    Reference:
        ``torch.nn.Sequential``.

    >>> from flownn import nn
    >>> nn.Sequential(nn.Conv2d(1, 20, 5), nn.ReLU())
    Sequential(
      (0): Conv2d(1, 20, kernel_size=(5, 5), stride=(1, 1))
      (1): ReLU()
    )
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], Mapping) else enumerate(args)
        for name, module in named:
            self.add_module(str(name), module)

    def _replace(self, modules: Iterable[Module | None]) -> None:
        """Number the modules anew unless they have names of their own."""
        names = {id(module): name for name, module in self._modules.items()}
        named = any(name != str(index) for index, name in enumerate(self._modules))
        found = list(modules)
        self._modules.clear()
        for index, module in enumerate(found):
            self.add_module(names.get(id(module), str(index)) if named else str(index), module)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(list(self._modules.items())[index]))
        return self._modules[self._key(index)]

    def forward(self, input: Any) -> Any:
        """Pass ``input`` through all modules."""
        for module in self:
            input = module(input)
        return input


class ModuleList(_Numbered):
    """Hold modules in a list, so that their parameters are found; it is not called itself.

    Args:
        modules: The first modules of the list.

    Reference:
        ``torch.nn.ModuleList``.

    >>> from flownn import nn
    >>> len(nn.ModuleList([nn.Linear(10, 10) for _ in range(3)]))
    3
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._modules[self._key(index)]

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def _child_lines(self) -> list[str]:
        """One line for a run of modules that print alike, as PyTorch does."""
        lines = []
        start = 0
        for text, run in groupby(map(repr, self)):
            count = len(list(run))
            where = f"({start})" if count == 1 else f"({start}-{start + count - 1})"
            lines.append(f"{where}: {'' if count == 1 else f'{count} x '}{indented(text)}")
            start += count
        return lines


class ModuleDict(Module):
    """Hold modules under names, so that their parameters are found; it is not called itself.

    Args:
        modules: The first modules by name.

    Reference:
        ``torch.nn.ModuleDict``.

    >>> from flownn import nn
    >>> list(nn.ModuleDict({"conv": nn.Conv2d(10, 10, 3), "pool": nn.MaxPool2d(3)}))
    ['conv', 'pool']
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def keys(self) -> Iterable[str]:
        """Names in the order they were added."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """Modules in the order they were added."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and modules in the order they were added."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules, or put them in the place of those with the same names."""
        for name, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[name] = module

    def pop(self, name: str) -> Any:
        """Take a module out."""
        return self._modules.pop(name)

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()
