"""Data sets out of the pictures that scikit-learn and scikit-image carry in their wheels: nothing is downloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowdata import codec
from flowdata.dataset import DatasetInfo
from flowdata.errors import ConfigError, DataError
from flowdata.records.writer import Features
from flowdata.tools.convert import IMAGE_FEATURES, stratified_split
from flowdata.tools.doctor import INSTALL
from flowdata.tools.pictures import image_features
from flowdata.tools.writing import SplitPlan, prepare_output, write_dataset

# -- digits ----------------------------------------------------------------------------------------------------------

DIGITS_VAL = 360  # of 1797


def make_digits(
    out: Path, *, parts: int = 4, val_parts: int = 2, seed: int = 0, quality: int = 95, overwrite: bool = False
) -> DatasetInfo:
    """Write the handwritten digits that scikit-learn carries as 8x8 grey JPEG in OFRecords.

    The 1797 scans (values 0 to 16, scaled to 0 to 255) are split at random, with equal shares of each digit: 1437
    for training, 360 for validation.

    Args:
        out: Directory to write; made if needed.
        parts: Part files of the training split.
        val_parts: Part files of the validation split.
        seed: Seed of the split and of the order of the records.
        quality: JPEG quality, 1 to 100.
        overwrite: Write although ``out`` is not empty.

    Raises:
        ConfigError: ``out`` is not empty.
        DataError: scikit-learn is not installed.

    Reference:
        E. Alpaydin, C. Kaynak: Optical recognition of handwritten digits, UCI machine learning repository, 1998.
    """
    scans, labels = _load_digits()
    train, val = stratified_split(labels, DIGITS_VAL, seed)

    def records(indices: Sequence[int]) -> Iterator[Features]:
        for index in indices:
            image = np.rint(scans[index] * (255 / 16)).astype(np.uint8)[..., np.newaxis]
            yield image_features(
                codec.encode_jpeg(image, quality), image.shape, labels[index], str(labels[index]),
                f"digit-{index:04d}.jpg", index,
            )  # fmt: skip

    prepare_output(out, overwrite)
    return write_dataset(
        out,
        classes=[str(digit) for digit in range(10)],
        features=IMAGE_FEATURES,
        splits={
            "train": SplitPlan(parts, len(train), records(train)),
            "val": SplitPlan(val_parts, len(val), records(val)),
        },
    )


def _load_digits() -> tuple[NDArray[np.float64], list[int]]:
    if importlib.util.find_spec("sklearn") is None:
        raise DataError(f"make digits: the scans come with scikit-learn, which is missing; run: {INSTALL} scikit-learn")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, [int(label) for label in bunch.target]


# -- photos ----------------------------------------------------------------------------------------------------------

# motif -> package and files within it
PHOTOGRAPHS = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "hubble": ("skimage", "data/hubble_deep_field.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
}
PACKAGES = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
# width, height and share: mostly what web photographs were scaled to, a quarter of them upright
SIZES = (
    ((500, 375), 0.52), ((375, 500), 0.17), ((500, 333), 0.12), ((333, 500), 0.05), ((500, 400), 0.04),
    ((400, 300), 0.04), ((640, 480), 0.06),
)  # fmt: skip
BYTES_PER_PIXEL = 110_000 / (500 * 375)
SHARE_420 = 0.2  # of the files; the others keep full colour resolution
QUALITIES = (60, 99)


@dataclass(frozen=True, slots=True)
class Photos:
    """What :func:`make_photos` wrote: the number of files and their mean size in bytes."""

    count: int
    mean_bytes: float


def make_photos(out: Path, *, count: int = 500, seed: int = 0, overwrite: bool = False) -> Photos:
    """Write photograph-like baseline JPEG files, ``out/MOTIF/NAME.jpg``, for benchmarks.

    Each is a random crop of a real photograph under a slight perspective, with changed exposure and some grain.
    Sizes lie around 500x375 pixels and 110 kB; four of five keep full colour resolution (4:4:4), the rest are 4:2:0.
    The same seed gives the same files.

    Args:
        out: Directory to write; made if needed.
        count: Number of files.
        seed: Seed of every choice.
        overwrite: Write although ``out`` is not empty.

    Raises:
        ConfigError: ``out`` is not empty.
        DataError: scikit-image or scikit-learn is not installed, or does not carry the pictures.
    """
    sources = _load_photographs()
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise ConfigError(f"{out}: expected an empty or new directory; choose another or add --overwrite")
    motifs = sorted(sources)
    total = 0
    for number in range(count):
        motif = motifs[number % len(motifs)]
        data = photograph(sources[motif], np.random.default_rng([seed, number]))
        path = out / motif / f"{motif}-{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        total += len(data)
    return Photos(count, total / count)


def _load_photographs() -> dict[str, codec.Image]:
    folders = {}
    for module, package in PACKAGES.items():
        # found, not imported: scikit-image's own loader would go to the network for what it lacks
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise DataError(
                f"make photos: the pictures come with {package}, which is missing; run: {INSTALL} {package}"
            )
        folders[module] = Path(spec.origin).parent
    paths = {motif: folders[module] / file for motif, (module, file) in PHOTOGRAPHS.items()}
    if missing := [str(path) for path in paths.values() if not path.exists()]:
        raise DataError(f"make photos: this release of scikit-image or scikit-learn lacks {', '.join(missing)}")
    return {motif: codec.decode(path.read_bytes(), "RGB") for motif, path in paths.items()}


def photograph(source: codec.Image, rng: np.random.Generator) -> bytes:
    """One photograph-like JPEG file made from ``source`` (H, W, 3)."""
    sizes, shares = zip(*SIZES, strict=True)
    width, height = sizes[rng.choice(len(sizes), p=np.array(shares) / sum(shares))]
    image = _expose(_view(source, width, height, rng), rng)
    wanted = width * height * BYTES_PER_PIXEL * rng.uniform(0.7, 1.3)
    return _encode_to_size(image, wanted, subsampling="4:2:0" if rng.random() < SHARE_420 else "4:4:4")


def _view(source: codec.Image, width: int, height: int, rng: np.random.Generator) -> codec.Image:
    """A random window of ``source``, turned a little and seen from a little to one side."""
    import cv2

    have_height, have_width = source.shape[:2]
    scale = rng.uniform(0.65, 0.95) * min(have_width / width, have_height / height)
    half = np.array([width, height]) * scale / 2
    centre = np.array([rng.uniform(half[0], have_width - half[0]), rng.uniform(half[1], have_height - half[1])])
    angle = np.deg2rad(rng.uniform(-3, 3))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half * (1 + rng.uniform(-0.04, 0.04, (4, 2)))
    window = (corners @ turn.T + centre).astype(np.float32)
    if rng.random() < 0.5:
        window = window[[1, 0, 3, 2]]  # mirrored
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(window, target)
    view: codec.Image = cv2.warpPerspective(
        source, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return view


def _expose(image: codec.Image, rng: np.random.Generator) -> codec.Image:
    """Another exposure and white balance, and the grain of a sensor."""
    gamma, balance = rng.uniform(0.8, 1.25), rng.uniform(0.94, 1.06, 3)
    light = 255 * (image / 255) ** gamma * balance
    grain = rng.normal(0, rng.uniform(0.5, 3), image.shape)
    return np.clip(np.rint(light + grain), 0, 255).astype(np.uint8)


def _encode_to_size(image: codec.Image, wanted: float, *, subsampling: codec.Subsampling) -> bytes:
    """The JPEG whose size comes nearest to ``wanted`` bytes, by bisection over the quality."""
    low, high = QUALITIES
    best = codec.encode_jpeg(image, high, subsampling=subsampling)
    while low <= high:
        quality = (low + high) // 2
        data = codec.encode_jpeg(image, quality, subsampling=subsampling)
        if abs(len(data) - wanted) < abs(len(best) - wanted):
            best = data
        low, high = (quality + 1, high) if len(data) < wanted else (low, quality - 1)
    return best
