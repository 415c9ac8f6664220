"""The process of one side of one part: ``python -m benchmarks.computing.side ADDRESS SPEC``."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.computing.answering import peak_bytes, serve, timed, warm_up
from benchmarks.computing.sizes import NUMPY, OURS, PORTABLE
from benchmarks.computing.work import Work


def work_of(part: str, side: str, sizes: Mapping[str, Any]) -> Work:
    if side in (OURS, PORTABLE):
        from benchmarks.computing import flownn_work

        return flownn_work.prepare(part, side, sizes)
    if side == NUMPY:
        from benchmarks.computing import numpy_work

        return numpy_work.prepare(part, side, sizes)
    from benchmarks.computing import torch_work

    return torch_work.prepare(part, side, sizes)


def functions(work: Work) -> dict[str, Callable[..., Any]]:
    """What the benchmark may ask."""

    def peak(name: str, steps: int) -> int:
        for _ in range(steps):
            work.calls[name]()
        return peak_bytes()

    answers: dict[str, Callable[..., Any]] = {
        "about": lambda: {**work.about, "calls": list(work.calls)},
        "warm": lambda name, seconds: warm_up(work.calls[name], seconds),
        "time": lambda name, seconds, least: timed(work.calls[name], seconds, least),
        "peak": peak,
    }
    if network := work.network:

        def loss() -> float:
            value = network.loss()
            if not math.isfinite(value):
                raise ValueError(f"the loss is {value}: what was timed is no training")
            return value

        answers |= {"parameters": lambda: network.parameters, "save": network.save, "load": network.load, "loss": loss}
    return answers


if __name__ == "__main__":
    address, spec = sys.argv[1], json.loads(sys.argv[2])
    serve(address, 0, lambda: functions(work_of(spec["part"], spec["side"], spec["sizes"])))
