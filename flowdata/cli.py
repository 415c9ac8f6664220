"""The arguments of the command ``flowdata``; what the subcommands do is in :mod:`flowdata.tools`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flowdata.errors import ConfigError, DataError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
SECONDS_BETWEEN_LINES = 5.0

# Subcommands import their module when they run: `flowdata --help` needs neither NumPy nor OpenCV to answer, and
# `flowdata doctor` runs where they are broken.


def _make_digits(args: argparse.Namespace) -> int:
    from flowdata.tools.make import make_digits

    info = make_digits(
        args.out,
        parts=args.parts,
        val_parts=args.val_parts,
        seed=args.seed,
        quality=args.quality,
        overwrite=args.overwrite,
    )
    counts = ", ".join(f"{split.records} {name} in {split.parts} parts" for name, split in info.splits.items())
    print(f"{args.out}: {counts}")
    return 0


def _make_photos(args: argparse.Namespace) -> int:
    from flowdata.tools.make import make_photos

    made = make_photos(args.out, count=args.count, seed=args.seed, overwrite=args.overwrite)
    print(f"{args.out}: {made.count} photographs, {made.mean_bytes / 1000:.1f} kB on average")
    return 0


def _make_shapes(args: argparse.Namespace) -> int:
    from flowdata.tools.shapes import make_shapes

    made = make_shapes(args.out, count=args.count, seed=args.seed, overwrite=args.overwrite)
    print(f"{args.out}: {made.images} images, {made.objects} objects, {made.crowds} crowds")
    return 0


def _convert_images(args: argparse.Namespace) -> int:
    from flowdata.tools.convert import convert_images

    with show_progress("converting") as progress:
        result = convert_images(
            args.src_dir,
            args.out_dir,
            parts=args.parts,
            val_fraction=args.val_fraction,
            val_parts=args.val_parts,
            seed=args.seed,
            workers=args.workers,
            quality=args.quality,
            overwrite=args.overwrite,
            progress=progress,
        )
    print(result.summary())
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from flowdata.tools.inspect import inspect
    from flowdata.tools.sheet import SheetPlan

    if args.sheet is None and (args.pictures or args.images):
        raise ConfigError("inspect: --pictures and --images are about the contact sheet; add --sheet PNG")
    sheet = SheetPlan(args.sheet, args.pictures or 24, args.images) if args.sheet else None
    inspect(args.path, records=args.records, sheet=sheet)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from flowdata.tools.doctor import doctor

    return doctor()


def _config_show(args: argparse.Namespace) -> int:
    import yaml

    from flowdata.config import interpolate, load_yaml, override

    config = override(load_yaml(args.config), args.overrides)
    if args.resolve:
        config = interpolate(config)
    print(yaml.safe_dump(config.tree, sort_keys=False, allow_unicode=True), end="")
    return 0


def _quickstart(args: argparse.Namespace) -> int:
    from flowdata.tools.quickstart import quickstart

    return quickstart(args.dir, run_dir=args.run_dir, ranks=args.ranks, seed=args.seed, overrides=args.overrides)


@contextmanager
def show_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr if that is a terminal, else a line now and then."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return

    last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= SECONDS_BETWEEN_LINES:
            last = now
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

    yield line


def _int_from(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected an integer >= {least}, got {value}")
        return value

    parse.__name__ = "integer"  # argparse names the type so when int() refuses the text
    return parse


def _quality(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected a JPEG quality from 1 to 100, got {value}")
    return value


def build_parser() -> argparse.ArgumentParser:
    """All subcommands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="flowdata",
        description="Make, convert, inspect and check image data sets in OFRecord files.",
    )
    # on the top level only: a subparser's default would overwrite what was given before the subcommand
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    make = commands.add_parser("make", help="write a data set of drawn shapes, or out of installed packages' pictures")
    kinds = make.add_subparsers(metavar="WHAT", required=True)
    digits = _command(kinds, "digits", _make_digits, "1797 scans of handwritten digits, as JPEG in OFRecords")
    digits.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    digits.add_argument("--parts", type=_int_from(1), default=4, help="part files of the training split (%(default)s)")
    digits.add_argument(
        "--val-parts", type=_int_from(1), default=2, help="part files of the validation split (%(default)s)"
    )
    digits.add_argument("--seed", type=_int_from(0), default=0, help="seed of the split and of the order (%(default)s)")
    digits.add_argument("--quality", type=_quality, default=95, help="JPEG quality (%(default)s)")
    _add_overwrite(digits)
    photos = _command(kinds, "photos", _make_photos, "photograph-like JPEG files, a folder per motif, for benchmarks")
    photos.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    photos.add_argument("--count", type=_int_from(1), default=500, help="number of files (%(default)s)")
    photos.add_argument("--seed", type=_int_from(0), default=0, help="seed of crops, warps and sizes (%(default)s)")
    _add_overwrite(photos)
    shapes = _command(kinds, "shapes", _make_shapes, "drawn scenes with COCO annotations: boxes, polygons, crowds")
    shapes.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    shapes.add_argument("--count", type=_int_from(1), default=200, help="number of images (%(default)s)")
    shapes.add_argument("--seed", type=_int_from(0), default=0, help="seed of every choice (%(default)s)")
    _add_overwrite(shapes)

    convert = commands.add_parser("convert", help="turn other data into OFRecords")
    kinds = convert.add_subparsers(metavar="WHAT", required=True)
    images = _command(kinds, "images", _convert_images, "a folder of images per class -> OFRecords and dataset.json")
    images.add_argument("src_dir", type=Path, metavar="SRC_DIR", help="directory with one folder per class")
    images.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="directory to write")
    images.add_argument("--parts", type=_int_from(1), default=8, help="part files of the training split (%(default)s)")
    images.add_argument(
        "--val-fraction",
        type=float,
        default=0.1,
        help="share of each class that becomes the validation split; 0 makes none (%(default)s)",
    )
    images.add_argument(
        "--val-parts",
        type=_int_from(1),
        default=None,
        help="part files of the validation split; by default as many as make parts of equal size",
    )
    images.add_argument("--seed", type=_int_from(0), default=0, help="seed of the split and of the order (%(default)s)")
    images.add_argument(
        "--workers",
        type=_int_from(1),
        default=None,
        help="threads that read and decode; by default one per usable processor",
    )
    images.add_argument(
        "--quality", type=_quality, default=95, help="JPEG quality of what must be re-encoded (%(default)s)"
    )
    _add_overwrite(images)

    inspect = _command(commands, "inspect", _inspect, "say what a data set holds, and show it")
    inspect.add_argument(
        "path", type=Path, metavar="PATH", help="data set, directory of part files, part file, or COCO annotation file"
    )
    inspect.add_argument("--records", type=_int_from(0), default=3, help="records to show in full (%(default)s)")
    inspect.add_argument("--sheet", type=Path, metavar="PNG", help="draw a contact sheet into this file")
    inspect.add_argument("--pictures", type=_int_from(1), help="pictures on the sheet (24)")
    inspect.add_argument(
        "--images", type=Path, metavar="DIR", help="where the images of a COCO file are, for the sheet"
    )

    _command(commands, "doctor", _doctor, "check this machine and say what to install")

    config = commands.add_parser("config", help="work with pipeline and recipe files")
    kinds = config.add_subparsers(metavar="WHAT", required=True)
    show = _command(kinds, "show", _config_show, "print a configuration with its overrides")
    show.add_argument("config", metavar="FILE_OR_NAME", help="a YAML file, or a shipped name such as train/digits")
    show.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings to change")
    show.add_argument("--resolve", action="store_true", help="also replace ${a.b} and ${env:X} by their values")

    start = _command(commands, "quickstart", _quickstart, "train a small network on handwritten digits on two ranks")
    start.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="more settings for the recipe")
    start.add_argument(
        "--dir", type=Path, default=Path("data/quickstart"), help="where the digits are or go (%(default)s)"
    )
    start.add_argument(
        "--run-dir", type=Path, default=None, help="where the run writes; by default a new directory in runs/quickstart"
    )
    start.add_argument("--ranks", type=_int_from(1), default=2, help="training processes (%(default)s)")
    start.add_argument("--seed", type=_int_from(0), default=0, help="seed of weights and augmentation (%(default)s)")
    return parser


def _command(
    group: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    purpose: str,
) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="write into a directory that is not empty")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: Arguments after the program's name; by default those of the process.

    Returns:
        0; 1 for bad data or a failed check; 2 for wrong arguments or configuration; 130 after Ctrl-C.
    """
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except DataError as error:
        if args.debug:
            raise
        print(f"flowdata: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader (`| head`) went away. Python flushes stdout once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:  # disk full, no permission: the system's words name the file
        if args.debug:
            raise
        print(f"flowdata: error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        if args.debug:
            raise
        return EXIT_INTERRUPTED
    return code
