"""YAML text to plain values and the line of each of them.

Scalars follow the core schema of YAML 1.2, which has fewer surprises than PyYAML's 1.1: only ``true`` and ``false`` are
booleans, ``1e-3`` is a number, ``010`` is ten, dates are strings.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from flowdata.errors import ConfigError

KeyPath = tuple[str | int, ...]


def parse_yaml(text: str, name: str) -> tuple[Any, dict[KeyPath, str]]:
    """The value of a YAML text, and ``name:line`` for the key path of each value in it.

    Args:
        text: One YAML document.
        name: What to call the text in places and messages, such as its file.

    Raises:
        ConfigError: the text is no YAML, a key appears twice, or a tag is unknown; all of them with their line.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{place}: expected YAML, but {getattr(error, 'problem', None) or error}") from None
    if node is None:
        return None, {}
    reader = _Reader(name)
    tree = reader.value(node, ())
    if reader.problems:
        raise ConfigError("\n".join(reader.problems))
    return tree, reader.marks


def dotted_path(path: KeyPath) -> str:
    """``stages[2].resize.size`` for ``("stages", 2, "resize", "size")``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


class _Loader(yaml.SafeLoader):
    """Scalars as in the core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # declared so by the base class


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     "-+.0123456789"),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), [*_first, ""])


class _Dumper(yaml.SafeDumper):
    """Quotes what the core schema of YAML 1.2, or that of 1.1, would take for something else than text."""

    yaml_implicit_resolvers: dict[str, Any] = {  # noqa: RUF012  # declared so by the base class
        first: yaml.SafeDumper.yaml_implicit_resolvers.get(first, []) + _Loader.yaml_implicit_resolvers.get(first, [])
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


def dump_yaml(tree: Any) -> str:
    """Text that :func:`parse_yaml` reads as ``tree``."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return text


class _Reader:
    """Nodes to values, noting the line of each key and list item."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.marks: dict[KeyPath, str] = {}
        self.problems: list[str] = []
        self._open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if any(node is each for each in self._open):
            self._problem(node, path, "the value contains itself")
            return None
        self.marks.setdefault(path, f"{self.file}:{node.start_mark.line + 1}")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str) or key == "<<":
                self._problem(key_node, path, "expected a plain key")
            elif key in tree:
                self._problem(key_node, (*path, key), f"the key appears twice, first at {self.marks[(*path, key)]}")
            else:
                self.marks[(*path, key)] = f"{self.file}:{key_node.start_mark.line + 1}"
                tree[key] = self.value(value_node, (*path, key))
        return tree

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        text = node.value
        try:
            match node.tag.rpartition(":")[2]:
                case "int":
                    return int(text, 0) if text.startswith(("0x", "0o")) else int(text)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
                case "bool":
                    return text.lower() == "true"
                case "null":
                    return None
                case "str":
                    return text
        except ValueError:  # an explicit tag on something else, such as !!int x
            self._problem(node, path, f"{text!r} is no {node.tag}")
            return None
        self._problem(node, path, f"unknown tag {node.tag}")
        return None

    def _problem(self, node: yaml.Node, path: KeyPath, text: str) -> None:
        dotted = dotted_path(path)
        self.problems.append(f"{self.file}:{node.start_mark.line + 1}: {dotted + ': ' if dotted else ''}{text}")
