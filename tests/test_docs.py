"""What the documents show is run: docstrings, Python and YAML blocks, and the README's commands on real pictures."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from flowdata.pipeline_config import load_pipeline
from flownn import nn
from tests.helpers import jobs
from tests.helpers.records import picture
from tests.test_api import DOCUMENTED
from tests.test_architecture import module_name, sources

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [module_name(path) for path in sources() if path.name != "__main__.py"]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def with_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory but for ``data/digits``."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    monkeypatch.chdir(tmp_path)
    assert jobs.run("flowdata", "make", "digits", "data/digits", cwd=tmp_path).returncode == 0
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    if name.startswith("flowdata.interop."):
        pytest.importorskip(name.rpartition(".")[2], reason="the library that it is for is not installed")
    result = doctest.testmod(importlib.import_module(name))
    assert not result.failed, "see the captured output"


def test_docstrings_have_examples() -> None:
    assert sum(path.read_text().count(">>> ") for path in sources()) > 100


@pytest.mark.parametrize("path", [each for each in DOCUMENTS if blocks(each, "python")], ids=lambda path: path.name)
def test_python_blocks(path: Path, with_digits: Path) -> None:
    namespace: dict[str, object] = {}
    for block in blocks(path, "python"):  # in order, as a reader would type them
        exec(compile(block, str(path), "exec"), namespace)


def test_yaml_blocks_are_pipelines(with_digits: Path) -> None:
    """The first one is whole; the others are parts to put into it."""
    whole, *parts = [yaml.safe_load(block) for block in blocks(ROOT / "docs" / "pipelines.md", "yaml")]
    for part in [{}, *parts]:
        (with_digits / "file.yaml").write_text(yaml.safe_dump(whole | part))
        with load_pipeline(str(with_digits / "file.yaml"), ["batch_size=32", "outputs=[image]"]).loader() as loader:
            batch = next(iter(loader))
        assert batch["image"].shape[0] == 32


def test_every_name_of_nn_is_in_the_list() -> None:
    listed = set(re.findall(r"`([\w.]+)`", (ROOT / "docs" / "nn.md").read_text()))
    documented = {name.removeprefix("flownn.nn.") for name in DOCUMENTED}
    missing = (documented | set(nn.__all__)) - listed - {"modules.pixelshuffle.PixelShufflev2", "parallel", "utils"}
    assert not missing


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_readme_commands(with_digits: Path) -> None:
    """The three main jobs, word for word; only the names of the user's own directories are filled in."""
    for label, name in enumerate(["cat", "dog"]):
        for folder in ("PICTURES", "NEW_PICTURES"):
            (with_digits / folder / name).mkdir(parents=True)
            for number in range(20):
                image = np.roll(picture(80, 64, seed=number), 1 + label, axis=2)
                cv2.imwrite(str(with_digits / folder / name / f"{number}.jpg"), image)
    text = "\n".join(blocks(ROOT / "README.md", "sh")[1:]).replace("examples/train.py", f"{ROOT}/examples/train.py")
    commands = [line.partition("#")[0] for line in text.splitlines() if line]
    assert len(commands) == 8
    for command in commands:
        runs = sorted((with_digits / "runs" / "images").glob("*"))
        program, *args = shlex.split(command.replace("runs/images/RUN", str(runs[0]) if runs else "none"))
        done = jobs.run(program, *args, cwd=with_digits)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    rows = (with_digits / "answers.csv").read_text().splitlines()
    assert len(rows) == 1 + 40
