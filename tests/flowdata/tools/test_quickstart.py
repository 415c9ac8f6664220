import json
import sys
from pathlib import Path
from typing import Any

import pytest

from flowdata.errors import ConfigError, DataError
from flowdata.tools import quickstart as module
from flowdata.tools.quickstart import quickstart

pytest.importorskip("sklearn", reason="the quickstart writes scikit-learn's digits")

SUMMARY = {
    "accuracy": 0.98765, "images_per_second": 1234.5, "data_wait_seconds": 0.5, "train_seconds": 20.0,
    "kernel_provider": "numpy", "run_dir": "RUN", "picture": "RUN/curves.png", "epochs": 8, "ranks": 2,
    "checkpoint": "RUN/checkpoints/step-100",
}  # fmt: skip
# Stands in for `python -m flowrun`: keeps its arguments, then does what the test asks.
TRAINING = """
import json, os, pathlib, sys
arguments = sys.argv[1:]
settings = dict(each.split("=", 1) for each in arguments if "=" in each)
run = pathlib.Path(settings["run.dir"])
run.mkdir(parents=True)
(run / "arguments.json").write_text(json.dumps(arguments))
assert (pathlib.Path(settings["data.dir"]) / "dataset.json").exists()
summary = {summary!r}
if summary is not None:
    (run / "summary.json").write_text(summary)
sys.exit({code})
"""


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a module ``flowrun`` that ends as told."""

    def install(summary: dict[str, Any] | None, code: int = 0) -> None:
        package = tmp_path / "path" / "flowrun"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        text = None if summary is None else json.dumps(summary)
        (package / "__main__.py").write_text(TRAINING.format(summary=text, code=code))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
        monkeypatch.setattr(module, "find_mpiexec", lambda: "/usr/bin/mpiexec")

    return install


def test_it_writes_the_digits_trains_and_ends_with_one_summary(
    training: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    training(SUMMARY)
    data, run = tmp_path / "data", tmp_path / "run"
    assert quickstart(data, run_dir=run, seed=7, overrides=["epochs=1"]) == 0
    arguments = json.loads((run / "arguments.json").read_text())
    assert arguments == ["-n", "2", "train/digits", f"data.dir={data}", f"run.dir={run}", "seed=7", "epochs=1"]
    out = capfd.readouterr().out
    assert "1437 train, 360 val" in out
    for expected in ("0.9877", "1234 images/s", "0.50 s (2.5% of the training)", "numpy", "RUN/curves.png", "next:"):
        assert out.count(expected) == 1
    assert "checkpoint=RUN/checkpoints/step-100" in out

    before = (data / "train" / "part-00000").stat().st_mtime_ns
    assert quickstart(data, run_dir=tmp_path / "run2") == 0
    assert (data / "train" / "part-00000").stat().st_mtime_ns == before  # they were there


def test_half_written_digits_are_written_again(training: Any, tmp_path: Path) -> None:
    training(SUMMARY)
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train" / "part-00000").write_bytes(b"half")
    assert quickstart(tmp_path / "data", run_dir=tmp_path / "run") == 0
    assert (tmp_path / "data" / "train" / "part-00000").stat().st_size > 1000


@pytest.mark.parametrize(("code", "expected"), [(3, 3), ("os.kill(os.getpid(), 9)", 137)])
def test_the_exit_code_of_a_failed_training_is_passed_on(
    training: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], code: object, expected: int
) -> None:
    training(SUMMARY, code)
    assert quickstart(tmp_path / "data", run_dir=tmp_path / "run") == expected
    out, err = capfd.readouterr()
    assert f"exit code {expected}" in err
    assert "next:" not in out


def test_a_training_without_a_complete_summary_is_an_error(training: Any, tmp_path: Path) -> None:
    training(None)
    with pytest.raises(DataError, match=r"expected the training to write .*summary\.json"):
        quickstart(tmp_path / "data", run_dir=tmp_path / "run")
    training({"accuracy": 1.0})
    with pytest.raises(DataError, match="lacks images_per_second"):
        quickstart(tmp_path / "data", run_dir=tmp_path / "run2")


def test_what_is_missing_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_mpiexec", lambda: None)
    with pytest.raises(ConfigError, match=f"run: {sys.executable} -m pip install mpich"):
        quickstart(tmp_path / "data", run_dir=tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a finished run"):
        quickstart(tmp_path / "data", run_dir=tmp_path / "run", ranks=1)
    assert not (tmp_path / "data").exists()
