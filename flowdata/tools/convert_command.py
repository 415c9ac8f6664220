"""The arguments of ``flowdata convert``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flowdata.command_line import add_command, add_overwrite, int_from, quality, show_progress

if TYPE_CHECKING:
    from flowdata.tools.pictures import ImageOptions


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``convert`` and its kinds to the subcommands."""
    convert = commands.add_parser("convert", help="turn other data into OFRecords")
    kinds = convert.add_subparsers(metavar="WHAT", required=True)
    images = add_command(kinds, "images", _convert_images, "a folder of images per class -> OFRecords and dataset.json")
    images.add_argument("src_dir", type=Path, metavar="SRC_DIR", help="directory with one folder per class")
    images.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="directory to write")
    images.add_argument("--parts", type=int_from(1), default=8, help="part files of the training split (%(default)s)")
    images.add_argument(
        "--val-fraction",
        type=float,
        default=0.1,
        help="share of each class that becomes the validation split; 0 makes none (%(default)s)",
    )
    images.add_argument(
        "--val-parts",
        type=int_from(1),
        default=None,
        help="part files of the validation split; by default as many as make parts of equal size",
    )
    images.add_argument("--seed", type=int_from(0), default=0, help="seed of the split and of the order (%(default)s)")
    _add_image_options(images)
    _add_writing(images)
    _add_other_converters(kinds)


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
            options=_image_options(args),
            digests=args.digests,
            overwrite=args.overwrite,
            progress=progress,
        )
    print(result.summary())
    return 0


def _convert_coco(args: argparse.Namespace) -> int:
    from flowdata.tools.convert_coco import convert_coco

    with show_progress("converting") as progress:
        result = convert_coco(
            args.annotations,
            args.images,
            args.out_dir,
            split=args.split,
            parts=args.parts,
            keep_unannotated=args.keep_unannotated,
            quality=args.quality,
            short_side=args.short_side,
            row_restarts=args.row_restarts,
            workers=args.workers,
            digests=args.digests,
            overwrite=args.overwrite,
            progress=progress,
        )
    print(result.summary())
    return 0


def _convert_tfrecord(args: argparse.Namespace) -> int:
    from flowdata.tools.convert_tfrecord import convert_tfrecord
    from flowdata.tools.pictures import ImageOptions

    options = _image_options(args)
    with show_progress("converting") as progress:
        result = convert_tfrecord(
            args.src,
            args.out_dir,
            split=args.split,
            parts=args.parts,
            strip_prefix=args.strip_prefix,
            classes=args.classes.read_text(encoding="utf-8").splitlines() if args.classes else (),
            options=None if options == ImageOptions() else options,  # no option, and the pictures stay as they are
            workers=args.workers,
            digests=args.digests,
            overwrite=args.overwrite,
            progress=progress,
        )
    print(result.summary())
    return 0


def _convert_webdataset(args: argparse.Namespace) -> int:
    from flowdata.tools.convert_webdataset import convert_webdataset

    with show_progress("converting") as progress:
        result = convert_webdataset(
            args.src,
            args.out_dir,
            split=args.split,
            parts=args.parts,
            json_label=args.json_label,
            options=_image_options(args),
            workers=args.workers,
            digests=args.digests,
            overwrite=args.overwrite,
            progress=progress,
        )
    print(result.summary())
    return 0


def _image_options(args: argparse.Namespace) -> ImageOptions:
    from flowdata.tools.pictures import ImageOptions

    return ImageOptions(
        quality=args.quality,
        short_side=args.short_side,
        row_restarts=args.row_restarts,
        orientation=args.orientation,
    )


def _add_other_converters(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    coco = add_command(kinds, "coco", _convert_coco, "COCO annotations and images -> OFRecords with boxes and polygons")
    coco.add_argument("annotations", type=Path, metavar="ANNOTATIONS", help="JSON file of instances")
    coco.add_argument("images", type=Path, metavar="IMAGES", help="directory of the images that it names")
    coco.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="directory to write")
    coco.add_argument("--keep-unannotated", action="store_true", help="also convert images without objects")
    _add_split(coco)
    _add_encoding(coco)
    _add_writing(coco)

    tfrecord = add_command(kinds, "tfrecord", _convert_tfrecord, "TFRecord files of tf.train.Example -> OFRecords")
    tfrecord.add_argument("src", type=Path, metavar="SRC", help="TFRecord file, or a directory of them")
    tfrecord.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="directory to write")
    tfrecord.add_argument(
        "--strip-prefix", default="image/", metavar="TEXT", help="taken off the names of features (%(default)s)"
    )
    tfrecord.add_argument("--classes", type=Path, default=None, metavar="FILE", help="names of the classes, one a line")
    _add_split(tfrecord)
    _add_image_options(tfrecord)
    _add_writing(tfrecord)

    webdataset = add_command(kinds, "webdataset", _convert_webdataset, "tar files of key.jpg with key.cls -> OFRecords")
    webdataset.add_argument("src", type=Path, metavar="SRC", help="tar file, or a directory of them")
    webdataset.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="directory to write")
    webdataset.add_argument(
        "--json-label", default=None, metavar="KEY", help="take labels from this key of the .json members"
    )
    _add_split(webdataset)
    _add_image_options(webdataset)
    _add_writing(webdataset)


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=("train", "val"), default="train", help="name of the split (%(default)s)")
    parser.add_argument("--parts", type=int_from(1), default=8, help="part files (%(default)s)")


def _add_image_options(parser: argparse.ArgumentParser) -> None:
    _add_encoding(parser)
    parser.add_argument(
        "--orientation",
        choices=("ignore", "apply"),
        default="ignore",
        help="whether to turn images as their EXIF data says; those are encoded again (%(default)s)",
    )


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quality", type=quality, default=95, help="JPEG quality of what is encoded again (%(default)s)"
    )
    parser.add_argument(
        "--short-side",
        type=int_from(1),
        default=None,
        metavar="N",
        help="reduce the shorter side of larger images to N pixels; they are encoded again",
    )
    parser.add_argument(
        "--row-restarts",
        action="store_true",
        help="encode so that random crops decode their own rows only; every file without such markers is encoded again",
    )


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=int_from(1),
        default=None,
        help="threads that read and decode; by default one per usable processor",
    )
    parser.add_argument(
        "--digests",
        action="store_true",
        help="write a CRC-32C per record beside each part, for verify: digests and flowdata verify",
    )
    add_overwrite(parser)
