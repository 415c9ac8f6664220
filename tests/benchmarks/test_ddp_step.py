"""ddp_step.py as users start it, in its quick form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.scripts import HAS_TORCH, documented_fields, run


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
