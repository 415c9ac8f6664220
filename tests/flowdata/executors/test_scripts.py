"""User scripts, as users write them: unguarded, interrupted, killed, forking, or ranks of an MPI job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flowdata.executors import synthetic

ROOT = Path(__file__).parents[3]
MPIEXEC = Path(sys.prefix) / "bin" / "mpiexec"

# Defined in the script itself, so that everything has to travel by value; no `if __name__ == "__main__"` anywhere.
PRELUDE = """
import hashlib, os, sys, time
import numpy as np
from dataclasses import dataclass, replace
from flowdata.pipeline import Pipeline
from flowdata.sample import ArraySpec, Sample
from flowdata.sharding import ShardSpec

@dataclass(frozen=True)
class Source:
    length: int = 40
    def open(self): pass
    def close(self): pass
    def __len__(self): return self.length
    def output_spec(self): return {"x": ArraySpec((3,), np.dtype(np.float64))}
    def read(self, key): return Sample(key, {"x": np.full(3, float(key.index))}, f"number {key.index}")
    def fingerprint(self): return "script"

@dataclass(frozen=True)
class Plus:
    amount: float
    def output_spec(self, specs): return specs
    def __call__(self, sample, rng): return sample.replace(x=sample["x"] + self.amount * rng.random(3))

delay = 0.0
def slow(sample, rng):
    time.sleep(delay)
    return sample

def process(*stages):
    stages = (Plus(2.0), slow, lambda sample, rng: sample.replace(x=sample["x"] * factor), *stages)
    return Pipeline(Source(), stages, batch_size=6, executor="process", workers=2, samples_per_message=2)

factor = 3.0
"""


def script(folder: Path, text: str, first_line: str = "") -> list[str]:
    path = folder / "script.py"
    path.write_text(first_line + PRELUDE + textwrap.dedent(text))
    return [sys.executable, "-u", str(path)]


def start(command: list[str], **changes: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **changes
    )


def run(command: list[str]) -> str:
    """The script's output; it must succeed and be silent on stderr."""
    process = start(command)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    return output


def test_an_unguarded_script_runs_once_and_equals_serial(tmp_path):
    output = run(script(tmp_path, """
        print("once")
        def digest(pipeline):
            with pipeline.loader() as loader:
                return hashlib.sha256(b"".join(b["x"].tobytes() for _ in range(2) for b in loader)).hexdigest()
        print(digest(process()) == digest(replace(process(), executor="serial")))
    """))  # fmt: skip
    assert output.split() == ["once", "True"]


def test_an_exception_class_of_the_script_comes_back_as_itself(tmp_path):
    output = run(script(tmp_path, """
        class Mine(Exception): pass
        class Bad(Source):
            def read(self, key):
                raise Mine("mine")
        try:
            next(iter(replace(process(), source=Bad()).loader()))
        except Mine as error:
            print("caught", error)
    """))  # fmt: skip
    assert output == "caught mine\n"


def test_a_script_that_forgets_to_close_ends_by_itself(tmp_path, gone):
    output = run(script(tmp_path, """
        delay = 0.01
        loader = process().loader()
        for batch in loader:
            break
        print(batch["x"].shape)
    """))  # fmt: skip
    assert output == "(6, 3)\n"
    assert not gone(1)


def test_what_stages_print_is_not_lost(tmp_path):
    output = run(script(tmp_path, """
        def speak(sample, rng):
            print(f"record {sample.key.index}")
            return sample
        with process(speak).loader() as loader:
            list(loader)
    """))  # fmt: skip
    assert {f"record {index}" for index in range(40)} <= set(output.splitlines())


@pytest.mark.mpi
def test_ranks_of_an_mpi_job(tmp_path):
    if not MPIEXEC.exists():
        pytest.skip(f"no MPI launcher at {MPIEXEC}")
    command = script(tmp_path, """
        comm = MPI.COMM_WORLD
        shard = ShardSpec(comm.rank, comm.size)
        def no_mpi(sample, rng):
            if [name for name in os.environ if name.startswith(("PMI", "MPI"))]:
                raise RuntimeError("a worker would join the MPI job")
            return sample
        def digest(pipeline):
            with pipeline.loader(shard) as loader:
                batches = [batch for _ in range(2) for batch in loader]
            indices = [[n for b in batches for n in b.indices.tolist() if b.epoch == e] for e in range(2)]
            return hashlib.sha256(b"".join(b["x"].tobytes() for b in batches)).hexdigest(), indices, len(batches)
        mine, indices, steps = digest(process(no_mpi))
        print(mine == digest(replace(process(), executor="serial"))[0])
        everyone = comm.allgather((indices, steps))
        for epoch in range(2):
            print(sorted(n for each, _ in everyone for n in each[epoch]) == list(range(40)))
        print(len({steps for _, steps in everyone}) == 1)
    """, first_line="from mpi4py import MPI\n")  # fmt: skip
    output = run([str(MPIEXEC), "-host", "localhost", "-n", "2", *command])
    assert output.count("True") == 8, output


def wait_for_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == line + "\n"


@pytest.mark.parametrize("moment", ["during set-up", "while it trains", "while it waits"])
def test_a_killed_consumer_takes_everything_along(tmp_path, gone, moment):
    process = start(script(tmp_path, f"""
        delay = {60 if moment == "while it waits" else 0.005}
        loader = process().loader()
        if {moment == "while it trains"}:
            next(iter(loader))
        print("ready")
        if {moment == "while it waits"}:
            next(iter(loader))
        time.sleep(60)
    """))  # fmt: skip
    wait_for_line(process, "ready")
    if moment == "while it waits":
        time.sleep(0.5)
    process.kill()
    assert not gone(1)
    _, errors = process.communicate(timeout=10)
    assert errors == ""


def test_a_forked_child_neither_ends_nor_keeps_the_workers(tmp_path, token):
    process = start(script(tmp_path, """
        import warnings
        from flowdata.errors import DataError
        warnings.simplefilter("ignore")  # newer Pythons warn of forks
        delay = 0.005
        loader = process().loader()
        first = next(iter(loader))
        if (child := os.fork()) == 0:
            try:
                list(loader)
            except DataError:
                sys.exit(7)  # runs the exit handlers
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(sum(1 for batch in loader))
        if (child := os.fork()) == 0:
            time.sleep(60)
        print(child)
        time.sleep(60)
    """))  # fmt: skip
    wait_for_line(process, "7")
    wait_for_line(process, "6")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    deadline = time.monotonic() + 1
    while set(synthetic.family(token)) != {child} and time.monotonic() < deadline:
        time.sleep(0.01)
    left = synthetic.family(token)
    os.kill(child, signal.SIGKILL)
    _, errors = process.communicate(timeout=10)
    assert set(left) == {child}
    assert errors == ""


INTERRUPTED: dict[str, str] = {
    "while it waits": "delay = 60",
    "while it computes": "compute = 60",
    "while all work": "delay = 0.003",
}


@pytest.mark.parametrize("state", INTERRUPTED)
def test_ctrl_c_is_the_consumers_affair(tmp_path, gone: Callable[[float], dict[int, str]], state):
    process = start(
        script(tmp_path, f"""
            compute = 0
            {INTERRUPTED[state]}
            with process().loader() as loader:
                print("ready")
                try:
                    while True:
                        for batch in loader:
                            time.sleep(compute)
                except KeyboardInterrupt:
                    print("interrupted")
        """),
        process_group=0,
    )  # fmt: skip
    wait_for_line(process, "ready")
    time.sleep(0.6)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=5)
    assert (output, errors, process.returncode) == ("interrupted\n", "", 0)
    assert not gone(0.1)
