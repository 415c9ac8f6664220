"""The arguments of the command ``flowdata``; what the subcommands do is in :mod:`flowdata.tools`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flowdata.bench import command as bench
from flowdata.command_line import (
    add_allow_imports,
    add_command,
    add_overwrite,
    int_from,
    quality,
    show_progress,
    tolerance,
)
from flowdata.errors import ConfigError, DataError
from flowdata.tools import convert_command

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

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


def _inspect(args: argparse.Namespace) -> int:
    from flowdata.tools.inspect import inspect
    from flowdata.tools.sheet import SheetPlan

    if args.sheet is None and (args.pictures or args.images):
        raise ConfigError("inspect: --pictures and --images are about the contact sheet; add --sheet PNG")
    sheet = SheetPlan(args.sheet, args.pictures or 24, args.images) if args.sheet else None
    inspect(args.path, records=args.records, sheet=sheet)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from flowdata.tools.verify import verify

    with show_progress("verifying") as progress:
        result = verify(
            args.path, decode_images=args.decode, feature=args.feature, workers=args.workers, progress=progress
        )
    if args.json:
        print(result.as_json())
    else:
        for problem in result.problems:
            print(problem)
        print(result.summary())
    return EXIT_FAILED if result.problems else 0


def _doctor(args: argparse.Namespace) -> int:
    from flowdata.tools.doctor import doctor

    return doctor()


def _config_show(args: argparse.Namespace) -> int:
    from flowdata.config import interpolate, load_yaml, override
    from flowdata.yaml_reader import dump_yaml

    if args.allow_imports and not args.resolve:
        raise ConfigError("--allow-imports goes with --resolve: without it nothing is imported")
    config = override(load_yaml(args.config), args.overrides)
    tree = config.tree
    if args.resolve:
        from flowdata.resolve import resolve

        _allow_imports(args)
        tree = resolve(interpolate(config), allow_imports=args.allow_imports)
    print(dump_yaml(tree), end="")
    return 0


def _config_schema(args: argparse.Namespace) -> int:
    if args.kind == "recipe":  # in a process of its own: nothing here knows the trainer
        import subprocess

        return subprocess.run([sys.executable, "-m", "flowrun.recipe.schema", *args.imports], check=False).returncode

    import importlib
    import json

    from flowdata.schema import pipeline_schema
    from flowdata.user_code import look_here

    look_here()
    for name in args.imports:
        importlib.import_module(name)
    print(json.dumps(pipeline_schema(), indent=2))
    return 0


def _allow_imports(args: argparse.Namespace) -> None:
    """Where code of the user's own is allowed, it may lie in the current directory."""
    if args.allow_imports:
        from flowdata.user_code import look_here

        look_here()


def _diff(args: argparse.Namespace) -> int:
    from flowdata.pipeline_config import load_pipeline
    from flowdata.tools.diff import diff

    _allow_imports(args)
    left, right = (load_pipeline(each, allow_imports=args.allow_imports) for each in (args.first, args.second))
    return diff(left, right, args.images, count=args.count, tolerance=args.tolerance, out=args.out)


def _quickstart(args: argparse.Namespace) -> int:
    from flowdata.tools.quickstart import quickstart

    return quickstart(args.dir, run_dir=args.run_dir, ranks=args.ranks, seed=args.seed, overrides=args.overrides)


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
    digits = add_command(kinds, "digits", _make_digits, "1797 scans of handwritten digits, as JPEG in OFRecords")
    digits.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    digits.add_argument("--parts", type=int_from(1), default=4, help="part files of the training split (%(default)s)")
    digits.add_argument(
        "--val-parts", type=int_from(1), default=2, help="part files of the validation split (%(default)s)"
    )
    digits.add_argument("--seed", type=int_from(0), default=0, help="seed of the split and of the order (%(default)s)")
    digits.add_argument("--quality", type=quality, default=95, help="JPEG quality (%(default)s)")
    add_overwrite(digits)
    photos = add_command(
        kinds, "photos", _make_photos, "photograph-like JPEG files, a folder per motif, for benchmarks"
    )
    photos.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    photos.add_argument("--count", type=int_from(1), default=500, help="number of files (%(default)s)")
    photos.add_argument("--seed", type=int_from(0), default=0, help="seed of crops, warps and sizes (%(default)s)")
    add_overwrite(photos)
    shapes = add_command(kinds, "shapes", _make_shapes, "drawn scenes with COCO annotations: boxes, polygons, crowds")
    shapes.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    shapes.add_argument("--count", type=int_from(1), default=200, help="number of images (%(default)s)")
    shapes.add_argument("--seed", type=int_from(0), default=0, help="seed of every choice (%(default)s)")
    add_overwrite(shapes)

    convert_command.add_to(commands)

    inspect = add_command(commands, "inspect", _inspect, "say what a data set holds, and show it")
    inspect.add_argument(
        "path", type=Path, metavar="PATH", help="data set, directory of part files, part file, or COCO annotation file"
    )
    inspect.add_argument("--records", type=int_from(0), default=3, help="records to show in full (%(default)s)")
    inspect.add_argument("--sheet", type=Path, metavar="PNG", help="draw a contact sheet into this file")
    inspect.add_argument("--pictures", type=int_from(1), help="pictures on the sheet (24)")
    inspect.add_argument(
        "--images", type=Path, metavar="DIR", help="where the images of a COCO file are, for the sheet"
    )

    verify = add_command(commands, "verify", _verify, "check all records of a data set and name the bad ones")
    verify.add_argument("path", type=Path, metavar="PATH", help="data set, directory of part files, or part file")
    verify.add_argument("--decode", action="store_true", help="also decode every image")
    verify.add_argument("--feature", default="encoded", help="feature that holds the image (%(default)s)")
    verify.add_argument(
        "--workers", type=int_from(1), default=None, help="threads; by default one per usable processor"
    )
    verify.add_argument("--json", action="store_true", help="print everything as one JSON object")

    add_command(commands, "doctor", _doctor, "check this machine and say what to install")

    config = commands.add_parser("config", help="work with pipeline and recipe files")
    kinds = config.add_subparsers(metavar="WHAT", required=True)
    show = add_command(kinds, "show", _config_show, "print a configuration with its overrides")
    show.add_argument("config", metavar="FILE_OR_NAME", help="a YAML file, or a shipped name such as train/digits")
    show.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings to change")
    show.add_argument(
        "--resolve", action="store_true", help="also replace ${a.b} and ${env:X} by their values, and fill in defaults"
    )
    add_allow_imports(show)
    schema = add_command(kinds, "schema", _config_schema, "print a JSON Schema of pipelines or recipes, for editors")
    schema.add_argument(
        "kind", nargs="?", choices=("pipeline", "recipe"), default="pipeline", help="of which files (%(default)s)"
    )
    schema.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="also with the stages of a module",
    )

    compare = add_command(
        commands, "diff", _diff, "run two pipelines on the same pictures and show where pixels differ"
    )
    compare.add_argument("first", metavar="FILE_OR_NAME", help="a pipeline")
    compare.add_argument("second", metavar="FILE_OR_NAME", help="another")
    compare.add_argument("--images", type=Path, required=True, metavar="DIR", help="directory of pictures")
    compare.add_argument("--count", type=int_from(1), default=16, help="pictures to take, by path (%(default)s)")
    compare.add_argument(
        "--tolerance", type=tolerance, default=0.0, help="largest difference that counts as none (%(default)s)"
    )
    compare.add_argument("--out", type=Path, default=None, metavar="PNG", help="draw the worst samples into this file")
    add_allow_imports(compare)

    measure = add_command(
        commands, "bench", bench.run, "measure a pipeline, its peers and its limit, and say what binds"
    )
    bench.add_arguments(measure, int_from(1))

    start = add_command(commands, "quickstart", _quickstart, "train a small network on handwritten digits on two ranks")
    start.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="more settings for the recipe")
    start.add_argument(
        "--dir", type=Path, default=Path("data/quickstart"), help="where the digits are or go (%(default)s)"
    )
    start.add_argument(
        "--run-dir", type=Path, default=None, help="where the run writes; by default a new directory in runs/quickstart"
    )
    start.add_argument("--ranks", type=int_from(1), default=2, help="training processes (%(default)s)")
    start.add_argument("--seed", type=int_from(0), default=0, help="seed of weights and augmentation (%(default)s)")
    return parser


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
