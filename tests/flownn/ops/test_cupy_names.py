"""Ops and kernels use only what CuPy has under the name and at the place where NumPy has it."""

import re
from pathlib import Path

import pytest

import flownn

SOURCES = sorted(
    path for folder in ("ops", "kernels") for path in (Path(flownn.__file__).parent / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_cupy_has_every_name(path: Path) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    missing = set()
    for name in set(re.findall(r"\bxp\.([a-zA-Z_][\w.]*\w)", path.read_text())):
        found = cupy
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            missing.add(name)
    assert not missing


def test_the_scan_sees_the_sources() -> None:
    assert len(SOURCES) > 20
