"""The scripts as users start them, in their quick form."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.computing import command
from benchmarks.computing.sizes import CHANNELS_LAST, COMPILED, NUMPY, OURS, PARTS, QUICK, SIDES, TORCH, TRAINING
from tests.helpers.jobs import environment

ROOT = Path(__file__).resolve().parents[2]
HAS_TORCH = importlib.util.find_spec("torch") is not None


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The script, with nothing on its path but what it finds itself."""
    words = [sys.executable, f"benchmarks/{script}", *map(str, arguments)]
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    return subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=280, check=False)


def documented_fields(heading: str) -> set[str]:
    """First names in the tables of a section of the documentation."""
    text = (ROOT / "docs/benchmarks.md").read_text().partition(heading)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name.partition(".")[0] for row in rows for name in re.findall(r"`([\w.]+)`", row)}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_in_its_quick_form(part: str, tmp_path: Path) -> None:
    done = run("compute.py", part, "--quick", "--rounds", 1, "--threads", 1, "--json", tmp_path / "a" / "result.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert set(result) == documented_fields("## The JSON file of compute.py")
    assert result["environment"]["packages"]["numpy"]
    assert list(result["parts"]) == [part]
    found = result["parts"][part]
    left_out = {COMPILED} if HAS_TORCH else {TORCH, CHANNELS_LAST, COMPILED}
    assert {*found["sides"], *found["skipped"]} == set(SIDES[part]) - left_out
    assert {OURS, NUMPY if part == "overhead" else OURS} <= set(found["sides"])
    for figure in found["figures"].values():
        for side in found["sides"]:
            assert 0 < figure["seconds"][side]["least"] <= figure["seconds"][side]["median"]
            assert len(figure["rounds"][side]) == 1
    assert {row["part"] for row in result["targets"]} <= {part}
    assert all(row["reached"] is None for row in result["targets"])
    if part == "layers":
        assert len(found["figures"]) == 2 * len(QUICK["layers"]["layers"])
    if part in TRAINING:
        check = found["check"]
        assert check["equal"]
        assert check["losses"].keys() == check["parameters"].keys() == found["sides"].keys()
        assert found["peak_bytes"].keys() == found["sides"].keys()
        assert all(peak > 20 << 20 for peak in found["peak_bytes"].values())
    if HAS_TORCH:
        assert TORCH in found["sides"]
        assert "torch" in done.stdout


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_data_parallel_step_in_its_quick_form(tmp_path: Path) -> None:
    done = run("ddp_step.py", "--quick", "--rounds", 1, "--json", tmp_path / "result.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result) == documented_fields("## The JSON file of ddp_step.py")
    sides = {"flownn DDP", "without communication", "its allreduces alone"}
    assert set(result["seconds"]) == sides | ({"torch DDP", "torch DDP channels-last"} if HAS_TORCH else set())
    figures = {side: values[0] for side, values in result["rounds"].items()}
    parts = figures["without communication"] + figures["its allreduces alone"]
    assert result["cost"]["median"] == pytest.approx(figures["flownn DDP"] / parts)
    assert sum(result["sides"]["flownn DDP"]["buckets"]) > 4 * 11_000_000  # all gradients of a ResNet-18
    assert {"compute", "flowdist-reduce"} <= set(result["threads"])
    assert result["threads"]["compute"] > 0.3
    assert len(result["targets"]) == 4
    if HAS_TORCH:
        assert result["check"]["equal"]


# -- without starting everything -------------------------------------------------------------------------------------


def test_without_pytorch_its_columns_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = ["overhead", "--quick", "--rounds", "1", "--json", str(tmp_path / "result.json")]
    assert command.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "PyTorch" in line] == [
        "PyTorch is not installed: its columns and every ratio are left out (pip install torch)"
    ]
    result = json.loads((tmp_path / "result.json").read_text())
    assert list(result["parts"]["overhead"]["sides"]) == [OURS, NUMPY]


def test_a_part_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(["resnet18", "alexnet"])
    assert stop.value.code == 2
    assert "there is no part alexnet; there are layers, resnet18" in capsys.readouterr().err


def test_unequal_work_ends_with_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    figure = {
        "seconds": {OURS: {"median": 1.0, "least": 1.0, "largest": 1.0}},
        "cores": {OURS: {"median": 1.0, "least": 1.0, "largest": 1.0}},
        "speed": {OURS: {}},
        "others_cpu": [0.0],
        "repeated": 0,
        "disturbed": 0,
    }
    part = {
        "does": "a step",
        "samples": ("samples", 1),
        "sides": {OURS: {"kernels": "numpy"}},
        "skipped": {},
        "peak_bytes": {},
        "check": {"equal": False, "parameters": {OURS: 1}, "losses": {OURS: 1.0}, "tolerance": 1e-4},
        "figures": {"step": figure},
    }
    monkeypatch.setattr(command, "measure", lambda *arguments: part)
    assert command.main(["mlp", "--json", str(tmp_path / "result.json")]) == 1
    assert "NOT THE SAME WORK" in capsys.readouterr().out
    assert {row["reached"] for row in json.loads((tmp_path / "result.json").read_text())["targets"]} == {None}
