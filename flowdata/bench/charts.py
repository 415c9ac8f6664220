"""The report's pictures, as SVG text that takes its colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH = 760
_LABEL = 272  # room for names on the left
_ROW = 34


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    title, body = escape(title), "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img"><title>{title}</title>\n{body}\n</svg>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _bar(x: float, y: float, width: float, height: float, kind: str, hint: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" rx="2" class="{kind}">'
        f"<title>{escape(hint)}</title></rect>"
    )


def ticks(most: float, count: int = 5) -> list[float]:
    """Round numbers from 0 to ``most``, about so many.

    >>> ticks(1618)
    [0.0, 500.0, 1000.0, 1500.0]
    """
    raw = most / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    return [step * k for k in range(int(most / step + 1e-9) + 1)]


def _axis(most: float, top: float, bottom: float, unit: str, right: float) -> list[str]:
    """Vertical grid lines with their values below, and the unit."""
    scale = (right - _LABEL) / most
    parts = []
    for value in ticks(most):
        x = _LABEL + value * scale
        parts += [_line(x, top, x, bottom, "grid"), _text(x, bottom + 16, f"{value:g}", "small", "middle")]
    parts.append(_text(right, bottom + 32, unit, "small", "end"))
    return parts


def rates(sides: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> str:
    """A bar per side, its spread, and a dot for every round (hollow where the machine was not quiet)."""
    most = max(side["images_per_second"]["largest"] for side in sides.values()) * 1.05
    right = WIDTH - 70.0
    scale = (right - _LABEL) / most
    bottom = 8.0 + _ROW * len(sides)
    parts = _axis(most, 4, bottom, "images/s", right)
    for row, (name, side) in enumerate(sides.items()):
        y = 8 + row * _ROW
        rate = side["images_per_second"]
        hint = f"{name}: {rate['median']:.0f} images/s, {rate['least']:.0f} to {rate['largest']:.0f}"
        kind = "ours" if name == "flowdata" else "limit" if name == "limit" else "peer"
        parts += [
            _text(_LABEL - 12, y + 17, "the limit" if name == "limit" else name, "name", "end"),
            _bar(_LABEL, y + 3, rate["median"] * scale, 20, kind, hint),
            _line(_LABEL + rate["least"] * scale, y + 13, _LABEL + rate["largest"] * scale, y + 13, "whisker"),
        ]
        for each in rounds:
            if name in each["sides"]:
                x = _LABEL + each["sides"][name]["images_per_second"] * scale
                parts.append(
                    f'<circle cx="{x:.1f}" cy="{y + 13}" r="3" class="{"dot" if each["quiet"] else "noisy"}"/>'
                )
        parts.append(_text(_LABEL + rate["largest"] * scale + 9, y + 17, f"{rate['median']:.0f}", "value"))
    return _svg(bottom + 36, "Images per second of every side", parts)


def waterfall(steps: Sequence[Mapping[str, Any]], hand_over_us: float, limit_ms: float | None) -> str:
    """Where a worker's time for an image goes, one step after the other, computing and waiting apart."""
    rows = [(each["name"], each["cpu_us"], each["wait_us"]) for each in steps]
    rows.append(("hand-over, batch, plan", hand_over_us, 0.0))
    total = sum(cpu + wait for _, cpu, wait in rows)
    most = max(total, 1e3 * (limit_ms or 0.0)) / 1e3 * 1.02
    right = WIDTH - 120.0
    scale = (right - _LABEL) / most / 1e3
    row_height = 26
    bottom = 22.0 + row_height * len(rows)
    parts = _axis(most, 18, bottom, "ms per image, cumulative", right)
    at = float(_LABEL)
    for row, (name, cpu, wait) in enumerate(rows):
        y = 22 + row * row_height
        share = (cpu + wait) / total
        short = name if len(name) <= 34 else "…" + name[-33:]  # of a function's name, the end says more
        parts += [
            _text(_LABEL - 12, y + 15, short, "name", "end"),
            _bar(at, y + 3, cpu * scale, 16, "peer" if row == len(rows) - 1 else "ours", f"{name}: {cpu:.0f} µs CPU"),
        ]
        if wait:
            parts.append(_bar(at + cpu * scale, y + 3, wait * scale, 16, "wait", f"{name}: {wait:.0f} µs waiting"))
        end = at + (cpu + wait) * scale
        parts.append(_text(end + 8, y + 15, f"{cpu + wait:.0f} µs  {share:.0%}", "value"))
        if row < len(rows) - 1:
            parts.append(_line(end, y + 19, end, y + row_height + 3, "joint"))
        at = end
    if limit_ms is not None:
        x = _LABEL + 1e3 * limit_ms * scale
        parts += [_line(x, 16, x, bottom, "limit-line"), _text(x, 11, f"limit {limit_ms:.2f} ms", "small", "middle")]
    return _svg(bottom + 36, "Where the time for an image goes", parts)


def scaling(points: Sequence[Mapping[str, Any]], cpu_rate: float, limit: float | None) -> str:
    """Images per second over the number of workers, beside proportional growth up to what the processors allow."""
    left, right, top, bottom = 70.0, WIDTH - 90.0, 16.0, 270.0
    most_workers = max(each["workers"] for each in points)
    one = points[0]["images_per_second"] / points[0]["workers"]
    most = max(max(each["images_per_second"] for each in points), limit or 0.0, min(one * most_workers, cpu_rate)) * 1.1

    def at(workers: float, rate: float) -> tuple[float, float]:
        return left + workers / most_workers * (right - left), bottom - rate / most * (bottom - top)

    parts = []
    for value in ticks(most):
        _, y = at(0, value)
        parts += [_line(left, y, right, y, "grid"), _text(left - 8, y + 4, f"{value:g}", "small", "end")]
    for each in points:
        x, _ = at(each["workers"], 0)
        parts.append(_text(x, bottom + 18, str(each["workers"]), "small", "middle"))
    parts += [_text(right, bottom + 36, "workers", "small", "end"), _text(left, 10, "images/s", "small", "end")]
    knee = min(most_workers, cpu_rate / one)
    ideal = [at(0, 0), at(knee, one * knee), at(most_workers, one * knee)]
    parts.append(f'<polyline points="{_points(ideal)}" class="ideal"/>')
    x, y = ideal[-1]
    parts.append(_text(x + 8, y - 4, "proportional", "small"))
    if limit is not None:
        x, y = at(most_workers, limit)
        parts += [_line(left, y, right, y, "limit-line"), _text(x + 8, y + 12, "limit", "small")]
    curve = [at(each["workers"], each["images_per_second"]) for each in points]
    parts.append(f'<polyline points="{_points(curve)}" class="curve"/>')
    for (x, y), each in zip(curve, points, strict=True):
        hint = (
            f"{each['workers']} workers: {each['images_per_second']:.0f} images/s, efficiency {each['efficiency']:.0%}"
        )
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="ours"><title>{escape(hint)}</title></circle>')
        parts.append(_text(x + 7, y + 18, f"{each['images_per_second']:.0f}", "value"))
    return _svg(bottom + 42, "Images per second over the number of workers", parts)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
