"""Sum arrays over ranks with sleeping waits and with MPI's blocking call, interleaved.

Start it with the ``mpiexec`` of the MPI library that mpi4py loads; rank 0 prints medians in milliseconds::

    mpiexec -host localhost -n 2 python benchmarks/allreduce.py [--mib 1 25 100] [--rounds 15] [--json FILE]

The last column says what waiting costs: CPU seconds of the other ranks while the last rank sleeps before a collective.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowdist import Communicator, connect


def seconds(comm: Communicator, call: Any, buffer: NDArray[Any], repeats: int) -> float:
    """Time of one call when all ranks start together; of the slowest rank."""
    comm.barrier()
    start = time.perf_counter()
    for _ in range(repeats):
        call(buffer)
    return max(comm.allgather_object((time.perf_counter() - start) / repeats))


def compare(comm: Communicator, blocking: Any, mib: int, rounds: int) -> dict[str, Any]:
    buffer = np.ones((mib << 20) // 4, np.float32)
    repeats = max(1, 20 // mib)
    ways = {"sleeping": comm.allreduce, "blocking": blocking}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, call in ways.items():
            buffer[:] = 1.0  # repeated sums must not overflow
            elapsed = seconds(comm, call, buffer, repeats)
            if round_:  # the first one touches fresh memory
                times[name].append(elapsed * 1e3)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "mib": mib,
        **{f"{name}_ms": medians[name] for name in ways},
        **{f"{name}_spread_ms": [min(values), max(values)] for name, values in times.items()},
        "ratio": medians["sleeping"] / medians["blocking"],
    }


def waiting_cpu_seconds(comm: Communicator, wait_s: float) -> float:
    """CPU time of the busiest waiting rank while the last rank sleeps."""
    last = comm.rank == comm.size - 1
    comm.barrier()
    if last:
        time.sleep(wait_s)
    start = time.process_time()
    comm.allreduce(np.ones(1 << 18, np.float32))
    return max(comm.allgather_object(0.0 if last else time.process_time() - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--mib", type=int, nargs="+", default=[1, 25, 100], help="sizes in MiB of float32")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--wait", type=float, default=5.0, help="seconds the last rank sleeps")
    parser.add_argument("--json", type=Path, help="also write the results here")
    arguments = parser.parse_args()

    comm = connect("mpi", timeout_s=120)
    from mpi4py import MPI  # after connect: it explains what is wrong where there is no MPI

    raw = MPI.COMM_WORLD.Dup()
    rows = [
        compare(comm, lambda buffer: raw.Allreduce(MPI.IN_PLACE, buffer), mib, arguments.rounds)
        for mib in arguments.mib
    ]
    cpu_s = waiting_cpu_seconds(comm, arguments.wait)
    if comm.rank == 0:
        print(f"{comm.size} ranks, {MPI.Get_library_version().split(chr(10))[0].strip()}, median of {arguments.rounds}")
        print(f"{'MiB':>6} {'sleeping ms':>12} {'blocking ms':>12} {'ratio':>6}")
        for row in rows:
            print(f"{row['mib']:>6} {row['sleeping_ms']:>12.3f} {row['blocking_ms']:>12.3f} {row['ratio']:>6.2f}")
        print(f"waiting {arguments.wait:g} s cost {cpu_s:.3f} s of CPU")
        if arguments.json:
            result = {
                "ranks": comm.size,
                "rounds": arguments.rounds,
                "machine": platform.platform(),
                "allreduce": rows,
                "waiting": {"seconds": arguments.wait, "cpu_seconds": cpu_s},
            }
            arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    comm.close()


if __name__ == "__main__":
    main()
