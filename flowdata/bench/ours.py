"""Our side of a comparison: ``python -m flowdata.bench.ours SPEC.json``."""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowdata.bench.protocol import Arrays, Side, serve
from flowdata.executors.stats import GroupStats, LoaderStats
from flowdata.loader import Loader
from flowdata.pipeline import Pipeline


def prepare(spec: dict[str, Any]) -> Side:
    """The pickled pipeline, epoch after epoch."""
    sys.path[:] = spec["path"]  # stages may come from the caller's own modules
    pipeline: Pipeline = pickle.loads(Path(spec["pipeline"]).read_bytes())
    loaders: list[Loader] = []

    @contextmanager
    def start() -> Iterator[Iterator[Arrays]]:
        with pipeline.loader() as loader:
            loaders.append(loader)
            yield (batch.arrays for epoch in itertools.repeat(loader) for batch in epoch if batch.size)

    def observe() -> Callable[[], dict[str, Any]]:
        before = loaders[-1].stats
        return lambda: as_plain(loaders[-1].stats - before)

    ahead = f"{pipeline.prefetch_batches} batches ahead"
    how = {
        "serial": "in the calling process",
        "thread": f"{pipeline.workers} worker threads, {ahead}",
        "process": f"{pipeline.workers} worker processes, {ahead}",
    }[pipeline.executor]
    depth = 0 if pipeline.executor == "serial" else pipeline.prefetch_batches
    return Side(f"this pipeline, {how}", start, ahead=depth, observe=observe)


def as_plain(stats: LoaderStats) -> dict[str, Any]:
    """What the workers did, as shares of their time and as microseconds per sample."""
    workers = [each for group in stats.groups for each in group.workers]
    busy, missing, late = (
        sum(getattr(each, f"{name}_seconds") for each in workers) for name in ("busy", "input", "output")
    )
    whole = max(busy + missing + late, 1e-9)
    return {
        "busy": busy / whole,
        "input": missing / whole,
        "output": late / whole,
        "mean_ready": stats.mean_ready,
        "service_us": sum(1e6 * group.mean_seconds for group in stats.groups),
        "p90_us": sum(1e6 * group.quantile(0.9) for group in stats.groups),
        "groups": [_group(group) for group in stats.groups],
        "steps_us": {
            step.name: 1e6 * step.seconds / max(group.samples, 1) for group in stats.groups for step in group.stages
        },
    }


def _group(group: GroupStats) -> dict[str, Any]:
    """What the workers of one group did: shares of their time, and service time of a sample."""
    whole = max(sum(each.busy_seconds for each in group.workers) + group.input_seconds + group.output_seconds, 1e-9)
    quantiles = {f"p{percent}_us": 1e6 * group.quantile(percent / 100) for percent in (50, 95, 99)}
    return {
        "steps": [each.name for each in group.stages],
        "workers": group.active,
        **quantiles,
        "busy": group.busy,
        "input": group.input_seconds / whole,
        "output": group.output_seconds / whole,
    }


if __name__ == "__main__":
    serve(prepare)
