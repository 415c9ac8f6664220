"""What was promised, and whether figures keep it: pure functions over the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.computing.sizes import CHANNELS_LAST, OURS, PORTABLE, TORCH

Kind = Literal["speed", "memory", "seconds", "cost", "share", "cores"]


@dataclass(frozen=True)
class Target:
    """One promise.

    Args:
        part: Where it is measured.
        figure: Which figure of that part; for memory the training step.
        limit: The least ``speed`` as a multiple of the peer's; or at most so much: ``memory`` as a multiple of the
            peer's, ``seconds``, ``cost`` as a multiple of what the figure's name says, ``share`` or ``cores``.
        kind: Which of these.
        peer: What it is compared with.
        side: Whose promise it is.
        stretch: A limit that would be better still.
    """

    part: str
    figure: str
    limit: float
    kind: Kind = "speed"
    peer: str = ""
    side: str = OURS
    stretch: float | None = None


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured; no value where that was not measured."""

    target: Target
    value: float | None

    @property
    def reached(self) -> bool | None:
        """Whether the promise is kept; None where nobody knows."""
        return None if self.value is None else self._keeps(self.target.limit)

    @property
    def stretched(self) -> bool:
        """Whether even the better limit is reached."""
        return self.value is not None and self.target.stretch is not None and self._keeps(self.target.stretch)

    def _keeps(self, limit: float) -> bool:
        assert self.value is not None, "asked for measured targets only"
        return self.value >= limit if self.target.kind == "speed" else self.value <= limit


def _training(part: str, *speeds: Target) -> tuple[Target, ...]:
    return (*speeds, Target(part, "step", 1.1, "memory", peer=TORCH))


def _residual(part: str) -> tuple[Target, ...]:
    return _training(
        part,
        Target(part, "step", 1.25, peer=TORCH),
        Target(part, "step", 1.0, peer=CHANNELS_LAST, stretch=1.2),
    )


TARGETS: tuple[Target, ...] = (
    *_residual("resnet18"),
    Target("resnet18", "step", 0.3, peer=TORCH, side=PORTABLE),
    *_residual("resnet50"),
    *_training("mlp", Target("mlp", "step", 1.0, peer=TORCH)),
    *_training("transformer", Target("transformer", "step", 1.0, peer=TORCH)),
    Target("overhead", "a + b", 4e-6, "seconds"),
    Target("overhead", "(a * b).sum().backward()", 25e-6, "seconds"),
)


def judge(parts: Mapping[str, Any], targets: Sequence[Target] = TARGETS) -> list[Verdict]:
    """A verdict on every target of the parts that ran."""
    return [Verdict(each, _value(parts[each.part], each)) for each in targets if each.part in parts]


def _value(part: Mapping[str, Any], target: Target) -> float | None:
    check = part.get("check")
    if check is not None and not check["equal"]:
        return None  # the sides did different work
    if target.kind == "memory":
        peaks = part.get("peak_bytes", {})
        if target.side not in peaks or target.peer not in peaks:
            return None
        return float(peaks[target.side] / peaks[target.peer])
    figure = part["figures"].get(target.figure)
    if figure is None or target.side not in figure["seconds"]:
        return None
    if target.kind == "seconds":
        return float(figure["seconds"][target.side]["median"])
    spread = figure["speed"].get(target.side, {}).get(target.peer)
    return None if spread is None else float(spread["median"])


def wording(target: Target) -> tuple[str, str]:
    """What is promised and how much of it.

    >>> wording(Target("mlp", "step", 1.0, peer="torch"))
    ('mlp: speed of flownn beside torch', '≥ 1.00 x')
    >>> wording(Target("overhead", "a + b", 4e-6, "seconds"))
    ('overhead: a + b', '≤ 4.0 µs')
    """
    limit = f"{'≥' if target.kind == 'speed' else '≤'} {_amount(target, target.limit)}"
    if target.kind == "memory":
        return f"{target.part}: peak memory of {target.side} beside {target.peer}", limit
    if target.kind == "speed":
        return f"{target.part}: speed of {target.side} beside {target.peer}", limit
    return f"{target.part}: {target.figure}", limit


def _amount(target: Target, value: float) -> str:
    if target.kind == "seconds":
        return f"{1e6 * value:.1f} µs"
    if target.kind == "share":
        return f"{value:.1%}"
    return f"{value:.2f} {'cores' if target.kind == 'cores' else 'x'}"


def measured(verdict: Verdict) -> str:
    """The value as the limit is written; empty without one."""
    return "" if verdict.value is None else _amount(verdict.target, verdict.value)


def plain(verdict: Verdict) -> dict[str, Any]:
    """For JSON."""
    target = verdict.target
    return {
        "part": target.part,
        "figure": target.figure,
        "kind": target.kind,
        "side": target.side,
        "peer": target.peer or None,
        "limit": target.limit,
        "stretch": target.stretch,
        "value": verdict.value,
        "reached": verdict.reached,
    }
