"""What limits a pipeline, which one change would help and by how much: a small model, fed with measured times."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from flowdata.bench.trace import Event

WORTH = 1.05  # a smaller gain is not worth a change
NEARLY = 0.97  # of the best rate: fewer workers that reach so much are enough
_BLOCKED = 0.1  # of their time: workers that wait more for the consumer are limited by it
_SPARE = 1.25  # what fewer workers must be able to give, beyond what the consumer asks for
_SCALES = 0.6  # of proportional: storage that gives less to more readers gives all it has
_LIMITS = {"storage": "the storage", "consumer": "the consumer", "cpu": "the processors", "workers": "the workers"}
Workers: TypeAlias = "Sequence[int] | None"  # by group; None is the serial executor

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
            times.append(StepTime(name, 0.0, 0.0, 0.0, 0.0))
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
        groups: Positions of the steps that the same workers do; one group unless stages are cut.
        ahead: Samples that may be prepared ahead: more workers than messages of them have nothing to do.
        per_message: Samples in a message.
    """

    steps: Sequence[StepTime]
    cpu_us: float
    cpus: float
    step_us: float = 0.0
    read_rates: Mapping[int, float] = field(default_factory=dict)
    groups: Sequence[range] = ()
    ahead: int = 1 << 30
    per_message: int = 1

    @property
    def messages(self) -> int:
        """Messages that may be under way at a time."""
        return max(1, self.ahead // self.per_message)

    @property
    def around_us(self) -> float:
        """CPU time per image that is no step's: plan, messages, copies, the consumer's part."""
        return max(0.0, self.cpu_us - sum(each.cpu_us for each in self.steps))

    @property
    def worker_us(self) -> float:
        """Time per image that workers are taken, all groups together."""
        return sum(each.total_us for each in self.steps) + self.around_us

    def group_us(self) -> list[float]:
        """The same by group; what is no step's is spread evenly."""
        groups = self.groups or (range(len(self.steps)),)
        own = [sum(self.steps[number].total_us for number in group) for group in groups]
        return [each + self.around_us / len(groups) for each in own]

    def limits(self, workers: Workers) -> dict[str, float]:
        """What each resource would allow alone, images per second."""
        if workers is None:
            return {"workers": 1e6 / (self.worker_us + self.step_us)}
        busy = [min(count, self.messages) for count in workers]
        limits = {"workers": min(1e6 * n / us for n, us in zip(busy, self.group_us(), strict=True))}
        if self.cpu_us > 0:
            limits["cpu"] = 1e6 * self.cpus / self.cpu_us
        if self.step_us > 0:
            limits["consumer"] = 1e6 / self.step_us
        if self.read_rates:
            most = max(self.read_rates)
            if self.read_rates[most] < _SCALES * most * self.read_rates[1]:  # else its limit was not reached
                limits["storage"] = max(self.read_rates.values())
        return limits

    def rate(self, workers: Workers) -> float:
        """Images per second."""
        return min(self.limits(workers).values())


@dataclass(frozen=True)
class Verdict:
    """What limits, and what would help.

    Args:
        binding: The step that binds (``read`` or a stage's name), or ``consumer``.
        because: ``workers`` are too few, ``messages`` are fewer than workers, all processors are busy (``cpu``),
            ``storage`` gives no more, or ``consumer``.
        change: Settings that would help, as overrides of the pipeline's file; empty where nothing does.
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
        return "\n".join(_yaml_line(key, value) for key, value in self.change.items())


def judge(model: Model, workers: Workers, blocked: float = 0.0, keys: Sequence[str] = ("workers",)) -> Verdict:
    """The verdict on a pipeline that runs with so many workers.

    Args:
        model: Times of the pipeline.
        workers: Its workers by group; None for the serial executor.
        blocked: Part of their time that its workers were seen to wait for the consumer.
        keys: Setting that holds the number of workers of each group.
    """
    shares = {each.name: each.total_us / model.worker_us for each in model.steps}
    limits = model.limits(workers)
    because = _least(limits)
    if model.step_us and workers is not None and (because == "consumer" or blocked > _BLOCKED):
        return _consumer(model, workers, shares, keys)
    group, steps = _binding_group(model, workers)
    if because == "workers" and workers is not None and workers[group] > model.messages:
        return _starved(model, workers, group, shares)
    choices = candidates(model, workers, group)
    best = max(model.rate(each) for each in choices)
    enough = next(each for each in choices if model.rate(each) >= NEARLY * best)
    gain = model.rate(enough) / model.rate(workers)
    if gain < WORTH:
        because = _least(model.limits(choices[-1]))  # what would stop more workers
    slowest = {
        "storage": model.steps[0],
        "cpu": max(model.steps, key=lambda each: each.cpu_us),
    }.get(because, max(steps, key=lambda each: each.total_us))
    what = _describe(slowest, shares)
    if gain < WORTH:
        reason = {
            "cpu": f"all {model.cpus:g} processors are busy, most of all with {what}",
            "storage": f"the storage gives no more than {limits.get('storage', 0):.0f} records/s to any number of "
                       f"readers; faster storage, or smaller files, would help",
            "workers": f"{what} takes most of the time, and there are as many workers as make sense here",
            "consumer": f"the consumer asks for no more than {limits.get('consumer', 0):.0f} images/s",
        }[because]  # fmt: skip
        return Verdict(slowest.name, because, {}, 1.0, f"no setting helps: {reason}", shares)
    change: dict[str, Any] = {} if workers is not None else {"executor": "process"}
    change[keys[group]] = enough[group]
    lines = ", ".join(_yaml_line(key, value) for key, value in change.items())
    now = "one sample after the other" if workers is None else _count(workers[group], "worker")
    text = (
        f"{what} binds, with {now}; `{lines}` is predicted to give {gain:.2f} times as many images/s, then limited by "
        f"{_LIMITS[_least(model.limits(enough))]}"
    )
    return Verdict(slowest.name, because, change, gain, text, shares)


def candidates(model: Model, workers: Workers, group: int) -> list[tuple[int, ...]]:
    """What is worth considering: more workers in one group, up to four per processor."""
    now = (1,) if workers is None else tuple(workers)
    most = min(max(8, int(4 * model.cpus)), max(model.messages, now[group]))
    counts = sorted({now[group], *(count for count in _ORDERED if now[group] <= count <= most)})
    return [(*now[:group], count, *now[group + 1 :]) for count in counts]


def _binding_group(model: Model, workers: Workers) -> tuple[int, Sequence[StepTime]]:
    """The group with the fewest workers for its work, and its steps."""
    if workers is None or not model.groups:
        return 0, model.steps
    times = model.group_us()
    group = max(range(len(times)), key=lambda number: times[number] / workers[number])
    return group, [model.steps[number] for number in model.groups[group]]


def _starved(model: Model, workers: Sequence[int], group: int, shares: dict[str, float]) -> Verdict:
    """There are more workers than messages, so some never have anything to do."""
    size = max(1, model.ahead // (2 * workers[group]))
    change = {"samples_per_message": size}
    gain = replace(model, per_message=size).rate(workers) / model.rate(workers)
    step = max(_binding_group(model, workers)[1], key=lambda each: each.total_us)
    line = _yaml_line("samples_per_message", size)
    text = (
        f"{workers[group]} workers share {_count(model.messages, 'message')} of {_count(model.per_message, 'sample')}: "
        f"some have nothing to do; `{line}` is predicted to give {gain:.2f} times as many images/s"
    )
    return Verdict(step.name, "messages", change, gain, text, shares)


def _consumer(model: Model, workers: Sequence[int], shares: dict[str, float], keys: Sequence[str]) -> Verdict:
    """The consumer binds: nothing makes it faster, but fewer workers may serve it as well."""
    wanted = 1e6 / model.step_us
    alone = replace(model, step_us=0.0)
    change = {}
    also = ""
    if len(workers) == 1 and keys:
        enough = next((n for n in range(1, workers[0]) if alone.rate((n,)) >= wanted * _SPARE), workers[0])
        if enough < workers[0]:
            change = {keys[0]: enough}
            also = f"; `{_yaml_line(keys[0], enough)}` is enough for it and gives the same images/s"
    text = f"no setting helps: the consumer binds, it asks for {wanted:.0f} images/s{also}"
    return Verdict("consumer", "consumer", change, 1.0, text, shares)


def _yaml_line(key: str, value: object) -> str:
    """``workers: 2``; for a key such as ``stages.3.cut.workers``, the item of the list."""
    if key.startswith("stages."):
        _, number, *rest = key.split(".")
        return f"- cut: {{workers: {value}}}  # stages[{number}]" if rest == ["cut", "workers"] else f"{key}: {value}"
    return f"{key}: {value}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _describe(step: StepTime, shares: Mapping[str, float]) -> str:
    how = "waiting" if step.wait_us > step.cpu_us else "computing"
    name = "reading" if step.name == "read" else f"stage {step.name}"
    return f"{name} ({step.total_us / 1e3:.2f} ms per image, {shares[step.name]:.0%} of the work, mostly {how})"


def _least(limits: Mapping[str, float]) -> str:
    """The limit that binds; of two that are as good as equal, the one that a setting cannot move."""
    return min(limits, key=lambda name: (limits[name] > min(limits.values()) / NEARLY, list(_LIMITS).index(name)))
