"""What ops and kernels ask of their array module exists in CuPy too, and importing the package loads neither it nor
anything else that is heavy. ``import cupy`` needs no GPU."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FLOWNN = Path(__file__).resolve().parents[2] / "flownn"
SOURCES = sorted(path for folder in ("ops", "kernels", ".") for path in (FLOWNN / folder).glob("*.py"))
HEAVY = ["cupy", "mpi4py", "cv2", "google.protobuf", "scipy", "pydantic", "yaml", "safetensors", "flowdata", "flowdist"]


def dotted(node: ast.AST) -> list[str] | None:
    """The names of ``a.b.c``, or None for anything but names and dots."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)) is not None:
        return [*before, node.attr]
    return None


def asked_of(root: str, path: Path) -> set[str]:
    """Every dotted name that follows ``root`` in a file: ``add.at`` for ``xp.add.at``."""
    found = [dotted(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    return {".".join(parts[1:]) for parts in found if parts is not None and parts[0] == root}


def special_functions_of(path: Path) -> set[str]:
    """The names that follow ``special_functions(...)``."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Call)
        and dotted(node.value.func) in (["special_functions"], ["backend", "special_functions"])
    }


def lacks(module: object, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(module, part):
            return True
        module = getattr(module, part)
    return False


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_cupy_has_what_is_asked_of_it(path: Path) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    missing = sorted(name for name in asked_of("xp", path) if lacks(cupy, name))
    assert not missing, f"{path.name} asks for xp.{', xp.'.join(missing)}, which CuPy does not have"
    special = pytest.importorskip("cupyx.scipy.special")
    assert not [name for name in special_functions_of(path) if lacks(special, name)]


def test_the_scan_finds_names() -> None:
    assert {"add.at", "zeros"} <= asked_of("xp", FLOWNN / "ops" / "unpool.py")
    assert "lib.stride_tricks.as_strided" in asked_of("xp", FLOWNN / "kernels" / "windows.py")
    assert special_functions_of(FLOWNN / "kernels" / "normal.py") == {"erf"}


def test_import_is_light() -> None:
    code = f"import flownn, flownn.nn, flownn.optim, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=FLOWNN.parent)
    assert done.stdout.strip() == "[]"
