"""Small COCO annotation files, made at random, with everything that real ones have."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from flowdata import codec
from tests.helpers.records import picture


def write_coco(root: Path, tree: dict[str, Any]) -> tuple[Path, Path]:
    """Write an annotation file, and a picture of the stated size for each image; return file and folder."""
    folder = root / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for image in tree["images"]:
        path = folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(codec.encode_jpeg(picture(image["height"], image["width"], seed=image["id"])))
    file = root / "annotations.json"
    file.write_text(json.dumps(tree))
    return file, folder


def random_tree(rng: random.Random, images: int = 12, keypoints: bool = False) -> dict[str, Any]:
    """Images in any order of ids; objects of every kind, many of them at or beyond the borders."""
    ids = rng.sample(range(1, 1000), images)
    categories = rng.sample(range(1, 91), 5)
    tree: dict[str, Any] = {
        "info": {"year": 2017},
        "images": [
            {"id": id, "file_name": f"{'sub/' * rng.randint(0, 1)}{id:06d}.jpg", "height": rng.randint(8, 40),
             "width": rng.randint(8, 40)} for id in ids
        ],
        "categories": [{"id": id, "name": f"category {id}"} for id in categories],
        "annotations": [],
    }  # fmt: skip
    for number in range(images * 3):
        row: dict[str, Any] = {
            "id": 5000 - number,
            "image_id": rng.choice(ids[: images * 3 // 4]),  # the rest has no object at all
            "category_id": rng.choice(categories[:4]),
            "bbox": [round(rng.uniform(-6, 42), 2), rng.randint(-3, 40), round(rng.choice([0, 1, 1.5, 9, 30]), 2),
                     rng.choice([0.5, 1, 2, 12, 25])],
            "area": 1.0,
        }  # fmt: skip
        kind = rng.randint(0, 9)
        if kind == 0:
            row |= {"iscrowd": 1, "segmentation": {"counts": [1, 2, 3], "size": [3, 2]}}
        elif kind > 1:  # 1: neither iscrowd nor segmentation is said
            row |= {"iscrowd": 0, "segmentation": [
                [round(rng.uniform(0, 40), 1) for _ in range(2 * rng.randint(3, 6))] for _ in range(rng.randint(0, 3))
            ]}  # fmt: skip
        if keypoints and rng.random() < 0.7:
            row["keypoints"] = [value for _ in range(17) for value in (rng.randint(0, 40), 1, rng.choice([0, 1, 2]))]
        tree["annotations"].append(row)
    return tree
