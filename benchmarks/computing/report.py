"""The result as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.computing.sizes import COMPILED, OURS
from benchmarks.computing.targets import Verdict, measured, plain, wording

Spread = Mapping[str, float]


def duration(seconds: float) -> str:
    """A time with three digits and its unit.

    >>> duration(0.5712), duration(0.0116), duration(1.96e-6)
    ('571 ms', '11.6 ms', '1.96 µs')
    """
    factor, unit = next((each for each in ((1.0, "s"), (1e3, "ms")) if seconds * each[0] >= 1), (1e6, "µs"))
    value = seconds * factor
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def between(spread: Spread) -> str:
    """Least and largest.

    >>> between({"least": 0.0109, "median": 0.0116, "largest": 0.0123})
    '10.9 ms – 12.3 ms'
    """
    return f"{duration(spread['least'])} – {duration(spread['largest'])}"


def table_of(part: Mapping[str, Any]) -> Table:
    """The part's figures: a row per side where there is one figure, else a row per figure."""
    return _by_side(part) if len(part["figures"]) == 1 else _by_figure(part)


def new_table(first: str = "") -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    return table


def console() -> Console:
    """Where tables are printed; into a file or a pipe as wide as they like."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=150)


def _by_side(part: Mapping[str, Any]) -> Table:
    (figure,) = part["figures"].values()
    unit, count = part["samples"] or ("calls", 1)
    table = new_table()
    for head in ("a step", "spread", f"{unit}/s", "cores", "flownn is", "peak MiB", "of it"):
        table.add_column(head, justify="right", no_wrap=True)
    for side, seconds in figure["seconds"].items():
        speed = figure["speed"][OURS].get(side)
        peak, ours = part["peak_bytes"].get(side), part["peak_bytes"].get(OURS)
        table.add_row(
            side,
            duration(seconds["median"]),
            between(seconds),
            f"{count / seconds['median']:.{0 if count / seconds['median'] > 1000 else 1}f}",
            f"{figure['cores'][side]['median']:.2f}",
            f"{speed['median']:.2f} x" if speed else "",
            f"{peak / 2**20:.0f}" if peak else "",
            f"{ours / peak:.2f} x" if peak and ours and side != OURS else "",
            style="bold" if side == OURS else "",
        )
    return table


def _by_figure(part: Mapping[str, Any]) -> Table:
    sides = [side for side in part["sides"] if side != COMPILED]
    peers = [side for side in sides if side != OURS]
    table = new_table()
    for side in sides:
        table.add_column(side, justify="right", style="bold" if side == OURS else "")
    for peer in peers:
        table.add_column(f"vs {peer}", justify="right")
    for label, figure in part["figures"].items():
        seconds, speed = figure["seconds"], figure["speed"][OURS]
        table.add_row(
            label,
            *(f"{duration(seconds[side]['median'])} {_stray(seconds[side])}" for side in sides),
            *(f"{speed[peer]['median']:.2f}" for peer in peers),
        )
    return table


def _stray(spread: Spread) -> str:
    """How far rounds stray from their median, in per cent."""
    most = max(spread["largest"] - spread["median"], spread["median"] - spread["least"])
    return f"[dim]±{most / spread['median']:.0%}[/]"


def notes(part: Mapping[str, Any], max_other_cpu: float) -> list[str]:
    """What a reader has to know beside the table."""
    lines = [f"{OURS} computes with {part['sides'][OURS]['kernels']}"]
    lines += [f"{side}: left out: {why}" for side, why in part["skipped"].items()]
    if check := part["check"]:
        if check["equal"]:
            others = len(check["losses"]) - 1
            if others:
                lines.append(
                    f"the same work: {check['parameters'][OURS]:,} parameters, and with equal weights loss "
                    f"{check['losses'][OURS]:.5f} on all sides (to {check['tolerance']:g})"
                )
        else:
            lines.append(f"[bold red]NOT THE SAME WORK[/]: parameters {check['parameters']}, losses {check['losses']}")
    return lines + disturbances(list(part["figures"].values()), max_other_cpu)


def disturbances(figures: Sequence[Mapping[str, Any]], max_other_cpu: float) -> list[str]:
    """How often other processes were in the way."""
    lines = []
    repeated = sum(figure["repeated"] for figure in figures)
    disturbed = sum(figure["disturbed"] for figure in figures)
    if repeated:
        lines.append(f"{repeated} rounds were measured again: other processes took more than {max_other_cpu:.0%}")
    if disturbed:
        count = sum(len(figure["others_cpu"]) for figure in figures)
        lines.append(
            f"[yellow]in {disturbed} of {count} rounds other processes took more than {max_other_cpu:.0%} of the "
            "processors[/]"
        )
    return lines


def verdicts(rows: Sequence[Verdict], quick: bool) -> Table:
    """Every target, what was measured and whether that reaches it."""
    table = new_table("targets" + (" (no verdict: --quick has other sizes)" if quick else ""))
    table.add_column("limit", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("")
    for row in rows:
        what, limit = wording(row.target)
        table.add_row(what, limit, measured(row) or "-", "" if quick else mark(row))
    return table


def plain_verdicts(rows: Sequence[Verdict], quick: bool) -> list[dict[str, Any]]:
    """For JSON; in the quick form nothing is reached or missed."""
    return [plain(row) | ({"reached": None} if quick else {}) for row in rows]


def mark(verdict: Verdict) -> str:
    """The verdict in a word or two."""
    if verdict.reached is None:
        return "[dim]not measured[/]"
    if not verdict.reached:
        return "[bold red]✗ missed[/]"
    return f"[green]✓ reached{f', also the stretch {verdict.target.stretch:g} x' if verdict.stretched else ''}[/]"
