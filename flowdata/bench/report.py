"""The result as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from flowdata.bench import charts

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --ink: #1c2024; --soft: #60656c; --line: #e2e4e8;
  --ours: #1f6feb; --peer: #b3bac4; --wait: #e0952f; --good: #1a7f4b; --bad: #c0362c; --code: #f1f3f5; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --card: #1b1f24; --ink: #e8eaed; --soft: #9aa1aa;
  --line: #2f353c; --ours: #5b9dff; --peer: #59616b; --wait: #d99a45; --good: #57c98a; --bad: #ff8277;
  --code: #262b31; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 860px; margin: 0 auto; padding: 36px 20px 60px }
h1 { font-size: 15px; font-weight: 600; color: var(--soft); margin: 0 0 4px }
h2 { font-size: 17px; margin: 0 0 4px }
p { margin: 0 0 12px }
.headline { font-size: 40px; line-height: 1.15; font-weight: 650; letter-spacing: -0.02em; margin: 0 }
.headline small { font-size: 18px; font-weight: 400; letter-spacing: 0; color: var(--soft) }
.chips { display: flex; flex-wrap: wrap; gap: 8px; margin: 14px 0 24px; padding: 0; list-style: none }
.chips li { border: 1px solid var(--line); background: var(--card); border-radius: 999px; padding: 3px 12px }
.chips .good { color: var(--good) } .chips .bad { color: var(--bad); border-color: var(--bad) }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin: 0 0 18px; overflow-x: auto }
.note { color: var(--soft); font-size: 13.5px }
pre { background: var(--code); border-radius: 6px; padding: 8px 12px; margin: 0 0 12px; font-size: 14px }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 500; color: var(--soft) }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top }
tr:last-child td { border-bottom: 0 }
td.number, th.number { text-align: right; white-space: nowrap }
svg { width: 100%; height: auto; display: block; min-width: 560px; font: 13px system-ui, sans-serif }
svg text { fill: var(--ink) } svg .small { fill: var(--soft); font-size: 12px }
svg .value { font-variant-numeric: tabular-nums; paint-order: stroke; stroke: var(--card); stroke-width: 4px }
.ours { fill: var(--ours) } .peer { fill: var(--peer) } .wait { fill: var(--wait) }
.limit { fill: none; stroke: var(--soft); stroke-dasharray: 4 3 }
.grid { stroke: var(--line) } .whisker { stroke: var(--ink) } .joint { stroke: var(--soft); stroke-dasharray: 2 2 }
.dot { fill: var(--ink); stroke: var(--card) } .noisy { fill: var(--card); stroke: var(--ink) }
.ideal { fill: none; stroke: var(--peer); stroke-width: 2 }
.curve { fill: none; stroke: var(--ours); stroke-width: 2.5 }
.limit-line { stroke: var(--soft); stroke-dasharray: 4 3 }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 5px 0 12px }
"""


def html(result: Mapping[str, Any]) -> str:
    """The page about a result of :func:`flowdata.bench.run.bench`."""
    name = result.get("config", "pipeline")
    ours = result["sides"]["flowdata"]["images_per_second"]
    parts = [
        f"<h1>flowdata bench {_text(name)}</h1>",
        f'<p class="headline">{ours["median"]:.0f} images/s <small>{ours["least"]:.0f} to {ours["largest"]:.0f} over '
        f"{len(result['rounds'])} rounds</small></p>",
        _chips(result),
        _verdict(result),
        _sides(result),
        _waterfall(result),
        _groups(result),
        _scaling(result),
        _conditions(result),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>flowdata bench {_text(name)}</title><style>{_STYLE}</style></head>\n<body><main>\n{body}\n"
        "</main></body></html>\n"
    )


def _text(value: object) -> str:
    return escape(str(value))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{_text(title)}</h2>\n" + "\n".join(parts) + "</section>"


def _chips(result: Mapping[str, Any]) -> str:
    chips = []
    for name, ratio in result["ratios"].items():
        label = f"{ratio['median']:.2f} of the limit" if name == "limit" else f"{ratio['median']:.2f} × {name}"
        chips.append(("", label))
    for name, ratio in result["memory_ratios"].items():
        ahead = [result["sides"][each]["batches_ahead"] for each in ("flowdata", name)]
        if ratio:
            chips.append(
                ("", f"{ratio['median']:.2f} × the memory of {name} ({ahead[0]} and {ahead[1]} batches ahead)")
            )
    if result["valid"]:
        chips.append(("good", f"equal bytes for {', '.join(result['digests'])} workers"))
    else:
        chips.append(("bad", "INVALID: the bytes depend on the number of workers"))
    if disturbed := result["rounds_disturbed"]:
        chips.append(("bad", f"{disturbed} of {len(result['rounds'])} rounds disturbed by other processes"))
    return '<ul class="chips">' + "".join(f'<li class="{kind}">{_text(text)}</li>' for kind, text in chips) + "</ul>"


def _verdict(result: Mapping[str, Any]) -> str:
    verdict = result["verdict"]
    text = re.sub("`(.*?)`", r"<code>\1</code>", _text(verdict["text"]))
    parts = [f"<p>{text}.</p>"]
    if verdict["yaml"]:
        parts.append(f"<pre>{_text(verdict['yaml'])}</pre>")
    if verdict["gain"] > 1:
        parts.append(
            f'<p class="note">{verdict["images_per_second"]:.0f} images/s measured, '
            f"{verdict['predicted_images_per_second']:.0f} predicted.</p>"
        )
    return _section("Verdict", *parts)


def _sides(result: Mapping[str, Any]) -> str:
    rows = []
    for name, side in result["sides"].items():
        ratio = result["ratios"].get(name)
        rows.append([
            name,
            _spread(side["images_per_second"], 0),
            _spread(side["cpu_ms_per_image"], 2),
            f"{side['pss_mib']['median']:.0f}" if side["pss_mib"] else "",
            f"{side['first_batch_s']['median']:.2f}" if side["first_batch_s"] else "",
            _spread(ratio, 2) if ratio else "",
        ])  # fmt: skip
    head = ["", "images/s", "CPU ms per image", "memory MiB", "first batch s", "flowdata / it"]
    does = [[name, side["does"]] for name, side in result["sides"].items()]
    does += [[name, f"skipped: {why}"] for name, why in result["skipped"].items()]
    return _section(
        "Images per second",
        f'<p class="note">{_text(result["pipeline"]["does"])}; batches of {result["pipeline"]["batch_size"]}, '
        f"{result['pipeline']['records']} records. Bars are medians, dots are rounds"
        f"{' (hollow: disturbed)' if result['rounds_disturbed'] else ''}.</p>",
        charts.rates(result["sides"], result["rounds"]),
        _table(head, rows),
        '<p class="note"></p>',
        _table(["side", "what it does"], does, numbers=False),
    )


def _waterfall(result: Mapping[str, Any]) -> str:
    limit = result["sides"].get("limit")
    return _section(
        "Where the time for an image goes",
        '<p class="note">Of one worker, one image after the other:'
        '<span class="key" style="background:var(--ours)"></span>computing'
        '<span class="key" style="background:var(--wait)"></span>waiting'
        '<span class="key" style="background:var(--peer)"></span>around the stages</p>',
        charts.waterfall(
            result["steps"],
            result["verdict"]["hand_over_us"],
            limit["cpu_ms_per_image"]["median"] if limit else None,
        ),
    )


def _groups(result: Mapping[str, Any]) -> str:
    rows = [
        [
            " ".join(each["steps"]),
            f"{each['workers']:.0f}",
            *(f"{each[name] / 1e3:.2f}" for name in ("p50_us", "p95_us", "p99_us")),
            *(f"{each[share]:.0%}" for share in ("busy", "input", "output")),
        ]
        for each in result["groups"]
    ]
    head = ["group", "workers", "p50 ms", "p95 ms", "p99 ms", "busy", "waits for input", "waits for output"]
    return _section(
        "Groups of stages",
        '<p class="note">Service time of a sample, and what the workers did with their time, while measured.</p>',
        _table(head, rows),
    )


def _scaling(result: Mapping[str, Any]) -> str:
    limit = result["sides"].get("limit")
    points = result["scaling"]
    rows = [
        [
            str(each["workers"]),
            f"{each['images_per_second']:.0f}",
            f"{each['efficiency']:.0%}",
            f"{each['others_cpu']:.0%}",
        ]
        for each in points
    ]
    usable = result["environment"]["usable_cpus"]
    cpu_us = result["verdict"]["cpu_us_per_image"]
    cpu_rate = 1e6 * usable / cpu_us if cpu_us else math.inf
    allow = f"; they allow {cpu_rate:.0f} images/s" if cpu_us else ""
    return _section(
        "Workers",
        f'<p class="note">{usable:g} processors may be used{allow}.</p>',
        charts.scaling(points, cpu_rate, limit["images_per_second"]["median"] if limit else None),
        _table(["workers", "images/s", "efficiency", "CPU of other processes"], rows),
    )


def _conditions(result: Mapping[str, Any]) -> str:
    environment = dict(result["environment"])
    environment |= environment.pop("packages")
    for side in result["sides"].values():
        environment |= side["versions"]
    timing = result["timing"]
    environment["rounds"] = (
        f"{timing['rounds']} interleaved, {timing['seconds']:g} s a side; {result['rounds_repeated']} repeated, "
        f"{result['rounds_disturbed']} counted although disturbed (others over {result['max_other_cpu']:.0%} CPU)"
    )
    if timing["step_s"]:
        environment["consumer"] = f"does nothing for {1e3 * timing['step_s']:g} ms after each batch"
    settings = {
        key: result["pipeline"][key] for key in ("executor", "workers", "prefetch_batches", "samples_per_message")
    }
    settings["overrides"] = " ".join(result.get("overrides", []))
    rows = [
        [key.replace("_", " "), str(value)]
        for key, value in (environment | settings).items()
        if value not in (None, "")
    ]
    return _section("Measured on", _table(["", ""], rows, numbers=False))


def _spread(values: Mapping[str, float] | None, digits: int) -> str:
    if values is None:
        return ""
    return f"{values['median']:.{digits}f} ({values['least']:.{digits}f} – {values['largest']:.{digits}f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = True) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = ["" if column == 0 or not numbers else ' class="number"' for column in range(len(row))]
        return "".join(f"<{tag}{kind}>{_text(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    top = f"<tr>{cells('th', head)}</tr>" if any(head) else ""
    return f"<table>{top}" + "".join(f"<tr>{cells('td', row)}</tr>" for row in rows) + "</table>"
