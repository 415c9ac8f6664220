"""Which package may import which: the layout promises it, this test keeps the promise."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("flowdata", "flowdist", "flownn", "flowrun")

# package or module -> what of ours it may import; the longest matching name decides
MAY_IMPORT = {
    "flowdata": {"flowdata"},
    "flowdist": {"flowdist"},
    "flowrun": {"flowrun"},
    "flowrun.recipe": {"flowrun.recipe", "flownn", "flowdata", "flowdist"},
    "flownn": {"flownn"},  # the package's own __init__ gathers the public names
    "flownn.errors": set(),
    "flownn.dtypes": {"flownn.errors"},
    "flownn.backend": {"flownn.errors", "flownn.dtypes"},
    "flownn.holders": {"flownn.backend"},
    "flownn.kernels": {"flownn.kernels", "flownn.holders", "flownn.backend", "flownn.dtypes", "flownn.errors"},
    "flownn.ops": {
        "flownn.ops", "flownn.kernels", "flownn.autograd", "flownn.tensor", "flownn.random", "flownn.backend",
        "flownn.dtypes", "flownn.errors",
    },
    "flownn.nn": {"flownn", "flownn.nn"},
    "flownn.nn.parallel": {"flownn", "flownn.nn", "flowdist"},
    "flownn.nn.modules.sync_batchnorm": {"flownn", "flownn.nn", "flowdist"},
    "flownn.nn.modules.data": {"flownn", "flownn.nn", "flowdata"},
    "flownn.nn.modules.data.arguments": {"flownn", "flownn.nn", "flowdata", "flowdist.env"},  # this process's rank
    # The loader's workers are those of the pipelines, and its distributed sampler asks the launcher who it is.
    "flownn.utils": {"flownn"},
    "flownn.utils.data.loader": {"flownn", "flowdata.executors.calls"},
    "flownn.utils.data.worker": {"flownn", "flowdata.executors.calls"},
    "flownn.utils.data.distributed": {"flownn", "flowdist.env"},
}  # fmt: skip
# below `flownn`, what nobody beneath may reach up to
FORBIDDEN = {
    "flownn.nn": ("flownn.optim", "flownn.models", "flownn.serialize", "flownn.utils"),
    "flownn.optim": ("flownn.models",),
    "flownn.utils": ("flownn.optim", "flownn.models", "flownn.serialize"),
    "flownn.utils.data": ("flownn.nn",),
}


def module_name(path: Path) -> str:
    relative = path.relative_to(ROOT / "launch" if "launch" in path.relative_to(ROOT).parts else ROOT)
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    folders = [ROOT / name for name in ("flowdata", "flowdist", "flownn", "launch/flowrun")]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Every module of ours that the file names in an import, wherever the import stands."""
    found = set()
    own = module_name(path).split(".")
    package = own if path.name == "__init__.py" else own[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in OURS}


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def rule_for(name: str) -> set[str]:
    return MAY_IMPORT[max((key for key in MAY_IMPORT if within(name, key)), key=len)]


@pytest.mark.parametrize("path", sources(), ids=lambda path: module_name(path))
def test_imports_point_down(path: Path) -> None:
    name = module_name(path)
    allowed = rule_for(name)
    for imported in imports_of(path):
        assert any(within(imported, rule) for rule in allowed), f"{name} may not import {imported}"
        for place, above in FORBIDDEN.items():
            if within(name, place):
                assert not any(within(imported, up) for up in above), f"{name} may not import {imported}"


def test_the_scan_sees_every_package() -> None:
    assert {module_name(path).split(".")[0] for path in sources()} == set(OURS)


def test_few_places_import_cupy() -> None:
    for path in sources():
        text = path.read_text()
        if module_name(path) not in ("flownn.backend", "flowdata.interop.cupy", "flowdata.tools.doctor"):
            assert "import cupy" not in text, f"{path} imports CuPy; flownn/backend.py is the one place"


def test_files_stay_short() -> None:
    long = {str(path.relative_to(ROOT)): n for path in sources() if (n := len(path.read_text().splitlines())) > 500}
    assert not long, f"files over 500 lines: {long}"


def test_only_interop_and_the_benchmark_import_torch() -> None:
    for path in sources():
        if module_name(path) not in ("flowdata.interop.torch", "flowdata.bench.peers.torch"):
            assert not re.search(r"^ *(import|from) torch\b", path.read_text(), re.MULTILINE), f"{path} imports PyTorch"
