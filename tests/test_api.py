"""Documented names, signatures and defaults, and a docstring for everything public."""

import ast
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

API = Path(__file__).resolve().parent / "api"
DOCUMENTED = json.loads((API / "documented.json").read_text())
IMPLEMENTED = (API / "implemented.txt").read_text().split()
FULL_NAMES = {name.split(".")[-1]: name for name in DOCUMENTED}


def resolve(full: str) -> Any:
    """The object a dotted name means: a module where there is one, else an attribute."""
    parts = full.split(".")
    found = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], 2):
        found = getattr(found, part, None) or importlib.import_module(".".join(parts[:i]))
    return found


def documented_parameters(signature: str) -> list[tuple[str, str, Any]]:
    """(name, kind, default) of each parameter; a default that is a name, such as a dtype, stays text."""
    arguments = ast.parse(f"def f{signature}: ...").body[0].args  # type: ignore[attr-defined]
    plain = arguments.args
    defaults = [inspect.Parameter.empty] * (len(plain) - len(arguments.defaults)) + arguments.defaults
    rows = [(a.arg, "plain", d) for a, d in zip(plain, defaults, strict=True)]
    rows += [(a.arg, "keyword", d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    rows += [(a.arg, kind, inspect.Parameter.empty) for a, kind in
             ((arguments.vararg, "many"), (arguments.kwarg, "named")) if a]  # fmt: skip
    return [(name, kind, value(d)) for name, kind, d in rows]


def value(node: Any) -> Any:
    if not isinstance(node, ast.AST):
        return node
    try:
        return ast.literal_eval(node)
    except ValueError:
        return resolve(ast.unparse(node))


@pytest.mark.parametrize("short", IMPLEMENTED)
def test_signature_is_the_documented_one(short: str) -> None:
    row = DOCUMENTED[FULL_NAMES[short]]
    found = resolve(FULL_NAMES[short])
    if "alias_of" in row:
        assert found is resolve(row["alias_of"])
        return
    assert callable(found)
    assert row["kind"] != "class" or inspect.isclass(found)
    if "signature" not in row:
        return
    actual = inspect.signature(found).parameters
    documented = documented_parameters(row["signature"])
    plain = [name for name, kind, _ in documented if kind == "plain"]
    positional = [p.name for p in actual.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional[: len(plain)] == plain
    for name, kind, default in documented:
        if kind == "many":
            assert any(p.kind is p.VAR_POSITIONAL for p in actual.values())
        elif kind == "named":
            assert any(p.kind is p.VAR_KEYWORD for p in actual.values())
        else:
            have = actual[name].default
            assert have == default or (isinstance(default, list) and list(have) == default), name
    extra = set(actual) - {name for name, _, _ in documented}
    for name in extra:
        parameter = actual[name]
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        assert variadic or parameter.default is not parameter.empty, f"{short} requires {name}, which is not documented"


def test_every_implemented_name_is_documented_and_listed_once() -> None:
    assert sorted(set(IMPLEMENTED)) == sorted(IMPLEMENTED)
    assert set(IMPLEMENTED) <= set(FULL_NAMES)
    assert len(DOCUMENTED) == 101


@pytest.mark.parametrize("package", ["flowdata", "flowdist", "flownn", "flownn.nn", "flownn.optim"])
def test_public_names_have_docstrings(package: str) -> None:
    module = importlib.import_module(package)
    bare = []
    for name in module.__all__:
        found = getattr(module, name)
        if (inspect.isclass(found) or inspect.isfunction(found)) and not inspect.getdoc(found):
            bare.append(name)
    assert not bare
