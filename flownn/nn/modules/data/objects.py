"""What else is done to pictures of different sizes: mirror, normalize, and put into one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowdata.batch_align import ImageBatchAlign as AlignStage
from flowdata.errors import RecordError
from flowdata.sample import ArraySpec, Sample
from flowdata.stages.geometry import ImageFlip as FlipStage
from flowdata.stages.normalize import ImageNormalize as NormalizeStage
from flownn import dtypes
from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.nn.modules.data.arguments import argument_errors
from flownn.nn.modules.data.run import run_stage, samples_of
from flownn.nn.modules.module import Module
from flownn.tensor import Tensor

__all__ = ["ImageBatchAlign", "ImageFlip", "ImageNormalize"]


class ImageFlip(Module):
    """Mirror pictures as a tensor of codes says; ``flownn.nn.image.flip``.

    Shape:
        Input (N,) of type `flownn.tensor_buffer`, each element uint8 or float32 (height, width, 1 or 3); ``flip_code``
        (N,) int8: 0 nothing, 1 left to right, 2 top to bottom, 3 both. Output new pictures, as the input.

    Raises:
        DtypeError: the input or the codes are of another type.
        ShapeError: an element is no picture, or there is another number of codes.
        RecordError: a code is another number.

    Reference:
        ``oneflow.nn.image.flip``.

    >>> import flowdata.codec, flownn as flow, numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = flowdata.codec.encode_png(np.array([[[10], [20]]], np.uint8))
    >>> _ = flowdata.write_parts(folder.name, [{"encoded": file}], parts=1)
    >>> read = flow.nn.OFRecordReader(folder.name, part_name_suffix_length=5)
    >>> files = flow.nn.OFRecordBytesDecoder("encoded")(read())
    >>> pictures = flow.nn.image.decode(color_space="GRAY")(files)
    >>> flow.nn.image.flip()(pictures, flow.tensor([1], dtype=flow.int8)).numpy()[0].ravel()
    array([20, 10], dtype=uint8)
    >>> folder.cleanup()
    """

    def __init__(self) -> None:
        super().__init__()
        self._stage = FlipStage(flip="code")

    def forward(self, input: Tensor, flip_code: Tensor) -> Tensor:
        """Mirror the pictures."""
        samples, spec = _pictures("ImageFlip", input, (np.uint8, np.float32), channels=(1, 3))
        if not isinstance(flip_code, Tensor) or flip_code.dtype is not dtypes.int8:
            got = flip_code.dtype if isinstance(flip_code, Tensor) else type(flip_code).__name__
            raise DtypeError(f"ImageFlip: expected flip_code as a tensor of type flownn.int8, got {got}")
        if tuple(flip_code.shape) != (len(samples),):
            raise ShapeError(f"ImageFlip: expected flip_code of shape ({len(samples)},), got {tuple(flip_code.shape)}")
        # The stage passes on what it need not mirror; here the result is new in any case.
        samples = [
            each.replace(image=each["image"].copy(), code=code)
            for each, code in zip(samples, flip_code.numpy(), strict=True)
        ]
        specs = {"image": spec, "code": ArraySpec((), np.dtype(np.int8))}
        return run_stage("ImageFlip", self._stage, specs, samples, "image")


class ImageNormalize(Module):
    """Compute ``(pixel - mean) / std`` of pictures; ``flownn.nn.image.normalize``.

    Args:
        std: Divisor of each channel; not 0. It comes first, as in the reference.
        mean: What is subtracted from each channel.

    Shape:
        Input (N,) of type `flownn.tensor_buffer`, each element float32 or float64 (height, width, channels), with as
        many channels as ``std`` and ``mean`` have values; output the same.

    Raises:
        ValueError: ``std`` and ``mean`` are of different lengths, empty, not finite, or ``std`` has a 0.
        DtypeError: the input is of another type.
        ShapeError: an element is no picture of so many channels, or they are of different types.

    Reference:
        ``oneflow.nn.image.normalize``.

    >>> import flowdata.codec, flownn as flow, numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = flowdata.codec.encode_png(np.array([[[10], [20]]], np.uint8))
    >>> _ = flowdata.write_parts(folder.name, [{"encoded": file}], parts=1)
    >>> read = flow.nn.OFRecordReader(folder.name, part_name_suffix_length=5)
    >>> files = flow.nn.OFRecordBytesDecoder("encoded")(read())
    >>> pictures = flow.nn.image.decode(flow.float32, "GRAY")(files)
    >>> flow.nn.image.normalize(std=[5.0], mean=[10.0])(pictures).numpy()[0].ravel()
    array([0., 2.], dtype=float32)
    >>> folder.cleanup()
    """

    def __init__(self, std: Sequence[float], mean: Sequence[float]) -> None:
        super().__init__()
        if len(std) != len(mean):
            raise ValueError(f"ImageNormalize: expected std and mean of one length, got {len(std)} and {len(mean)}")
        with argument_errors("ImageNormalize", "image_normalize"):
            self._stage = NormalizeStage(mean=tuple(mean), std=tuple(std), layout="NHWC")
        self.channels = len(std)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize the pictures."""
        samples, spec = _pictures("ImageNormalize", input, (np.float32, np.float64), (self.channels,))
        return run_stage("ImageNormalize", self._stage, {"image": spec}, samples, "image")


class ImageBatchAlign(Module):
    """Put pictures into one tensor, each at its top left, with zeros around; ``flownn.nn.image.batch_align``.

    Args:
        shape: Height, width and channels of the result.
        dtype: uint8 or float32, that of the pictures.
        alignment: A power of two; heights and widths, rounded up to multiples of it, must not pass ``shape``. 0 rounds
            nothing.

    Shape:
        Input (N,) of type `flownn.tensor_buffer`, each element (height, width, channels); output (N, *shape).

    Raises:
        ValueError: ``shape`` or ``alignment`` is out of range.
        DtypeError: another ``dtype``, or the input is of another type.
        ShapeError: an element is no picture of so many channels, or of another type than ``dtype``.
        RecordError: a picture is too large; the message says where it came from.

    Reference:
        ``oneflow.nn.image.batch_align``. Different on purpose: ``shape`` may be larger than the pictures need.

    >>> import flowdata.codec, flownn as flow, numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = flowdata.codec.encode_png(np.array([[[10], [20]]], np.uint8))
    >>> _ = flowdata.write_parts(folder.name, [{"encoded": file}], parts=1)
    >>> read = flow.nn.OFRecordReader(folder.name, part_name_suffix_length=5)
    >>> files = flow.nn.OFRecordBytesDecoder("encoded")(read())
    >>> pictures = flow.nn.image.decode(color_space="GRAY")(files)
    >>> flow.nn.image.batch_align((2, 4, 1), flow.uint8, alignment=2)(pictures)[0, :, :, 0]
    tensor([[10, 20,  0,  0],
            [ 0,  0,  0,  0]], dtype=flownn.uint8)
    >>> folder.cleanup()
    """

    def __init__(self, shape: Sequence[int], dtype: Any, alignment: int) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"ImageBatchAlign: expected shape as (height, width, channels) >= 1, got {tuple(shape)}")
        self.dtype = dtypes.as_dtype(dtype)
        if self.dtype not in (dtypes.uint8, dtypes.float32):
            raise DtypeError(f"ImageBatchAlign: expected dtype uint8 or float32, got {self.dtype}")
        with argument_errors("ImageBatchAlign", "image_batch_align"):
            self._stage = AlignStage(size=(shape[0], shape[1]), alignment=alignment)
        self.channels = shape[2]

    def forward(self, input: Tensor) -> Tensor:
        """Put the pictures into one tensor."""
        samples, spec = _pictures("ImageBatchAlign", input, (self.dtype.dtype,), (self.channels,))
        names = [f"{each.key.index} ({each.origin})" for each in samples]
        try:
            result: Tensor = wrap(self._stage.align([each["image"] for each in samples], spec, names))
        except RecordError as error:
            raise RecordError(str(error).replace("image_batch_align", "ImageBatchAlign")) from None
        return result


def _pictures(module: str, input: Any, kinds: Sequence[Any], channels: Sequence[int]) -> tuple[list[Sample], ArraySpec]:
    """The pictures as samples, and what they have in common.

    Raises:
        ShapeError: there is none, or one is of another dtype or number of channels than allowed or than the first.
    """
    samples = samples_of(module, input, dtypes.tensor_buffer, "image")
    if not samples:
        raise ShapeError(f"{module}: expected one picture or more, got none")
    first = samples[0]["image"]
    for sample in samples:
        image = sample["image"]
        fits = image.ndim == 3 and image.shape[2] in channels and image.dtype in kinds
        if not fits or image.dtype != first.dtype or image.shape[2] != first.shape[2]:
            raise ShapeError(
                f"{module}: expected pictures (height, width, {' or '.join(map(str, channels))}) of one type, "
                f"{' or '.join(np.dtype(kind).name for kind in kinds)}, got {image.dtype} {image.shape} "
                f"({sample.origin})"
            )
    return samples, ArraySpec((None, None, first.shape[2]), first.dtype, "HWC")
