"""Sources and stages of the user's own: in Python, and by name in YAML where that is allowed."""

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from flowdata import stages
from flowdata.errors import ConfigError, RecordError, StageError
from flowdata.pipeline import Pipeline
from flowdata.pipeline_config import load_pipeline
from flowdata.sample import ArraySpec
from flowdata.sources.function import FunctionSource, as_source

MODULE = '''
from dataclasses import dataclass

import numpy as np

from flowdata import ArraySpec, FunctionSource, Sample, stage


@stage("brighten")
@dataclass(frozen=True, kw_only=True)
class Brighten:
    amount: int = 1

    def output_spec(self, specs):
        return specs

    def __call__(self, sample, rng):
        return sample.replace(value=sample["value"] + self.amount)


class Scale:
    """No dataclass: its arguments go to the constructor as they are."""

    def __init__(self, factor, *, offset=0):
        if factor == 0:
            raise ValueError("my own complaint")
        self.factor, self.offset = factor, offset

    def output_spec(self, specs):
        return specs

    def __call__(self, sample, rng):
        return sample.replace(value=sample["value"] * self.factor + self.offset)


def negate(sample, rng):
    return sample.replace(value=-sample["value"])


def shift(sample, rng, by):
    return sample.replace(value=sample["value"] + by)


def deep(sample):
    raise KeyError("deep down in my code")


def fails(sample, rng):
    if sample.key.index == 3:
        deep(sample)
    return sample


def squares(length, start=0):
    return FunctionSource(lambda index: {"value": (start + index) ** 2}, length)


class Numbers:
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return {"value": np.float32(index)}


def halved(batch, rng):
    return batch.replace(value=batch["value"] // 2)
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a YAML file beside a module of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_code.py").write_text(MODULE)

    def write_file(text):
        Path("x.yaml").write_text(textwrap.dedent(text))
        return "x.yaml"

    yield write_file
    sys.modules.pop("my_code", None)
    stages.STAGES.pop("brighten", None)


def values(pipeline):
    with pipeline.loader() as loader:
        return [value for batch in loader for value in batch["value"].tolist()]


def failure(function, *arguments, **options):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **options)
    return str(caught.value).splitlines()


FILE = """\
    imports: [my_code]
    source: {"my_code:squares": {length: 5, start: 1}}
    batch_size: 2
    executor: EXECUTOR
    stages:
      - brighten: {amount: 10}
      - "my_code:Scale": {factor: 2, offset: 1}
      - "my_code:negate"
      - "my_code:shift": {by: 100}
    batch_transforms: ["my_code:halved"]
    """


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_yaml_names_code_of_ones_own(write, executor):
    pipeline = load_pipeline(write(FILE.replace("EXECUTOR", executor)), allow_imports=True)
    assert values(pipeline) == [(100 - ((number**2 + 10) * 2 + 1)) // 2 for number in range(1, 6)]
    other = load_pipeline("x.yaml", ["stages.3={my_code:shift: {by: 99}}"], allow_imports=True)
    assert other.fingerprint() != pipeline.fingerprint()


def test_a_data_set_class_is_a_source(write):
    text = """\
        source: {"my_code:Numbers": {length: 3}}
        batch_size: 2
        """
    assert values(load_pipeline(write(text), allow_imports=True)) == [0.0, 1.0, 2.0]


def test_without_permission_each_place_names_key_and_flag(write):
    message = (
        "'my_code' runs code of that module; if you trust it, add --allow-imports to the command or "
        "allow_imports=True in Python"
    )
    lines = failure(load_pipeline, write(FILE.replace("EXECUTOR", "serial")))
    assert lines.pop(2).startswith("x.yaml:6: stages[0]: unknown stage 'brighten'; there is ")
    assert lines == [
        f"x.yaml:1: imports[0]: {message}",
        f"x.yaml:2: source: {message}",
        *(f"x.yaml:{7 + number}: stages[{1 + number}]: {message}" for number in range(3)),
        f"x.yaml:10: batch_transforms[0]: {message}",
    ]
    assert "my_code" not in sys.modules


def test_what_is_wrong_with_it(write):
    text = """\
        imports: [no_such_module]
        source: {"my_code:squares": {lenght: 5}}
        batch_size: 2
        stages:
          - "my_code:Nothing"
          - "my_code:Scale": {facto: 2}
          - "my_code:Brighten": {amount: x, amout: 3}
          - "my_code:Scale": 3
          - "my_code:squares": {length: 3}
        """
    assert failure(load_pipeline, write(text), allow_imports=True) == [
        "x.yaml:1: imports[0]: there is no module 'no_such_module' on Python's path",
        "x.yaml:2: source.my_code:squares: missing a required argument: 'length'",
        "x.yaml:5: stages[0]: module 'my_code' has no 'Nothing'",
        "x.yaml:6: stages[1].my_code:Scale: missing a required argument: 'factor'",
        "x.yaml:7: stages[2].my_code:Brighten.amount: expected a valid integer, got 'x'",
        "x.yaml:7: stages[2].my_code:Brighten.amout: unknown key; did you mean 'amount'?",
        "x.yaml:8: stages[3].my_code:Scale: expected a mapping of arguments, got 3",
    ]


@pytest.mark.parametrize(("source", "message"), [
    ("3", "x.yaml:1: source: expected an object, got 3"),
    ("[ofrecord: {dir: x}]", "x.yaml:1: source: expected an object, got [{'ofrecord': {'dir': 'x'}}]"),
    ('{"my_code:squares": {}, "my_code:Numbers": {}}', "x.yaml:1: source: expected the name of a source, or one"),
    ('"my_code:negate"', "x.yaml:1: source: missing a required argument: 'sample'"),
    ('"my_code:np.pi"', "x.yaml:1: source: expected a class or function, but my_code:np.pi is 3.14"),
])  # fmt: skip
def test_what_is_no_source_in_yaml(write, source, message):
    text = f"source: {source}\nbatch_size: 1\n"
    assert failure(load_pipeline, write(text), allow_imports=True)[0].startswith(message)


def test_an_error_of_its_own_keeps_its_traceback(write):
    text = """\
        source: {"my_code:squares": {length: 5}}
        batch_size: 2
        stages: ["my_code:Scale": {factor: 0}]
        """
    with pytest.raises(ValueError, match="my own complaint") as caught:
        load_pipeline(write(text), allow_imports=True)
    assert caught.value.__notes__ == ["It was made for x.yaml:3: stages[0].my_code:Scale: my_code:Scale."]
    Path("my_code.py").write_text("import not_installed_anywhere\n")
    sys.modules.pop("my_code", None)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        load_pipeline("x.yaml", allow_imports=True)


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_the_traceback_of_a_stage_reaches_the_caller(write, executor):
    text = f"""\
        source: {{"my_code:squares": {{length: 5}}}}
        batch_size: 2
        executor: {executor}
        stages: ["my_code:fails"]
        """
    with load_pipeline(write(text), allow_imports=True).loader() as loader:
        batches = iter(loader)
        next(batches)
        with pytest.raises(
            StageError, match=r"stage my_code:fails, record 3 .*: KeyError: 'deep down in my code'"
        ) as caught:
            next(batches)
    assert isinstance(caught.value.__cause__, KeyError)
    if executor == "process":
        [note] = caught.value.__notes__
        assert "in deep" in note
        assert 'raise KeyError("deep down in my code")' in note


# -- in Python -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_closures_are_sources_and_stages(executor):
    offset = 7
    source = FunctionSource(lambda index: {"value": index + offset}, 5)
    pipeline = Pipeline(
        source, [lambda sample, rng: sample.replace(value=sample["value"] * offset)], batch_size=2, executor=executor
    )
    assert values(pipeline) == [7 * (7 + index) for index in range(5)]


def test_a_list_of_samples_is_a_source():
    pipeline = Pipeline([{"value": 1}, {"value": 4}, {"value": 9}], batch_size=2)
    assert pipeline.output_specs() == {"value": ArraySpec((), np.dtype(np.int64))}
    assert values(pipeline) == [1, 4, 9]


def test_tuples_take_names():
    source = FunctionSource(lambda index: (np.full((2, 2), index, np.uint8), index), 3, names=("image", "label"))
    with Pipeline(source, batch_size=3).loader() as loader:
        [batch] = loader
    assert batch["image"].shape == (3, 2, 2)
    assert batch["label"].tolist() == [0, 1, 2]


def test_specs_may_be_given_and_other_values_are_for_stages():
    specs = {"boxes": ArraySpec((None, 4), np.dtype(np.float32)), "name": ArraySpec((), np.dtype(object))}
    source = FunctionSource(
        lambda index: {"boxes": np.zeros((index, 4), np.float32), "name": f"n{index}"}, 3, specs=specs
    )
    with Pipeline(source, batch_size=3).loader() as loader:
        [batch] = loader
    assert list(batch) == ["boxes"]
    assert [len(each) for each in batch["boxes"]] == [0, 1, 2]
    assert FunctionSource(lambda index: {"name": "x"}, 1).output_spec()["name"].dtype == object


def test_what_is_no_source():
    with pytest.raises(ConfigError, match=r"expected a source, or a sequence of mappings .* FunctionSource\(function"):
        Pipeline(lambda index: {}, batch_size=1)
    with pytest.raises(ConfigError, match=r"expected .* to give a mapping of names to arrays, .* got tuple of 2"):
        as_source([(1, 2)]).output_spec()
    with pytest.raises(ConfigError, match="length >= 0"):
        FunctionSource(lambda index: {}, -1)
    with pytest.raises(ConfigError, match="there is no sample to take the specs from"):
        FunctionSource(lambda index: {}, 0).output_spec()
    ragged = Pipeline([{"value": 1}, {"other": 2}], batch_size=2)
    with ragged.loader() as loader, pytest.raises(RecordError, match="sample 1 has no value; it has other"):
        next(iter(loader))
    shapes = Pipeline([{"value": np.zeros(3)}, {"value": np.zeros(4)}], batch_size=2)
    with shapes.loader() as loader, pytest.raises(StageError, match=r"record 1 .*expected value of shape \(3,\)"):
        next(iter(loader))


def test_fingerprints_tell_sources_apart():
    def one(index):
        return {"value": index}

    def two(index):
        return {"value": index}

    assert FunctionSource(one, 3).fingerprint() == FunctionSource(one, 3).fingerprint()
    assert len({FunctionSource(one, 3).fingerprint(), FunctionSource(two, 3).fingerprint(),
                FunctionSource(one, 4).fingerprint()}) == 3  # fmt: skip


def test_a_source_that_is_empty_is_not_taken_for_missing(write):
    text = """\
        source: {"my_code:Numbers": {length: 0}}
        batch_size: 2
        """
    assert "there is no sample to take the specs from" in failure(load_pipeline, write(text), allow_imports=True)[0]
