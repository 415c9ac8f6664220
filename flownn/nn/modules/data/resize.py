"""Decoding picture files and resizing pictures, for what stands between readers and `CropMirrorNormalize`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowdata.sample import ArraySpec, Sample
from flowdata.stages.decode import ImageDecoder
from flowdata.stages.geometry import Resize
from flownn import dtypes
from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.host_tensor import HostTensor
from flownn.nn.modules.data.arguments import argument_errors
from flownn.nn.modules.data.run import run_stage, samples_of
from flownn.nn.modules.module import Module
from flownn.tensor import Tensor

__all__ = ["ImageDecode", "ImageResize"]

_INTERPOLATIONS = {"bilinear": "bilinear", "nearest_neighbor": "nearest", "nn": "nearest", "bicubic": "bicubic",
                   "area": "area", "auto": "auto"}  # fmt: skip
_DTYPES = (dtypes.uint8, dtypes.float32)


class ImageDecode(Module):
    """Decode picture files (JPEG, PNG, WebP, BMP), such as those of `COCOReader`; ``flownn.nn.image.decode``.

    Args:
        dtype: uint8 or float32; the values are 0..255 in both.
        color_space: Order of the result's channels: RGB, BGR or GRAY.

    Shape:
        Input (N,) of type `flownn.tensor_buffer`, each element uint8 (bytes,); output the same with elements
        (height, width, channels), channels 3 or, for GRAY, 1.

    Raises:
        ValueError: another ``color_space``.
        DtypeError: another ``dtype``, or the input is of another type.
        ShapeError: an element is no file content.
        RecordError: an element is no whole image; the message says where it came from.

    Reference:
        ``oneflow.nn.image.decode``; here 16-bit files are scaled to 8 bits, not cut off.

    >>> import flowdata.codec, flownn as flow, numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = flowdata.codec.encode_png(np.zeros((4, 6, 3), np.uint8))
    >>> _ = flowdata.write_parts(folder.name, [{"encoded": file}], parts=1)
    >>> read = flow.nn.OFRecordReader(folder.name, part_name_suffix_length=5)
    >>> flow.nn.image.decode(color_space="GRAY")(flow.nn.OFRecordBytesDecoder("encoded")(read()))
    tensor([uint8 (4, 6, 1)], dtype=flownn.tensor_buffer)
    >>> folder.cleanup()
    """

    def __init__(self, dtype: Any = dtypes.uint8, color_space: str = "BGR") -> None:
        super().__init__()
        kind = _dtype("ImageDecode", dtype).dtype.name
        with argument_errors("ImageDecode", "image_decoder"):
            self._stage = ImageDecoder(color_space=color_space, dtype=kind)  # type: ignore[arg-type]

    def forward(self, input: Tensor) -> Tensor:
        """Decode the files."""
        samples = samples_of("ImageDecode", input, dtypes.tensor_buffer, "image")
        for sample in samples:
            content = sample["image"]
            if content.dtype != np.uint8 or content.ndim != 1:
                raise ShapeError(
                    f"ImageDecode: expected files as uint8 (bytes,), got {content.dtype} {content.shape} "
                    f"({sample.origin})"
                )
        specs = {"image": ArraySpec((None,), np.dtype(np.uint8))}
        result: Tensor = run_stage("ImageDecode", self._stage, specs, samples, "image")
        return result


class ImageResize(Module):
    """Resize pictures to one size, or until one of their sides has a given length; ``flownn.nn.image.Resize``.

    Args:
        target_size: Width and height in pixels; with ``keep_aspect_ratio`` the length of one side.
        min_size: With ``resize_side="longer"``: least length of the shorter side, which then decides.
        max_size: With ``resize_side="shorter"``: greatest length of the longer side, which then decides.
        keep_aspect_ratio: Let the other side follow.
        resize_side: Which side gets the length: ``shorter`` or ``longer``.
        channels: Channels of the pictures, 1 or 3.
        dtype: uint8 or float32, of a result of one size; None means uint8. Values are converted after resizing.
        interpolation_type: ``bilinear``, ``nearest_neighbor`` (or ``nn``), ``bicubic``, ``area``, or ``auto``: bilinear
            where the picture does not lose pixels, else area.

    Shape:
        Input (N,) of type `flownn.tensor_buffer`, each element uint8 or float32 (height, width, channels). Output three
        values: the pictures, (N, height, width, channels) or with ``keep_aspect_ratio`` a `flownn.tensor_buffer`;
        their scale, float32 (N, 2) as new width / width, new height / height; and with ``keep_aspect_ratio`` the new
        sizes, int32 (N, 2) as width, height, else None.

    Raises:
        ValueError: the arguments contradict each other or are out of range.
        DtypeError: another ``dtype``, or the input is of another type.
        ShapeError: an element is no picture of ``channels`` channels, or they are of different types.

    Reference:
        ``oneflow.nn.image.Resize``, without its deprecated arguments.

    >>> import flowdata.codec, flownn as flow, numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = flowdata.codec.encode_png(np.zeros((4, 6, 3), np.uint8))
    >>> _ = flowdata.write_parts(folder.name, [{"encoded": file}], parts=1)
    >>> read = flow.nn.OFRecordReader(folder.name, part_name_suffix_length=5)
    >>> pictures = flow.nn.OFRecordImageDecoder("encoded")(read())
    >>> resized, scale, new_size = flow.nn.image.Resize(8, keep_aspect_ratio=True)(pictures)
    >>> resized, scale.tolist(), new_size.tolist()
    (tensor([uint8 (8, 12, 3)], dtype=flownn.tensor_buffer), [[2.0, 2.0]], [[12, 8]])
    >>> folder.cleanup()
    """

    def __init__(
        self,
        target_size: int | Sequence[int],
        min_size: int | None = None,
        max_size: int | None = None,
        keep_aspect_ratio: bool = False,
        resize_side: str = "shorter",
        channels: int = 3,
        dtype: Any = None,
        interpolation_type: str = "auto",
    ) -> None:
        super().__init__()
        name = "ImageResize"
        if interpolation_type not in _INTERPOLATIONS:
            raise ValueError(
                f"{name}: expected interpolation_type to be one of {', '.join(_INTERPOLATIONS)}, got "
                f"{interpolation_type!r}"
            )
        if channels not in (1, 3):
            raise ValueError(f"{name}: expected channels to be 1 or 3, got {channels}")
        if resize_side not in ("shorter", "longer"):
            raise ValueError(f"{name}: expected resize_side to be shorter or longer, got {resize_side!r}")
        if keep_aspect_ratio:
            if not isinstance(target_size, int):
                raise ValueError(
                    f"{name}: expected target_size as one length to keep the aspect ratio, got {target_size}"
                )
            if dtype is not None:
                raise ValueError(f"{name}: dtype is for results of one size; with keep_aspect_ratio the type stays")
            size: dict[str, Any] = {resize_side: target_size, "max_size": max_size, "min_size": min_size}
        else:
            if isinstance(target_size, int) or len(target_size) != 2:
                raise ValueError(f"{name}: expected target_size as (width, height), got {target_size}")
            if min_size is not None or max_size is not None:
                raise ValueError(f"{name}: min_size and max_size need keep_aspect_ratio=True")
            size = {"size": (target_size[1], target_size[0])}
        self.channels = channels
        self._dtype = _dtype(name, dtypes.uint8 if dtype is None else dtype)
        with argument_errors(name, "resize"):
            self._stage = Resize(interpolation=_INTERPOLATIONS[interpolation_type], **size)  # type: ignore[arg-type]

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Resize the pictures."""
        samples = samples_of("ImageResize", input, dtypes.tensor_buffer, "image")
        kind = samples[0]["image"].dtype
        for sample in samples:
            self._check(sample, kind)
        specs = {"image": ArraySpec((None, None, self.channels), kind, "HWC")}
        images = run_stage("ImageResize", self._stage, specs, samples, "image")
        old = np.array([each["image"].shape[1::-1] for each in samples])
        new = np.array([self._stage.result_size(*each["image"].shape[:2])[::-1] for each in samples])
        scale: Tensor = wrap((new / old).astype(np.float32))
        if isinstance(images, HostTensor):
            return images, scale, wrap(new.astype(np.int32))
        return images.to(self._dtype), scale, None

    def _check(self, sample: Sample, kind: np.dtype[Any]) -> None:
        image = sample["image"]
        fits = image.ndim == 3 and image.shape[2] == self.channels and image.size
        if not fits or image.dtype != kind or kind not in (np.uint8, np.float32):
            raise ShapeError(
                f"ImageResize: expected uint8 or float32 pictures (height, width, {self.channels}) of one type, got "
                f"{image.dtype} {image.shape} ({sample.origin})"
            )


def _dtype(module: str, dtype: Any) -> dtypes.dtype:
    found = dtypes.as_dtype(dtype)
    if found not in _DTYPES:
        raise DtypeError(f"{module}: expected dtype uint8 or float32, got {found}")
    return found
