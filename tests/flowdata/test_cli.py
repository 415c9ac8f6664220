import io
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from flowdata import cli
from flowdata.cli import main
from flowdata.command_line import show_progress
from flowdata.pipeline_config import load_pipeline

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "launch")])}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / "src" / name).mkdir(parents=True)
        for number in range(10):
            image = np.full((9, 9, 3), number * 20, np.uint8)
            cv2.imwrite(str(tmp_path / "src" / name / f"{number}.jpg"), image)
    return tmp_path / "src"


def test_convert_then_inspect(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "cat" / "bad.jpg").write_text("bad")
    out = tmp_path / "out"
    assert main(["convert", "images", str(folders), str(out), "--parts", "2", "--val-fraction", "0.2"]) == 0
    stdout, stderr = capsys.readouterr()
    assert "2 parts" in stdout
    assert "skipped cat/bad.jpg" in stdout
    assert "skipped.txt" in stdout
    assert stderr == "converting: 21 of 21\n"
    assert main(["inspect", str(out), "--records", "1"]) == 0
    assert "(dog): " in capsys.readouterr().out


def test_make_digits_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    assert main(["make", "digits", str(tmp_path / "d"), "--parts", "3"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'd'}: 1437 train in 3 parts, 360 val in 2 parts\n"


def test_the_shapes_of_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "pipelines.md").read_text().partition("```sh\n")[2].partition("```")[0]
    commands = [shlex.split(line, comments=True) for line in text.splitlines()]
    assert [command[:2] for command in commands] == [["flowdata", "make"], ["flowdata", "inspect"]]
    for command in commands:
        assert main(command[1:]) == 0
    stdout = capsys.readouterr().out
    assert stdout.startswith("data/shapes: 200 images, ")
    assert stdout.endswith("shapes.png: 24 images\n")
    overrides = ["executor=serial", "batch_size=2", "stages.1.resize.shorter=64", "stages.1.resize.max_size=128"]
    with load_pipeline("pipelines/coco_train", overrides).loader() as loader:
        assert next(iter(loader))["image"].shape[:2] == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["convert", "images", "{src}/no", "{out}"], 2, "no is not a directory"),
        (["convert", "images", "{src}/cat", "{out}"], 2, "has no folders"),
        (["convert", "images", "{src}", "{out}", "--val-fraction", "1.5"], 2, "0 <= val-fraction < 1, got 1.5"),
        (["convert", "images", "{src}", "{src}/dog"], 2, "within the source directory"),
        (
            ["convert", "images", "{bad}", "{out}", "--parts", "1", "--val-fraction", "0"],
            1,
            "none of the 1 items of split train",
        ),
        (["inspect", "{out}"], 2, "expected a part file"),
        (["inspect", "{bad}/only/no.jpg"], 1, "at byte 0"),
        (["config", "show", "no/such"], 2, "no/such"),
        (["config", "show", "{root}/x.yaml", "novalue"], 2, "novalue"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "bad" / "only").mkdir(parents=True)
    (tmp_path / "bad" / "only" / "no.jpg").write_text("no image, nor a record either")
    (tmp_path / "x.yaml").write_text("a: 1\n")
    places = {"src": str(folders), "out": str(tmp_path / "out"), "bad": str(tmp_path / "bad"), "root": str(tmp_path)}
    assert main([each.format(**places) for each in arguments]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("converting: ")]
    assert len(lines) == 1
    assert lines[0].startswith("flowdata: error: ")
    assert message in lines[0]


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["no-such"], ["make"], ["make", "digits"], ["make", "digits", "x", "--parts", "0"],
        ["make", "digits", "x", "--quality", "101"], ["make", "photos", "x", "--count", "many"],
        ["convert", "images", "only-one"], ["quickstart", "--ranks", "0"],
    ],
)  # fmt: skip
def test_wrong_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    commands = (
        [], ["make"], ["make", "digits"], ["make", "photos"], ["convert"], ["convert", "images"], ["convert", "coco"],
        ["convert", "tfrecord"], ["convert", "webdataset"], ["inspect"],
        ["verify"], ["doctor"], ["config"], ["config", "show"], ["quickstart"],
    )  # fmt: skip
    for command in commands:
        with pytest.raises(SystemExit) as caught:
            main([*command, "--help"])
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert out.startswith(f"usage: {' '.join(['flowdata', *command])}")
        assert "None" not in out


def test_config_show_applies_overrides_and_resolves_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", "here")
    path = tmp_path / "x.yaml"
    path.write_text("data: {dir: '${env:WHERE}'}\nsource: '${data.dir}/train'\nbatch: 4\n")
    assert main(["config", "show", str(path), "batch=8"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown == {"data": {"dir": "${env:WHERE}"}, "source": "${data.dir}/train", "batch": 8}
    assert main(["config", "show", str(path), "data.dir=/d", "--resolve"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == {"data": {"dir": "/d"}, "source": "/d/train", "batch": 4}


def test_debug_lets_the_traceback_through(tmp_path: Path) -> None:
    from flowdata.errors import ConfigError

    with pytest.raises(ConfigError):
        main(["--debug", "inspect", str(tmp_path / "nowhere")])


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (PermissionError(13, "denied", "/x"), 1)])
def test_other_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def fail(args: Any) -> int:
        raise error

    monkeypatch.setattr(cli, "_doctor", fail)
    assert main(["doctor"]) == code
    expected = "" if code == 130 else "flowdata: error: [Errno 13] denied: '/x'\n"
    assert capsys.readouterr().err == expected


def test_ctrl_c_in_a_conversion_is_quiet_and_leaves_nothing(folders: Path, tmp_path: Path) -> None:
    for number in range(3000):
        os.link(folders / "cat" / "1.jpg", folders / "cat" / f"more-{number}.jpg")
    command = [sys.executable, "-m", "flowdata", "convert", "images", str(folders), str(tmp_path / "out")]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "out" / "train").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_reader_that_goes_away_gets_no_traceback() -> None:
    command = f"{sys.executable} -m flowdata config show bench/preprocess | true"
    done = subprocess.run(["sh", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stderr == ""


def test_progress_without_a_terminal_is_few_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("converting") as progress:
        for done in range(1, 101):
            progress(done, 100)
    assert capsys.readouterr() == ("", "converting: 100 of 100\n")


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress("converting") as progress:
        progress(7, 20)
        progress(20, 20)
    assert "20/20" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()
