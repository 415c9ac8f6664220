"""One list of questions to a communicator, asked of every implementation.

A case is a function of a communicator that every rank runs; it raises if something is wrong.
Cases of a module are its public functions whose only argument is called ``comm``.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from flowdist import Communicator, connect

Case = Callable[[Communicator], None]


def cases_of(module_name: str) -> dict[str, Case]:
    module = import_module(module_name)
    return {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module_name
        and not name.startswith("_")
        and list(inspect.signature(function).parameters) == ["comm"]
    }


def main() -> None:
    """Run all cases of some modules on this rank of an MPI job; rank r writes ``OUT_DIR/r.json``."""
    out_dir, *modules = sys.argv[1:]
    world = connect("mpi", timeout_s=60)
    verdicts = {}
    for module in modules:
        for name, case in cases_of(module).items():
            comm = connect("mpi", timeout_s=20)  # of its own: a case that fails must not confuse the next
            try:
                case(comm)
                verdicts[f"{module}.{name}"] = ""
            except Exception:
                verdicts[f"{module}.{name}"] = traceback.format_exc()
            comm.close()
            world.barrier()
    (Path(out_dir) / f"{world.rank}.json").write_text(json.dumps(verdicts))
    world.barrier()
    if any(verdicts.values()):
        os._exit(1)  # a case that failed may have left MPI calls pending, which MPI_Finalize would wait for
    world.close()


if __name__ == "__main__":
    main()
