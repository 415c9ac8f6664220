"""The generic part of configurations: reading, overriding, interpolating, checking; every error with its place."""

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from flowdata import config
from flowdata.config import Config, find_config, interpolate, load_config, load_yaml, override, validate
from flowdata.errors import ConfigError


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_file(text, name="x.yaml"):
        (tmp_path / name).write_text(text)
        return name

    return write_file


def failure(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return str(caught.value)


# -- YAML ------------------------------------------------------------------------------------------------------------


def test_scalars_are_those_of_yaml_1_2(write):
    text = """
ints: [0, -3, +4, 010, 0x1f, 0o17]
floats: [1.5, 1e-3, -2E5, .5, 3., .inf, -.inf]
words: [yes, no, on, off, 2024-01-02, 12:30, "5", 1_000, 0x, '', a b]
truth: [true, False, TRUE]
nothing: [null, ~, ]
empty:
tagged: !!str 5
"""
    assert load_yaml(write(text)).tree == {
        "ints": [0, -3, 4, 10, 31, 15],
        "floats": [1.5, 0.001, -2e5, 0.5, 3.0, float("inf"), float("-inf")],
        "words": ["yes", "no", "on", "off", "2024-01-02", "12:30", "5", "1_000", "0x", "", "a b"],
        "truth": [True, False, True],
        "nothing": [None, None],
        "empty": None,
        "tagged": "5",
    }


def test_anchors_work_and_places_are_those_of_the_use(write):
    loaded = load_yaml(write("a: &x\n  b: 1\nc: *x\n"))
    assert loaded.tree == {"a": {"b": 1}, "c": {"b": 1}}
    assert loaded.where("a", "b") == "x.yaml:2"
    assert loaded.where("c") == "x.yaml:3"


@pytest.mark.parametrize(("text", "message"), [
    ("a: 1\nb:\n  c: 2\n  d: 0\n  c: 3\n", "x.yaml:5: b.c: the key appears twice, first at x.yaml:3"),
    ("a: 1\na: 1\nb: 2\nb: 2", "x.yaml:2: a: the key appears twice, first at x.yaml:1\n"
                               "x.yaml:4: b: the key appears twice, first at x.yaml:3"),
    ("a: [1\nb: 2", "x.yaml:2: "),
    ("a: 1\n\tb: 2", "x.yaml:2: "),
    ("- 1", "x.yaml: expected a mapping"),
    ("", "x.yaml: expected a mapping"),
    ("a: &x\n  b: *x", "x.yaml:1: a.b: the value contains itself"),
    ("x: &x {a: 1}\ny: {<<: *x}", "x.yaml:2: y: expected a plain key"),
    ("a: 1\n[b]: 1", "x.yaml:2: expected a plain key"),
    ("a: !!python/object:os.system x", "x.yaml:1: a: unknown tag"),
    ("a: !!int x", "x.yaml:1: a: 'x' is no "),
])  # fmt: skip
def test_wrong_yaml_names_file_and_line(write, text, message):
    assert failure(load_yaml, write(text)).startswith(message)


def test_a_file_that_is_no_text(write, tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"a: \xff")
    assert failure(load_yaml, "x.yaml").startswith("x.yaml: expected UTF-8 text")


# -- finding ---------------------------------------------------------------------------------------------------------


def test_a_file_wins_over_a_shipped_name(write, tmp_path):
    (tmp_path / "pipelines").mkdir()
    assert find_config(write("a: 1")).name == "x.yaml"
    shipped = find_config("pipelines/imagenet_train")
    assert (
        shipped
        == find_config("pipelines/imagenet_train.yaml")
        == config.config_folder() / shipped.relative_to(config.config_folder())
    )
    write("a: 1", "pipelines/imagenet_train.yaml")
    assert load_yaml("pipelines/imagenet_train.yaml").tree == {"a": 1}


def test_an_unknown_name_lists_what_is_shipped_and_guesses(write):
    text = failure(find_config, "pipelines/imagenet_trian")
    assert text.startswith("pipelines/imagenet_trian: expected a file or a shipped configuration (")
    assert "pipelines/imagenet_eval, pipelines/imagenet_train" in text
    assert text.endswith("; did you mean 'pipelines/imagenet_train'?")
    assert failure(find_config, "imagenet_eval").endswith("; did you mean 'pipelines/imagenet_eval'?")
    assert failure(find_config, "qqq").endswith(")")


def test_in_a_wheel_the_folder_is_inside_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "__file__", str(tmp_path / "flowdata" / "config.py"))
    assert config.config_folder() == tmp_path / "configs"
    (tmp_path / "flowdata" / "_configs").mkdir(parents=True)
    assert config.config_folder() == tmp_path / "flowdata" / "_configs"


# -- overrides -------------------------------------------------------------------------------------------------------


def test_overrides_set_add_and_replace():
    loaded = Config({"a": {"b": 1, "c": [1, {"d": 2}]}, "e": None}, "f")
    changed = override(loaded, ["a.b=1e-3", "a.c.1.d=[x, 2]", "e.f.g=", "h='5'", "i=a=b", "a.c.0={z: true}"])
    assert changed.tree == {
        "a": {"b": 0.001, "c": [{"z": True}, {"d": ["x", 2]}]},
        "e": {"f": {"g": None}},
        "h": "5",
        "i": "a=b",
    }
    assert loaded.tree == {"a": {"b": 1, "c": [1, {"d": 2}]}, "e": None}
    assert changed.where("a", "b") == "argument 'a.b=1e-3'"
    assert changed.where("a", "c") == "f"


def test_a_replaced_value_forgets_the_lines_of_the_old_one(write):
    loaded = load_yaml(write("a:\n  b: 1\n  c: 2\n"))
    changed = override(loaded, ["a={b: 3}"])
    assert changed.where("a", "b") == "argument 'a={b: 3}'"
    assert loaded.where("a", "b") == "x.yaml:2"


@pytest.mark.parametrize(("argument", "message"), [
    ("abc", "argument 'abc': expected key=value or key.sub=value"),
    ("=3", "argument '=3': expected key=value"),
    ("a..b=3", "argument 'a..b=3': expected key=value"),
    ("a.x=3", "argument 'a.x=3': a: is 1, which has no key 'x'"),
    ("b.2=3", "argument 'b.2=3': b: expected the number of an item, 0 to 1, got '2'"),
    ("b.x.y=3", "argument 'b.x.y=3': b: expected the number of an item"),
    ("a=[", "argument 'a=[':1: expected YAML, but "),
    ("a={c: 1, c: 2}", "argument 'a={c: 1, c: 2}':1: c: the key appears twice"),
])  # fmt: skip
def test_wrong_overrides_name_the_argument(argument, message):
    assert failure(override, Config({"a": 1, "b": [1, 2]}), [argument]).startswith(message)


# -- interpolation ---------------------------------------------------------------------------------------------------


def test_references_take_values_with_their_type(monkeypatch):
    monkeypatch.setenv("SOME_COUNT", "12")
    monkeypatch.setenv("SOME_DIR", "/data: [x")
    tree = {
        "a": {"dir": "/d", "n": 3, "list": [1, "${a.n}"]},
        "text": "${a.dir}/train-${a.n}",
        "number": "${a.n}",
        "whole": "${a}",
        "item": "${a.list.1}",
        "chain": "${text}",
        "count": "${env:SOME_COUNT}",
        "dir": "${env:SOME_DIR}",
        "both": "${env:SOME_COUNT}/${a.dir}",
        "plain": "$a {b} 5$",
    }
    found = interpolate(Config(tree)).tree
    assert found == {
        "a": {"dir": "/d", "n": 3, "list": [1, 3]},
        "text": "/d/train-3",
        "number": 3,
        "whole": {"dir": "/d", "n": 3, "list": [1, 3]},
        "item": 3,
        "chain": "/d/train-3",
        "count": 12,
        "dir": "/data: [x",
        "both": "12//d",
        "plain": "$a {b} 5$",
    }


@pytest.mark.parametrize(("text", "message"), [
    ("data: {dir: x}\na: ${data.dri}", "x.yaml:2: a: unknown reference ${data.dri}; did you mean 'data.dir'?"),
    ("data: 1\na: ${dta.dir}", "x.yaml:2: a: unknown reference ${dta.dir}; did you mean 'data'?"),
    ("a: 1\nb: ${a.c}", "x.yaml:2: b: unknown reference ${a.c}"),
    ("b: x\na: ${env:NO_SUCH_VARIABLE_1}", "x.yaml:2: a: environment variable NO_SUCH_VARIABLE_1 is not set"),
    ("a: ${a}", "x.yaml:1: a: the reference leads back to itself: a -> a"),
    ("a: ${b}\nb: x${c}\nc: ${a}", "x.yaml:1: a: the reference leads back to itself: a -> b -> c -> a"),
    ("a:\n  b: ${a}", "x.yaml:2: a.b: ${a} refers to a mapping or list that it is part of"),
    ("a: [1]\nb: x${a}", "x.yaml:2: b: ${a} is a mapping or list and cannot be part of a text"),
])  # fmt: skip
def test_wrong_references_name_file_and_line(write, monkeypatch, text, message):
    monkeypatch.delenv("NO_SUCH_VARIABLE_1", raising=False)
    assert failure(load_config, write(text)).startswith(message)


def test_all_wrong_references_are_reported():
    text = failure(interpolate, Config({"a": "${x}", "b": ["${y}"]}, "f"))
    assert text == "f: a: unknown reference ${x}; there is a, b\nf: b[0]: unknown reference ${y}; there is a, b"


def test_overrides_come_before_references(write):
    assert load_config(write("a: 1\nb: ${a}"), ["a=2"]).tree == {"a": 2, "b": 2}


# -- models ----------------------------------------------------------------------------------------------------------


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: tuple[int, int] = (1, 1)
    rate: float = Field(default=0.1, gt=0)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner = Inner()
    many: list[Inner] = []
    named: dict[str, Inner] = {}
    mode: Literal["train", "eval"] = "train"
    either: float | list[float] = 0.0
    maybe: Inner | None = None
    flag: bool = False


def test_a_tree_becomes_a_model():
    tree = {"name": "n", "inner": {"size": [2, 3], "rate": 1}, "many": [{}], "named": {"x": {}}, "either": [1, 2.5]}
    checked = validate(Outer, Config(tree))
    assert checked.inner == Inner(size=(2, 3), rate=1.0)
    assert checked.either == [1, 2.5]


def test_everything_wrong_is_reported_at_once_in_order_of_the_file(write):
    text = """\
nmae: n
inner:
  size: [1, 2, 3]
  rate: 0
many:
  - {}
  - {sise: 1}
named:
  x: {rate: "1"}
mode: trian
either: a
maybe: {raet: 3}
flag: 1
"""
    assert failure(validate, Outer, load_yaml(write(text))).splitlines() == [
        "x.yaml:1: nmae: unknown key; did you mean 'name'?",
        "x.yaml:3: inner.size: expected at most 2 items, got [1, 2, 3]",
        "x.yaml:4: inner.rate: expected greater than 0, got 0",
        "x.yaml:7: many[1].sise: unknown key; did you mean 'size'?",
        "x.yaml:9: named.x.rate: expected a valid number, got '1'",
        "x.yaml:10: mode: expected 'train' or 'eval', got 'trian'",
        "x.yaml:11: either: expected a valid number or a valid array, got 'a'",
        "x.yaml:12: maybe.raet: unknown key; did you mean 'rate'?",
        "x.yaml:13: flag: expected a valid boolean, got 1",
        "x.yaml:1: name: the key is required",
    ]


def test_a_wrong_override_is_named_by_its_argument(write):
    loaded = load_config(write("name: n\n"), ["inner.raet=3", "mode=x"])
    assert failure(validate, Outer, loaded).splitlines() == [
        "argument 'inner.raet=3': inner.raet: unknown key; did you mean 'rate'?",
        "argument 'mode=x': mode: expected 'train' or 'eval', got 'x'",
    ]


def test_a_section_keeps_places_and_key_paths(write):
    loaded = load_yaml(write("outer:\n  inner:\n    raet: 1\n"))
    section = loaded.section("outer", "inner")
    assert section.tree == {"raet": 1}
    assert failure(validate, Inner, section) == "x.yaml:3: outer.inner.raet: unknown key; did you mean 'rate'?"
    assert failure(loaded.section, "outer", "iner") == "x.yaml:1: outer: iner is missing"


def test_a_hopeless_key_gets_the_list_of_keys():
    assert failure(validate, Inner, Config({"zzz": 1}, "f")) == "f: zzz: unknown key; there is size, rate"
