"""The arguments of ``flowdata bench`` and what it prints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

EXIT_INVALID = 1


def add_arguments(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """The command line; ``count`` parses a number of at least 1."""
    parser.add_argument("config", metavar="CONFIG", help="a pipeline file, or a shipped name such as bench/preprocess")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of the pipeline to change")
    parser.add_argument(
        "--against", type=_names, default=(), metavar="PEER,…", help="peers to run beside it: dali, torch, spdl"
    )
    parser.add_argument("--workers", type=count, help="worker processes of every side; by default the file's")
    parser.add_argument(
        "--prefetch", type=count, metavar="N", help="batches that every side prepares ahead; by default as each would"
    )
    parser.add_argument("--rounds", type=count, default=7, help="interleaved rounds that count (%(default)s)")
    parser.add_argument(
        "--seconds", type=_positive, default=2.0,
        help="length of a timed stretch (%(default)s), after a warm-up of half of it, at most 1 s",
    )  # fmt: skip
    parser.add_argument("--records", type=count, help="use the first records only; 2000 with --against, else all")
    parser.add_argument(
        "--step-ms", type=_positive, default=0.0, metavar="MS", help="time per batch that the consumer needs elsewhere"
    )
    parser.add_argument(
        "--max-repeats", type=count, metavar="N", help="disturbed rounds to measure again; by default two per round"
    )
    parser.add_argument(
        "--peer-python",
        type=_assignment,
        action="append",
        default=[],
        metavar="PEER=PYTHON",
        help="interpreter of another environment, which has that peer",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for all figures")
    parser.add_argument("--report", type=Path, metavar="FILE", help="file for an HTML page with pictures")
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="file (.json.gz) for a Perfetto trace of the workers"
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, text.split(","))))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _assignment(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"expected PEER=PYTHON, got {text!r}")
    return name, path


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write the files that were asked for."""
    from flowdata.bench import report
    from flowdata.bench.harness import Timing
    from flowdata.bench.run import Options, bench
    from flowdata.pipeline_config import load_pipeline

    overrides = list(args.overrides)
    if args.workers is not None:
        overrides += ["executor=process", f"workers={args.workers}"]
    if args.prefetch is not None:
        overrides.append(f"prefetch_batches={args.prefetch}")
    options = Options(
        against=args.against,
        rounds=args.rounds,
        timing=Timing(seconds=args.seconds, warmup_s=min(1.0, args.seconds / 2), step_s=args.step_ms / 1e3),
        max_repeats=args.max_repeats,
        records=args.records,
        peer_python=dict(args.peer_python),
        prefetch=args.prefetch,
        trace=args.trace,
    )
    result = bench(load_pipeline(args.config, overrides), options, lambda text: print(text, flush=True))
    result["config"], result["overrides"] = args.config, overrides
    print("\n" + "\n".join(summary(result)))
    if args.json:
        _write(args.json, json.dumps(result, indent=1) + "\n")
    if args.report:
        _write(args.report, report.html(result))
    return 0 if result["valid"] else EXIT_INVALID


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def summary(result: dict[str, Any]) -> list[str]:
    """The result in lines for a terminal."""
    lines = []
    for name, side in result["sides"].items():
        rate = side["images_per_second"]
        figures = [f"{rate['median']:7.0f} images/s ({rate['least']:.0f} to {rate['largest']:.0f})",
                   f"{side['cpu_ms_per_image']['median']:.2f} CPU ms/image"]  # fmt: skip
        if side["pss_mib"]:
            figures.append(f"{side['pss_mib']['median']:.0f} MiB")
        if side["first_batch_s"]:
            figures.append(f"first batch {side['first_batch_s']['median']:.2f} s")
        lines.append(f"{name:9} {', '.join(figures)}")
        lines.append(f"{'':9} {side['does']}")
    lines += group_lines(result["groups"])
    for name, ratio in result["ratios"].items():
        text = f"{ratio['median']:.2f} of the limit" if name == "limit" else f"{ratio['median']:.2f} times {name}"
        lines.append(f"flowdata: {text} ({ratio['least']:.2f} to {ratio['largest']:.2f} over {len(result['rounds'])} "
                     f"rounds)")  # fmt: skip
    for name, ratio in result["memory_ratios"].items():
        if ratio:
            ours, its = (result["sides"][each]["batches_ahead"] for each in ("flowdata", name))
            lines.append(f"flowdata: {ratio['median']:.2f} times the memory of {name} ({ratio['least']:.2f} to "
                         f"{ratio['largest']:.2f}), with {ours} batches ahead, {name} with {its}")  # fmt: skip
    lines += [f"{name}: skipped: {why}" for name, why in result["skipped"].items()]
    if disturbed := result["rounds_disturbed"]:
        lines.append(f"warning: in {disturbed} of {len(result['rounds'])} rounds other processes took more than "
                     f"{result['max_other_cpu']:.0%} of the processors")  # fmt: skip
    if result["valid"]:
        lines.append(f"bytes: equal for {', '.join(result['digests'])} workers")
    else:
        different = ", ".join(f"{name}: {digest[:12]}" for name, digest in result["digests"].items())
        lines.append(f"INVALID: the delivered bytes depend on the number of workers ({different})")
    lines.append(f"verdict: {result['verdict']['text']}")
    return lines


def group_lines(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of the groups of stages: who has how many workers, how long a sample takes, what they wait for."""
    rows = [
        (
            f"{each['workers']:.0f}",
            *(f"{each[name] / 1e3:.2f}" for name in ("p50_us", "p95_us", "p99_us")),
            *(f"{each[share]:.0%}" for share in ("busy", "input", "output")),
            " ".join(each["steps"]),
        )
        for each in groups
    ]
    head = ("workers", "p50 ms", "p95 ms", "p99 ms", "busy", "waits in", "waits out", "group")
    return [
        "  ".join(f"{cell:>{len(title)}}" for cell, title in zip(row[:-1], head, strict=False)) + f"  {row[-1]}"
        for row in (head, *rows)
    ]
