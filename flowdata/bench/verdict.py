"""What limits a pipeline, which one change would help and by how much: a small model, fed with measured times."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flowdata.bench.trace import Event

WORTH = 1.05  # a smaller gain is not worth a change
NEARLY = 0.97  # of the best rate: fewer workers that reach so much are enough
_BLOCKED = 0.1  # of their time: workers that wait more for the consumer are limited by it
_SPARE = 1.25  # what fewer workers must be able to give, beyond what the consumer asks for
_SCALES = 0.6  # of proportional: storage that gives less to more readers gives all it has
_LIMITS = {"storage": "the storage", "consumer": "the consumer", "cpu": "the processors", "workers": "the workers"}
_ORDERED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True, slots=True)
class StepTime:
    """Service time of the read or of a stage, in microseconds per sample, one sample after the other.

    Args:
        name: ``read``, or the stage's name.
        cpu_us: Mean CPU time.
        wait_us: Mean time that it gave the processor away: for a disk, a network, a lock, a sleep.
        p50_us: Median of the time by the clock.
        p90_us: Time that one in ten takes longer than.
    """

    name: str
    cpu_us: float
    wait_us: float
    p50_us: float
    p90_us: float

    @property
    def total_us(self) -> float:
        """Time that a worker cannot do anything else."""
        return self.cpu_us + self.wait_us


def step_times(events: Sequence[Event], names: Sequence[str]) -> list[StepTime]:
    """Service times out of the events of a run with one worker."""
    times = []
    for step, name in enumerate(names):
        own = [each for each in events if each.step == step]
        if not own:
            continue
        walls = sorted(each.wall for each in own)
        times.append(
            StepTime(
                name,
                1e6 * statistics.fmean(each.cpu for each in own),
                1e6 * statistics.fmean(max(0.0, each.wall - each.cpu) if each.waited else 0.0 for each in own),
                1e6 * walls[len(walls) // 2],
                1e6 * walls[len(walls) * 9 // 10],
            )
        )
    return times


@dataclass(frozen=True)
class Model:
    """Images per second as a function of the number of workers.

    Args:
        steps: Service times of the read and the stages.
        cpu_us: CPU time per image of all processes together, measured: the steps' and everything around them.
        cpus: Processors that may be used.
        step_us: Time per image that the consumer works on its own, a batch's divided by its images.
        read_rates: Records per second that the source gives to 1, 2, 4, … readers; empty where reads do not wait.
    """

    steps: Sequence[StepTime]
    cpu_us: float
    cpus: float
    step_us: float = 0.0
    read_rates: Mapping[int, float] = field(default_factory=dict)

    @property
    def wait_us(self) -> float:
        """Time per image that a worker waits."""
        return sum(each.wait_us for each in self.steps)

    @property
    def worker_us(self) -> float:
        """Time per image that a worker is taken."""
        return max(self.cpu_us, sum(each.cpu_us for each in self.steps)) + self.wait_us

    def limits(self, workers: int | None) -> dict[str, float]:
        """What each resource would allow alone, images per second; ``workers`` None is the serial executor."""
        if workers is None:
            return {"workers": 1e6 / (self.worker_us + self.step_us)}
        limits = {"workers": 1e6 * workers / self.worker_us}
        if self.cpu_us > 0:
            limits["cpu"] = 1e6 * self.cpus / self.cpu_us
        if self.step_us > 0:
            limits["consumer"] = 1e6 / self.step_us
        if self.read_rates:
            most = max(self.read_rates)
            if self.read_rates[most] < _SCALES * most * self.read_rates[1]:  # else its limit was not reached
                limits["storage"] = max(self.read_rates.values())
        return limits

    def rate(self, workers: int | None) -> float:
        """Images per second."""
        return min(self.limits(workers).values())


@dataclass(frozen=True)
class Verdict:
    """What limits, and what would help.

    Args:
        binding: The step that binds (``read`` or a stage's name), or ``consumer``.
        because: ``workers`` are too few, ``cpu``: all processors are busy, ``storage`` gives no more, or ``consumer``.
        change: Settings that would help, by key; empty where nothing does.
        gain: Predicted images per second with them, divided by those without.
        text: All of it in a sentence or two.
        shares: Part of the work on an image that is each step's; the rest is hand-over.
    """

    binding: str
    because: str
    change: dict[str, Any]
    gain: float
    text: str
    shares: dict[str, float]

    @property
    def yaml(self) -> str:
        """The change as lines of the pipeline's file."""
        return "\n".join(f"{key}: {value}" for key, value in self.change.items())


def judge(model: Model, workers: int | None, blocked: float = 0.0) -> Verdict:
    """The verdict on a pipeline that runs with so many workers.

    Args:
        model: Times of the pipeline.
        workers: Its workers; None for the serial executor.
        blocked: Part of their time that its workers were seen to wait for the consumer.
    """
    whole = model.worker_us
    shares = {each.name: each.total_us / whole for each in model.steps}
    slowest = max(model.steps, key=lambda each: each.total_us)
    limits = model.limits(workers)
    because = _least(limits)
    if model.step_us and workers is not None and (because == "consumer" or blocked > _BLOCKED):
        return _consumer(model, workers, shares)
    counts = candidates(model, workers)
    best = max(model.rate(count) for count in counts)
    enough = min(count for count in counts if model.rate(count) >= NEARLY * best)
    gain = model.rate(enough) / model.rate(workers)
    if gain < WORTH:
        because = _least(model.limits(counts[-1]))  # what would stop more workers
    if because == "storage":
        slowest = next(each for each in model.steps if each.name == "read")
    if because == "cpu":
        slowest = max(model.steps, key=lambda each: each.cpu_us)
    what = _describe(slowest, shares)
    if gain < WORTH:
        reason = {
            "cpu": f"all {model.cpus:g} processors are busy, most of all with {what}",
            "storage": f"the storage gives no more than {limits.get('storage', 0):.0f} records/s to any number of "
                       f"readers; faster storage, or smaller files, would help",
            "workers": f"{what} takes most of the time, and {workers} workers are as many as make sense here",
            "consumer": f"the consumer asks for no more than {limits.get('consumer', 0):.0f} images/s",
        }[because]  # fmt: skip
        return Verdict(slowest.name, because, {}, 1.0, f"no setting helps: {reason}", shares)
    change: dict[str, Any] = {} if workers is not None else {"executor": "process"}
    change["workers"] = enough
    now = "one sample after the other" if workers is None else f"{workers} worker{'s' * (workers != 1)}"
    text = (
        f"{what} binds, with {now}; `{', '.join(f'{key}: {value}' for key, value in change.items())}` is predicted to "
        f"give {gain:.2f} times as many images/s, then limited by {_next_limit(model, enough)}"
    )
    return Verdict(slowest.name, because, change, gain, text, shares)


def candidates(model: Model, workers: int | None) -> list[int]:
    """Numbers of workers worth considering: up to four per processor, and no fewer than now."""
    most = max(8, int(4 * model.cpus))
    return sorted({workers or 1, *(count for count in _ORDERED if (workers or 1) <= count <= most)})


def _consumer(model: Model, workers: int, shares: dict[str, float]) -> Verdict:
    """The consumer binds: nothing makes it faster, but fewer workers may serve it as well."""
    wanted = 1e6 / model.step_us
    alone = replace(model, step_us=0.0)
    enough = next((count for count in range(1, workers) if alone.rate(count) >= wanted * _SPARE), workers)
    change = {"workers": enough} if enough < workers else {}
    also = f"; `workers: {enough}` is enough for it and gives the same images/s" if change else ""
    text = f"no setting helps: the consumer binds, it asks for {wanted:.0f} images/s{also}"
    return Verdict("consumer", "consumer", change, 1.0, text, shares)


def _describe(step: StepTime, shares: Mapping[str, float]) -> str:
    how = "waiting" if step.wait_us > step.cpu_us else "computing"
    name = "reading" if step.name == "read" else f"stage {step.name}"
    return f"{name} ({step.total_us / 1e3:.2f} ms per image, {shares[step.name]:.0%} of the work, mostly {how})"


def _next_limit(model: Model, workers: int) -> str:
    return _LIMITS[_least(model.limits(workers))]


def _least(limits: Mapping[str, float]) -> str:
    """The limit that binds; of two that are as good as equal, the one that a setting cannot move."""
    return min(limits, key=lambda name: (limits[name] > min(limits.values()) / NEARLY, list(_LIMITS).index(name)))
