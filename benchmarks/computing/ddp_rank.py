"""A rank of data-parallel training: ``… -m benchmarks.computing.ddp_rank ADDRESS SPEC``, with RANK and WORLD_SIZE set.

The specification names the library, the sizes and, for PyTorch, the memory layouts and a file to meet at.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.computing import thread_times
from benchmarks.computing.answering import serve
from benchmarks.computing.inputs import training_batch

MODEL = "resnet18"
Functions = dict[str, Callable[..., Any]]


def flownn_functions(spec: Mapping[str, Any], rank: int, size: int) -> Functions:
    """Steps with and without communication, and the communication alone."""
    import flownn as flow
    from benchmarks.computing import flownn_work
    from flowdist import connect
    from flowdist.buckets import ParameterSpec, plan_buckets
    from flownn.nn.parallel import DistributedDataParallel

    comm = connect()
    data, labels = training_batch(MODEL, spec["sizes"], seed=rank)
    bare = flownn_work.model_of(MODEL, spec["sizes"])
    wrapped = DistributedDataParallel(flownn_work.model_of(MODEL, spec["sizes"]), comm=comm)
    steps = {
        "ddp": flownn_work.step_of(wrapped, list(wrapped.parameters()), data, labels),
        "alone": flownn_work.step_of(bare, bare.parameters(), data, labels),
    }
    specs = [ParameterSpec(name, tuple(each.shape), each.data.dtype) for name, each in bare.named_parameters()]
    buckets = [np.zeros(plan.size, plan.dtype) for plan in plan_buckets(specs)]

    def allreduces() -> None:
        for bucket in buckets:
            comm.allreduce(bucket)

    def save(path: str) -> None:
        if rank == 0:
            np.savez(path, **{name: each.numpy() for name, each in bare.state_dict().items()})

    answers = _answers({**steps, "allreduces": allreduces}, comm.barrier)
    answers["about"] = lambda: {"kernels": flow.backends()["cpu"], "buckets": [each.nbytes for each in buckets]}
    answers["save"] = save
    answers["loss"] = lambda: flownn_work.loss_of(wrapped, data, labels).item()
    answers["close"] = wrapped.close
    return answers


def torch_functions(spec: Mapping[str, Any], rank: int, size: int) -> Functions:
    """The peer: its own model and its DDP over gloo, once per memory layout."""
    import torch
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    from benchmarks.computing import torch_models, torch_work

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the name of this machine need not resolve
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    distributed.init_process_group("gloo", init_method=f"file://{spec['meet']}", rank=rank, world_size=size)
    data, labels = training_batch(MODEL, spec["sizes"], seed=rank)
    layouts = {"ddp": torch.contiguous_format, "ddp channels-last": torch.channels_last}
    models = {
        name: DistributedDataParallel(torch_models.model_of(MODEL, spec["sizes"]).to(memory_format=layout))
        for name, layout in layouts.items()
    }

    def load(path: str) -> None:
        with np.load(path) as values:
            weights = {name: torch.from_numpy(values[name]) for name in values.files}
        for model in models.values():
            model.module.load_state_dict(weights)

    calls = {
        name: torch_work.step_of(model, model.parameters(), data, labels, layouts[name])
        for name, model in models.items()
    }
    answers = _answers(calls, distributed.barrier)
    answers["about"] = lambda: {"torch": torch.__version__, "threads": torch.get_num_threads()}
    answers["load"] = load
    answers["loss"] = lambda: float(torch_work.loss_of(models["ddp"], data, labels, torch.contiguous_format))
    answers["close"] = distributed.destroy_process_group
    return answers


def _answers(calls: Mapping[str, Callable[[], object]], barrier: Callable[[], object]) -> Functions:
    def run(call: str, count: int) -> dict[str, Any]:
        """Seconds and CPU seconds of one call when all ranks start together, and what each thread had of it."""
        barrier()
        threads, cpu, start = thread_times.cpu_seconds(), time.process_time(), time.perf_counter()
        for _ in range(count):
            calls[call]()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        after = thread_times.cpu_seconds()
        return {
            "seconds": seconds / count,
            "cores": cpu / seconds,
            "threads": thread_times.shares(threads, after, thread_times.names()),
        }

    return {"run": run}


def main() -> None:
    address, spec = sys.argv[1], json.loads(sys.argv[2])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    prepare = {"flownn": flownn_functions, "torch": torch_functions}[spec["library"]]
    serve(address, rank, lambda: prepare(spec, rank, size))


if __name__ == "__main__":
    main()
