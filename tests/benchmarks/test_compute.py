"""compute.py as users start it, in its quick form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.computing import command
from benchmarks.computing.sizes import (
    CHANNELS_LAST,
    COMPILED,
    NUMPY,
    OURS,
    PARTS,
    PORTABLE,
    QUICK,
    SIDES,
    TORCH,
    TRAINING,
)
from tests.benchmarks.scripts import HAS_TORCH, documented_fields, run

WITHOUT = {"resnet50": (PORTABLE, CHANNELS_LAST)}  # ResNet-18 shows that these sides train such a network


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_in_its_quick_form(part: str, tmp_path: Path) -> None:
    without = WITHOUT.get(part, ())
    done = run(
        "compute.py", part, "--quick", "--rounds", 1, "--threads", 1, "--json", tmp_path / "a" / "result.json",
        *(word for side in without for word in ("--without", side)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert set(result) == documented_fields("## The JSON file of compute.py")
    assert result["environment"]["packages"]["numpy"]
    assert list(result["parts"]) == [part]
    found = result["parts"][part]
    left_out = {COMPILED, *without} if HAS_TORCH else {TORCH, CHANNELS_LAST, COMPILED, *without}
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
