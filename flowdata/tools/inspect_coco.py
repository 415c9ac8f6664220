"""What a COCO annotation file says, in words and as a contact sheet."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from flowdata import codec, rle
from flowdata.errors import ConfigError, RecordError
from flowdata.sources.coco_index import build_index, load_annotations
from flowdata.tools.sheet import COLORS, Marked, Picture, SheetPlan, spread, write_sheet

FILE_NAME = "annotations.json"
CELL = 320  # pixels
CROWD_COLOR = (240, 240, 240)
SHOWN_CATEGORIES = 100
SHOWN_OBJECTS = 12
_SHAPES = {0: "landscape", 1: "square or portrait"}


def inspect_coco(file: Path, *, records: int, sheet: SheetPlan | None) -> None:
    """Print counts, sizes, categories and the first images; draw a sheet.

    Args:
        file: The annotation file.
        records: Images to show in full.
        sheet: Contact sheet to draw.

    Raises:
        ConfigError: there is no such file, or the images are nowhere.
        RecordError: an annotation is not what it should be.
    """
    content = _Content(file)
    content.print_counts()
    for number in range(min(records, len(content.index.files))):
        content.print_image(number)
    if sheet is not None:
        folder = sheet.images or content.folder()
        chosen = spread(len(content.index.files), sheet.pictures)
        header = f"{file}: {len(chosen)} of {len(content.index.files)} images"
        write_sheet(sheet.path, header, [content.picture(number, folder) for number in chosen], CELL)
        print(f"  {sheet.path}: {len(chosen)} images")


class _Content:
    """An annotation file with all of its images, and the crowds that the index leaves out."""

    def __init__(self, file: Path) -> None:
        tree = load_annotations(file)
        self.file = file
        self.index = build_index(tree, file, remove_images_without_annotations=False)
        if not self.index.files:
            raise ConfigError(f"{file}: expected images, found none")
        self.total = len(tree["annotations"])
        named = {row["id"]: str(row.get("name", row["id"])) for row in tree["categories"]}
        self.category_ids = sorted(named)  # the category of label 1, 2, 3 …
        self.names = [named[id] for id in self.category_ids]
        self.crowds: dict[int, list[dict[str, Any]]] = defaultdict(list)  # by image id
        for row in tree["annotations"]:
            if row.get("iscrowd", 0) == 1:
                self._check_crowd(row)
                self.crowds[row["image_id"]].append(row)

    def _check_crowd(self, row: dict[str, Any]) -> None:
        """The index does not look at crowds."""
        box = row.get("bbox")
        for name, fits in (
            ("image_id", row.get("image_id") in self.index.image_ids),
            ("category_id", row.get("category_id") in self.category_ids),
            ("bbox", isinstance(box, list) and len(box) == 4 and all(isinstance(each, (int, float)) for each in box)),
        ):
            if not fits:
                raise RecordError(
                    f"{self.file}: annotation {row['id']}: a crowd has the {name} {row.get(name, 'none')!r}"
                )

    def print_counts(self) -> None:
        index, sizes = self.index, self.index.sizes
        crowds = sum(map(len, self.crowds.values()))
        per_image = np.diff(index.objects)
        print(f"{self.file}:")
        print(f"  {len(index.files)} images, {len(index.labels)} objects, {crowds} crowds, "
              f"{(per_image == 0).sum()} images without objects")  # fmt: skip
        if empty := self.total - crowds - len(index.labels):
            print(f"  {empty} more objects are left out, because their box has less than two pixels to a side")
        groups = Counter((sizes[:, 0] // sizes[:, 1]).tolist())
        shapes = [f"{_SHAPES.get(each, f'{each} times as high as wide')}: {groups[each]}" for each in sorted(groups)]
        print(f"  height {sizes[:, 0].min()} to {sizes[:, 0].max()}, width {sizes[:, 1].min()} to {sizes[:, 1].max()}; "
              f"{', '.join(shapes)}")  # fmt: skip
        print(f"  {per_image.mean():.1f} objects in an image, at most {per_image.max()}; {len(index.corners) - 1} "
              f"polygons of {len(index.points)} points")  # fmt: skip
        counts = np.bincount(index.labels, minlength=len(self.names) + 1)
        print("  label (category id, name):")
        for label, (id, name) in enumerate(zip(self.category_ids, self.names, strict=True), start=1):
            if label > SHOWN_CATEGORIES:
                print(f"    … and {len(self.names) - SHOWN_CATEGORIES} more")
                break
            print(f"    {label} ({id}, {name}): {counts[label]}")

    def print_image(self, number: int) -> None:
        index = self.index
        height, width = index.sizes[number].tolist()
        print(f"  image {index.image_ids[number]} ({index.files[number]}, {height} x {width})")
        first, last = index.objects[number : number + 2].tolist()
        for row in range(first, min(last, first + SHOWN_OBJECTS)):
            box = " ".join(f"{value:g}" for value in np.round(index.boxes[row].astype(float), 2).tolist())
            parts = index.polygons[row + 1] - index.polygons[row]
            print(f"    {self.names[index.labels[row] - 1]}: {box}, {parts} polygon{'s' * int(parts != 1)}")
        if last - first > SHOWN_OBJECTS:
            print(f"    … and {last - first - SHOWN_OBJECTS} more objects")
        for crowd in self.crowds[int(index.image_ids[number])]:
            print(f"    crowd: {self._crowd_name(crowd)}")

    def _crowd_name(self, crowd: dict[str, Any]) -> str:
        return self.names[self.category_ids.index(crowd["category_id"])]

    def folder(self) -> Path:
        """The images' directory: ``images`` beside the file, COCO's own ``../val2017``, or the file's."""
        split = self.file.stem.rpartition("_")[2]
        parents = (self.file.parent, self.file.parent.parent)
        places = [parents[0] / "images", parents[1] / split, parents[1] / "images", parents[0]]
        for place in places:
            if (place / self.index.files[0]).is_file():
                return place
        raise ConfigError(f"{self.file}: {self.index.files[0]} is in none of {', '.join(map(str, places))}; name the "
                          f"images' directory: --images DIR")  # fmt: skip

    def picture(self, number: int, folder: Path) -> Picture:
        index = self.index
        title = f"{index.image_ids[number]}  {index.files[number]}"
        try:
            pixels = codec.decode((folder / index.files[number]).read_bytes())
        except (OSError, RecordError) as error:
            return Picture(title, None, problem=str(error))
        objects = [self._marked_crowd(crowd) for crowd in self.crowds[int(index.image_ids[number])]]
        for row in range(*index.objects[number : number + 2].tolist()):
            corners = index.corners[index.polygons[row] : index.polygons[row + 1] + 1]
            polygons = tuple(np.split(index.points[corners[0] : corners[-1]], corners[1:-1] - corners[0]))
            label = int(index.labels[row])
            color = COLORS[(label - 1) % len(COLORS)]
            objects.append(Marked(self.names[label - 1], color, tuple(index.boxes[row].tolist()), polygons))
        return Picture(title, pixels, tuple(objects))

    def _marked_crowd(self, crowd: dict[str, Any]) -> Marked:
        x, y, width, height = crowd["bbox"]
        segmentation = crowd.get("segmentation")
        return Marked(
            f"crowd: {self._crowd_name(crowd)}",
            CROWD_COLOR,
            (x, y, x + width - 1, y + height - 1),
            mask=rle.decode(segmentation) if isinstance(segmentation, dict) else None,
        )
