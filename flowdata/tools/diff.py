"""`flowdata diff`: two pipelines on the same pictures, and where what comes out differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from flowdata import codec
from flowdata.errors import RecordError, StageError
from flowdata.failures import is_bad
from flowdata.pipeline import Pipeline
from flowdata.sample import Array, Sample, SampleKey
from flowdata.sources.images import ImageFiles

PANEL = 160  # pixels: smaller pictures are enlarged to this height
CAPTION = 18
GAP = 4


@dataclass(slots=True)
class Difference:
    """How one output of two pipelines differs over all samples.

    Args:
        name: Name of the output.
        samples: Samples compared.
        differing: Samples that differ by more than the tolerance, or in shape or dtype.
        largest: Largest absolute difference of two elements.
        total: Sum of all absolute differences.
        elements: Elements compared.
        worst: Origin of the sample with the largest difference.
        place: Index of that element within the sample's array.
        pair: The two arrays of that sample.
        mismatch: The first case of different shapes or dtypes.
    """

    name: str
    samples: int = 0
    differing: int = 0
    largest: float = 0.0
    total: float = 0.0
    elements: int = 0
    worst: str = ""
    place: tuple[int, ...] = ()
    pair: tuple[Array, Array] | None = None
    mismatch: str = ""

    def add(self, origin: str, left: Array, right: Array, tolerance: float) -> None:
        """Compare the arrays of one more sample."""
        self.samples += 1
        if left.shape != right.shape or left.dtype != right.dtype:
            self.differing += 1
            self.mismatch = self.mismatch or f"{origin}: {left.dtype} {left.shape} and {right.dtype} {right.shape}"
            return
        apart = distances(left, right)
        self.total += float(apart.sum())
        self.elements += apart.size
        largest = float(apart.max(initial=0))
        self.differing += largest > tolerance
        if largest > self.largest:
            self.largest, self.worst, self.pair = largest, origin, (left, right)
            self.place = tuple(map(int, np.unravel_index(int(apart.argmax()), apart.shape)))

    def __str__(self) -> str:
        if not self.samples:
            return f"{self.name}: not compared, there is no picture that both accept"
        if not self.differing and not self.largest:
            return f"{self.name}: equal in {self.samples} samples"
        lines = [f"{self.name}: {self.differing} of {self.samples} samples differ"]
        if self.mismatch:
            lines.append(f"  in shape or dtype, first {self.mismatch}")
        if self.pair is not None:
            values = " and ".join(f"{array[self.place]:.6g}" for array in self.pair)
            lines.append(f"  by {self.largest:.6g} at most and {self.total / self.elements:.6g} on average")
            lines.append(f"  worst: {self.worst} at {list(self.place)}: {values}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A picture that one of the pipelines, or both, cannot use.

    Args:
        origin: Where the picture is.
        first: Why the first pipeline refuses it, None if it does not.
        second: The same of the second.
    """

    origin: str
    first: str | None
    second: str | None

    @property
    def by_both(self) -> bool:
        """Whether the pipelines agree on it."""
        return self.first is not None and self.second is not None

    def __str__(self) -> str:
        if self.first == self.second:
            return f"{self.origin}: both refuse it: {self.first}"
        if self.by_both:
            return f"{self.origin}: both refuse it, the first: {self.first}, the second: {self.second}"
        who = "first" if self.second is None else "second"
        return f"{self.origin}: only the {who} refuses it: {self.first or self.second}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two pipelines differ.

    Args:
        outputs: A difference for each output that both have, over the pictures that both accept.
        refused: The other pictures.
    """

    outputs: list[Difference]
    refused: list[Refusal]


def distances(left: Array, right: Array) -> Array:
    """Absolute differences in float64; two NaN are equal, and one is infinitely far from any number."""
    first, second = left.astype(np.float64), right.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0, np.abs(first - second))
    return np.where(np.isnan(apart), np.inf, apart)


def compare(left: Pipeline, right: Pipeline, images: Path, count: int, tolerance: float = 0.0) -> Comparison:
    """Run both pipelines on the pictures of a directory, sample by sample, in the first epoch.

    Args:
        left: One pipeline; its source is replaced by the pictures.
        right: The other.
        images: Where the pictures are.
        count: How many to take, in the order of their paths.
        tolerance: Differences up to this count as none.

    Raises:
        ConfigError: there are no pictures, or a pipeline makes nothing of them.
        StageError: a stage failed, for another reason than a bad picture.
    """
    source = ImageFiles(images)
    source.open()
    left, right = (replace(each, source=source) for each in (left, right))
    found = {name: Difference(name) for name in left.output_specs() if name in right.output_specs()}
    refused = []
    for index, path in enumerate(source.paths[:count]):
        first, second = (_processed(each, SampleKey(0, index)) for each in (left, right))
        if isinstance(first, str) or isinstance(second, str):
            reasons = (each if isinstance(each, str) else None for each in (first, second))
            refused.append(Refusal(path, *reasons))
            continue
        for name, difference in found.items():
            difference.add(path, np.asarray(first[name]), np.asarray(second[name]), tolerance)
    return Comparison(list(found.values()), refused)


def _processed(pipeline: Pipeline, key: SampleKey) -> Sample | str:
    """What the pipeline makes of a picture, or why it refuses it."""
    try:
        return pipeline.process(key)
    except (RecordError, StageError) as error:
        if not is_bad(error):
            raise
        return f"stage {error.stage}: {error.__cause__}" if isinstance(error, StageError) else str(error)


def diff(left: Pipeline, right: Pipeline, images: Path, *, count: int, tolerance: float, out: Path | None) -> int:
    """Print how two pipelines differ, and draw the worst samples.

    Returns:
        0 if they are equal, 1 if they differ or no picture could be compared. Pictures that both refuse are no
        difference.
    """
    found = compare(left, right, images, count, tolerance)
    different = any(each.differing or not each.samples for each in found.outputs)
    for each in found.outputs:
        print(each)
    for refusal in found.refused:
        print(refusal)
        different = different or not refusal.by_both
    names = [set(each.output_specs()) for each in (left, right)]
    for name in sorted(names[0] ^ names[1]):
        print(f"{name}: only in the {'first' if name in names[0] else 'second'}")
        different = True
    if left.batch_transforms != right.batch_transforms:
        print("batch_transforms: different; they are not run here, where there are no batches")
        different = True
    if out is not None:
        pairs = [(each.name, *each.pair) for each in found.outputs if each.pair]
        pictures = [picture for each in pairs if (picture := drawn(*each)) is not None]
        if pictures:
            out.write_bytes(codec.encode_png(stacked(pictures)))
            print(f"{out}: the worst samples of both and their difference")
        else:
            print(f"{out}: not written, no picture differs")
    return int(different)


def drawn(name: str, left: Array, right: Array) -> codec.Image | None:
    """Both pictures and their amplified difference side by side, RGB; None if they are no pictures."""
    first, second = as_picture(left), as_picture(right)
    if first is None or second is None:
        return None
    finite = np.concatenate([first, second])
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    span = high - low or 1.0
    scale = 255 / span
    apart = np.minimum(distances(first, second), span)  # what is no number is as far as can be
    gain = span / apart.max() if apart.max() else 1.0
    panels = [
        (f"{name}, first", (first - low) * scale),
        ("second", (second - low) * scale),
        (f"difference x {gain:.3g}", apart * scale * gain),
    ]
    return np.concatenate([_panel(caption, values) for caption, values in panels], axis=1)


def as_picture(array: Array) -> Array | None:
    """The array as (height, width, 3) float64, if its shape is that of a picture, planes first or last."""
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or not array.size:
        return None
    return np.broadcast_to(array.astype(np.float64), (*array.shape[:2], 3)).copy()


def _panel(caption: str, values: Array) -> codec.Image:
    pixels = np.rint(np.clip(np.nan_to_num(values), 0, 255)).astype(np.uint8)
    factor = max(1, -(-PANEL // pixels.shape[0]))
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    panel = np.full((pixels.shape[0] + CAPTION, pixels.shape[1] + GAP, 3), 255, np.uint8)
    panel[CAPTION:, :-GAP] = pixels
    cv2.putText(panel, caption, (2, CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return panel


def stacked(pictures: list[codec.Image]) -> codec.Image:
    """Pictures below each other, on white."""
    width = max(each.shape[1] for each in pictures)
    rows = [np.pad(each, ((0, GAP), (0, width - each.shape[1]), (0, 0)), constant_values=255) for each in pictures]
    return np.concatenate(rows)
