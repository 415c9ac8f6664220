"""YAML files to checked values, with errors that say where the mistake was written.

Used for pipelines and for training recipes alike. A :class:`Config` is a plain tree plus the place of each of its
values; :func:`validate` turns it into a pydantic model and reports everything that is wrong at once, each line with
file, line, key path and, for a misspelt key, what was probably meant.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from flowdata.errors import ConfigError
from flowdata.yaml_reader import KeyPath, dotted_path, parse_yaml

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Config:
    """A tree of mappings, lists and scalars that remembers where each value was written.

    Args:
        tree: The value.
        file: What to call the origin of the whole tree in messages.
        marks: Key path to ``file:line`` or to the command-line argument that set the value.
        path: Key path of ``tree`` within the file, for messages.
    """

    tree: Any
    file: str = "configuration"
    marks: dict[KeyPath, str] = field(default_factory=dict)
    path: KeyPath = ()

    def section(self, *keys: str | int) -> Config:
        """The part of the tree below ``keys``.

        Raises:
            ConfigError: there is no such part.
        """
        tree = self.tree
        for depth, key in enumerate(keys):
            try:
                tree = tree[key]
            except (KeyError, IndexError, TypeError):
                raise self.error(f"{dotted_path((key,))} is missing", *keys[:depth]) from None
        return Config(tree, self.file, self.marks, self.path + keys)

    def where(self, *keys: str | int) -> str:
        """Place at which the value below ``keys``, or the nearest thing around it, was written."""
        path = self.path + keys
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, self.file)

    def message(self, text: str, *keys: str | int) -> str:
        """``text`` with place and key path in front."""
        dotted = dotted_path(self.path + keys)
        return f"{self.where(*keys)}: {dotted}: {text}" if dotted else f"{self.where(*keys)}: {text}"

    def error(self, text: str, *keys: str | int) -> ConfigError:
        """The error that says ``text`` about the value below ``keys``."""
        return ConfigError(self.message(text, *keys))


# -- finding and reading files ---------------------------------------------------------------------------------------


def config_folder() -> Path:
    """Where the shipped configurations are: beside the package in a clone, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "_configs"
    return inside if inside.is_dir() else package.parent / "configs"


def shipped_configs() -> list[str]:
    """Names of the shipped configurations, such as ``pipelines/digits``."""
    folder = config_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def find_config(name: str | os.PathLike[str]) -> Path:
    """The file of that name if it exists, else the shipped configuration of that name.

    Raises:
        ConfigError: there is neither; lists what is shipped.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_configs()
    wanted = path.as_posix().removesuffix(".yaml")
    if wanted in shipped:
        found = config_folder() / f"{wanted}.yaml"
        return found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found
    same_end = [each for each in shipped if each.rpartition("/")[2] == wanted.rpartition("/")[2]]
    close = same_end or difflib.get_close_matches(wanted, shipped, n=1)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise ConfigError(f"{name}: expected a file or a shipped configuration ({', '.join(shipped)}){hint}")


def load_config(name: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """Find and read a configuration, apply the overrides, then fill in what ``${...}`` refers to.

    Args:
        name: A file or the name of a shipped configuration.
        overrides: ``key.sub=value`` arguments, see :func:`override`.

    Raises:
        ConfigError: see :func:`find_config`, :func:`load_yaml`, :func:`override` and :func:`interpolate`.
    """
    return interpolate(override(load_yaml(name), overrides))


def load_yaml(name: str | os.PathLike[str]) -> Config:
    """Read a YAML file whose top level is a mapping.

    Scalars follow YAML 1.2: only ``true`` and ``false`` are booleans, ``1e-3`` is a number, ``010`` is ten, dates are
    strings. A key that appears twice in a mapping is an error.

    Raises:
        ConfigError: the file is missing, or is not such YAML; names file and line.
    """
    file = find_config(name)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: expected UTF-8 text ({error})") from None
    tree, marks = parse_yaml(text, str(file))
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: expected a mapping of keys to values at the top level")
    return Config(tree, str(file), marks)


# -- changing values -------------------------------------------------------------------------------------------------


def override(config: Config, arguments: Iterable[str]) -> Config:
    """Set values by command-line arguments ``key.sub=value``; a number selects a list item (``stages.0.resize.size``).

    The value is YAML, so ``lr=1e-3`` is a number, ``order={buffered: 100}`` a mapping and ``dir="2024"`` a string.
    Whether a new key means anything is for :func:`validate` to say, which then names the argument.

    Raises:
        ConfigError: an argument is not of that form, or its key leads through something that holds no keys.
    """
    tree, marks = _copy(config.tree), dict(config.marks)
    for argument in arguments:
        where = f"argument {argument!r}"
        dotted, equals, text = argument.partition("=")
        keys = dotted.split(".")
        if not equals or "" in keys:
            raise ConfigError(f"{where}: expected key=value or key.sub=value")
        parent = tree
        path: KeyPath = ()
        for depth, key in enumerate(keys):
            step = _step(parent, key, f"{where}: {dotted_path(path)}")
            path = (*path, step)
            if depth == len(keys) - 1:
                parent[step] = parse_yaml(text, where)[0]
            else:
                if isinstance(parent, dict) and parent.get(step) is None:
                    parent[step] = {}
                    marks[path] = where
                parent = parent[step]
        marks = {each: mark for each, mark in marks.items() if each[: len(path)] != path} | {path: where}
    return Config(tree, config.file, marks, config.path)


def _environment_value(text: str) -> Any:
    """A number, boolean or null if the text is one in YAML, else the text: paths need no quoting."""
    try:
        value, _ = parse_yaml(text, "environment")
    except ConfigError:
        return text
    return text if isinstance(value, (dict, list, str)) else value


def _step(parent: Any, key: str, where: str) -> str | int:
    if isinstance(parent, dict):
        return key
    if isinstance(parent, list):
        if key.isdecimal() and int(key) < len(parent):
            return int(key)
        raise ConfigError(f"{where}: expected the number of an item, 0 to {len(parent) - 1}, got {key!r}")
    raise ConfigError(f"{where}: is {parent!r}, which has no key {key!r}")


_REFERENCE = re.compile(r"\$\{([^{}]*)\}")


def interpolate(config: Config) -> Config:
    """Replace ``${a.b}`` by the value of that key and ``${env:X}`` by an environment variable.

    A string that is nothing but one reference takes the value with its type (for a variable: a number or boolean if
    it looks like one, else text); within a longer string the value is inserted as text.

    Raises:
        ConfigError: a reference leads nowhere or to itself, or a mapping or list is inserted into text; all of them,
            with file and line.
    """
    return Config(_Interpolation(config).run(), config.file, config.marks, config.path)


class _Interpolation:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._problems: list[str] = []
        self._pending: list[KeyPath] = []

    def run(self) -> Any:
        tree = self._value(self._config.tree, ())
        if self._problems:
            raise ConfigError("\n".join(dict.fromkeys(self._problems)))
        return tree

    def _value(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: self._value(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [self._value(each, (*path, index)) for index, each in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        if path in self._pending:
            cycle = " -> ".join(dotted_path(each) for each in [*self._pending[self._pending.index(path) :], path])
            return self._problem(path, f"the reference leads back to itself: {cycle}")
        self._pending.append(path)
        try:
            if whole := _REFERENCE.fullmatch(value):
                return self._target(whole[1], path)
            return _REFERENCE.sub(lambda match: self._text(match, path), value)
        finally:
            self._pending.pop()

    def _text(self, match: re.Match[str], path: KeyPath) -> str:
        value = self._target(match[1], path)
        if isinstance(value, (dict, list)):
            self._problem(path, f"{match[0]} is a mapping or list and cannot be part of a text")
        return value if isinstance(value, str) else json.dumps(value)

    def _target(self, reference: str, path: KeyPath) -> Any:
        if reference.startswith("env:"):
            name = reference.removeprefix("env:")
            if name not in os.environ:
                return self._problem(path, f"environment variable {name} is not set")
            return _environment_value(os.environ[name])
        target: Any = self._config.tree
        keys: KeyPath = ()
        for key in reference.split("."):
            try:
                step = _step(target, key, "")
                target = target[step]
            except (ConfigError, KeyError):
                known = [dotted_path((*keys, each)) for each in target] if isinstance(target, dict) else []
                hint = did_you_mean(dotted_path((*keys, key)), known)
                return self._problem(path, f"unknown reference ${{{reference}}}{hint}")
            keys = (*keys, step)
        if path[: len(keys)] == keys and path != keys:
            return self._problem(path, f"${{{reference}}} refers to a mapping or list that it is part of")
        return self._value(target, keys)

    def _problem(self, path: KeyPath, text: str) -> None:
        self._problems.append(self._config.message(text, *path))


# -- checking --------------------------------------------------------------------------------------------------------


def validate(model: type[_Model], config: Config) -> _Model:
    """The model made of a tree.

    Types are not converted: ``"8"`` is no integer and ``1`` no boolean.

    Raises:
        ConfigError: everything that is wrong, one line each, in the order of the file.
    """
    problems: list[str] = []
    checked = check(model, config, problems)
    if checked is None:
        raise ConfigError("\n".join(problems))
    return checked


def check(model: type[_Model], config: Config, problems: list[str]) -> _Model | None:
    """As :func:`validate`, but append what is wrong to ``problems`` and return None."""
    try:
        # As JSON, because there "strict" means what it should for text formats: lists may become tuples.
        return model.model_validate_json(json.dumps(config.tree, default=os.fspath), strict=True)
    except ValidationError as error:
        found: dict[KeyPath, list[str]] = {}
        for each in error.errors(include_url=False):
            path = _tree_path(config.tree, each["loc"], missing=each["type"] == "missing")
            found.setdefault(path, []).append(_explain(model, each, path))
        order = list(config.marks)
        position = {path: number for number, path in enumerate(order)}
        lines = sorted(found, key=lambda path: position.get(config.path + path, len(order)))
        problems += [config.message(_join(found[path]), *path) for path in lines]
        return None


def arguments_model(cls: type[Any]) -> type[BaseModel]:
    """A model of the fields of a dataclass, so that its arguments are checked like everything else."""
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for each in fields(cls):
        default = each.default
        if default is MISSING:
            default = ... if each.default_factory is MISSING else Field(default_factory=each.default_factory)
        arguments[each.name] = (hints[each.name], default)
    model: type[BaseModel] = create_model(cls.__name__, __config__=ConfigDict(extra="forbid"), **arguments)
    return model


def _explain(model: type[BaseModel], error: Any, path: KeyPath) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown key{did_you_mean(str(path[-1]), _keys_at(model, error['loc'][:-1]))}"
    if error["type"] == "missing":
        return "the item is required" if path and isinstance(path[-1], int) else "the key is required"
    if error["type"] == "value_error":  # a validator of ours, which says what it got
        return str(error["msg"]).removeprefix("Value error, ")
    text = str(error["msg"]).replace("Input should be", "expected")
    if error["type"] == "too_long":
        text = f"expected at most {error['ctx']['max_length']} items"
    found = f"{error['input']!r}"
    return f"{text}, got {found if len(found) < 80 else found[:77] + '...'}"


def _join(texts: list[str]) -> str:
    """One line for what the alternatives of a union have to say of the same value."""
    expected = [text.rpartition(", got ") for text in dict.fromkeys(texts)]
    if len(expected) > 1 and all(head.startswith("expected ") for head, _, _ in expected):
        return (
            "expected "
            + " or ".join(head.removeprefix("expected ") for head, _, _ in expected)
            + (f", got {expected[0][2]}")
        )
    return "; ".join(dict.fromkeys(texts))


def _tree_path(tree: Any, location: Sequence[str | int], missing: bool) -> KeyPath:
    """The keys of an error's location that exist in the tree, without pydantic's names for union members."""
    path: KeyPath = ()
    for number, key in enumerate(location):
        if isinstance(tree, dict):
            inside = key in tree
        else:
            inside = isinstance(tree, list) and isinstance(key, int) and key < len(tree)
        if inside:
            tree = tree[key]
            path = (*path, key)
        elif missing and number == len(location) - 1:
            path = (*path, key)
    return path


def _keys_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Keys that the (nested) model at an error's location has."""
    models = [model]
    for key in location:
        fields = [each.model_fields[key].annotation for each in models if key in each.model_fields]
        models = [each for annotation in fields for each in _models_in(annotation)] or models
    return [name for each in models for name in each.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for argument in get_args(annotation) for each in _models_in(argument)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to append to "unknown NAME": the known name that is close to it, else all of them."""
    known = list(known)
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(known)}" if known else ""


def _copy(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copy(value) for key, value in tree.items()}
    return [_copy(value) for value in tree] if isinstance(tree, list) else tree
