import sys
from pathlib import Path

import cv2
import pytest

from flowdata.resources import cgroup_cpus
from flowdata.tools import doctor
from flowdata.tools.doctor import Finding, check_opencv, check_python, import_error


def loads(module: str) -> str | None:
    return None


def test_both_opencv_wheels_are_a_problem_with_the_commands_that_fix_it() -> None:
    both = {"opencv-python": "4.12.0", "opencv-python-headless": "4.12.0"}
    found = check_opencv(both, loads)
    assert found.level == "problem"
    assert "uninstall -y opencv-python opencv-python-headless &&" in found.fix
    assert found.fix.endswith('--force-reinstall "opencv-python-headless>=4.10,<6"')


def test_one_opencv_that_loads_is_fine_and_one_that_does_not_is_not() -> None:
    one = {"opencv-python-headless": "5.0.0"}
    assert check_opencv(one, loads) == Finding("OpenCV", "opencv-python-headless 5.0.0")
    found = check_opencv(one, lambda module: "ImportError: libGL.so.1")
    assert (found.level, "libGL.so.1" in found.value) == ("problem", True)
    assert check_opencv({}, lambda module: "No module named 'cv2'").level == "problem"


def test_old_python_is_a_problem() -> None:
    assert check_python((3, 10)).level == "problem"
    assert check_python((3, 11)).level == "ok"


def test_the_error_of_an_import_is_its_last_line() -> None:
    assert import_error("json") is None
    assert import_error("no_such_module_anywhere") == "ModuleNotFoundError: No module named 'no_such_module_anywhere'"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_cpu_limit_of_a_control_group(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_cpus(tmp_path) == expected


def test_the_image_decoders_are_named() -> None:
    found = doctor.check_decoders()
    assert found.level == "ok"
    assert f"OpenCV {cv2.__version__}" in found.value
    assert "nvidia-nvimgcodec-cu13 is not installed" in found.value or found.value.startswith("nvImageCodec ")


def test_the_kernel_providers_are_named_with_what_is_missing() -> None:
    found = doctor.check_kernels()
    assert found.value.startswith("cpu: ")
    assert (found.level, found.fix) == ("ok", "") or found.fix.startswith("onednn: ")
    lacking = doctor.check_kernels(
        """print('[{"cpu": "numpy (onednn: no libgomp)"}, {"onednn": "no libgomp: install it"}]')"""
    )
    assert lacking == Finding(
        "kernel providers", "cpu: numpy (onednn: no libgomp)", "note", "onednn: no libgomp: install it"
    )
    assert doctor.check_kernels("raise SystemExit('numpy is gone')") == Finding(
        "kernel providers", "flownn does not load: numpy is gone", "note", "mend the rows above first"
    )


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BASE_IMPORTS", {"json": "json", "not_there": "not-there", "no.pe": "no-pe"})
    found = doctor.check_base_packages()
    assert (found.level, found.value) == ("problem", "missing: not-there, no-pe")
    assert found.fix == f"{sys.executable} -m pip install not-there no-pe"


def test_a_problem_makes_the_exit_code_1_and_shows_its_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Finding("good", "fine"), Finding("limit", "small", "note", "get more")]
    monkeypatch.setattr(doctor, "findings", lambda: rows)
    assert doctor.doctor() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "ready to use"
    rows.append(Finding("bad", "broken", "problem", "repair it"))
    assert doctor.doctor() == 1
    assert capsys.readouterr().out.splitlines() == [
        "good   ok       fine",
        "limit  note     small",
        "                fix: get more",
        "bad    PROBLEM  broken",
        "                fix: repair it",
        "",
        "1 problem(s) that prevent use",
    ]


def test_this_machine_is_described_in_every_row() -> None:
    rows = doctor.findings()
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert {
        "Python",
        "NumPy",
        "OpenCV",
        "image decoders",
        "MPI library",
        "mpiexec",
        "GPU",
        "kernel providers",
        "CPUs",
    } <= set(names)
    levels = {row.name: row.level for row in rows}
    assert levels["Python"] == levels["NumPy"] == levels["OpenCV"] == levels["base packages"] == "ok"
