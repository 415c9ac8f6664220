"""From decoded images to what a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flowdata.sample import ArraySpec, Sample
from flowdata.sharding import ShardSpec
from flowdata.stages.draw import coin_flips
from flowdata.stages.normalize import CropMirrorNormalize as Stage
from flownn import dtypes
from flownn.autograd import wrap
from flownn.errors import DtypeError, ShapeError
from flownn.host_tensor import HostTensor
from flownn.nn.modules.data.arguments import argument_errors, check_count, local_shard, new_seed
from flownn.nn.modules.data.run import plain_samples, run_stage, samples_of
from flownn.nn.modules.module import Module
from flownn.ops.image import crop_mirror_normalize
from flownn.tensor import Tensor

__all__ = ["CoinFlip", "CropMirrorNormalize"]

_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}


class CoinFlip(Module):
    """Draw a 0 or 1 for each sample of a batch, such as whether `CropMirrorNormalize` mirrors it.

    The draw depends on the seed, the rank, the number of the call and the row only. (The stage ``coin_flip`` of a
    pipeline draws by sample instead; a module without an input cannot.)

    Args:
        batch_size: Numbers to draw, for this rank.
        random_seed: Any integer; None for one that nobody can foresee.
        probability: Probability of 1.
        device: The cpu.
        placement: Not available: this module makes no global tensors.
        sbp: Not available.
        shard: Whose numbers to draw; None means this process's rank in its job.

    Shape:
        No input; output (batch_size,), int8.

    Raises:
        ValueError: ``batch_size`` or ``probability`` is out of range.
        NotImplementedError: ``placement`` or ``sbp`` is given.

    Reference:
        ``oneflow.nn.CoinFlip``. Different on purpose: ranks with the same seed draw different numbers.

    >>> import flownn as flow
    >>> flow.nn.CoinFlip(3, probability=1.0)()
    tensor([1, 1, 1], dtype=flownn.int8)
    """

    def __init__(
        self,
        batch_size: int = 1,
        random_seed: int | None = None,
        probability: float = 0.5,
        device: Any = None,
        placement: Any = None,
        sbp: Any = None,
        *,
        shard: ShardSpec | None = None,
    ) -> None:
        super().__init__()
        self._rank = local_shard("CoinFlip", shard, device, placement, sbp).index
        self.batch_size = check_count("CoinFlip", "batch_size", batch_size)
        if not 0 <= probability <= 1:
            raise ValueError(f"CoinFlip: expected a probability from 0 to 1, got {probability}")
        self.probability = probability
        self._seed = new_seed() if random_seed is None else int(random_seed)
        self._calls = 0

    def forward(self) -> Tensor:
        """Draw the next numbers."""
        flips = coin_flips(self._seed, self._rank, self._calls, self.batch_size, self.probability)
        self._calls += 1
        result: Tensor = wrap(flips)
        return result


class CropMirrorNormalize(Module):
    """Cut out a window of each image, mirror it where asked, and compute ``(pixel - mean) / std`` in float32.

    Args:
        color_space: RGB or BGR for 3 channels, GRAY for 1. It only states their number; nothing is reordered.
        output_layout: ``NCHW`` or ``NHWC``.
        crop_h: Height of the window in pixels. If it or ``crop_w`` is 0, the whole image is taken, which needs images
            of one size in one array.
        crop_w: Width of the window in pixels.
        crop_pos_y: Where the window lies, from 0 = top to 1 = bottom; the offset ``(height - crop_h) * crop_pos_y`` is
            cut to an integer.
        crop_pos_x: The same from left to right.
        mean: One value, or one per channel, in pixel units 0..255, in the order of the channels.
        std: The same for the divisor; not 0.
        output_dtype: float32; there is no other.

    Shape:
        Input uint8 (N, H, W, C), or (N,) of type `flownn.tensor_buffer` with elements uint8 (height, width, C);
        ``mirror`` (N,) integers, not 0 where to mirror, or None. Output (N, C, h, w) or, for NHWC, (N, h, w, C), with
        h = crop_h and w = crop_w, or of an array the smaller one of them and its own size. An array may be on a GPU,
        with ``mirror`` beside it; the result stays there.

    Raises:
        ValueError: an argument is out of range.
        DtypeError: ``output_dtype`` is not float32, or the input is of another type than above.
        ShapeError: the number of channels, of dims or of mirror values is another one, or a window is missing.
        RecordError: an image of a ``tensor_buffer`` is smaller than the window; the message says where it came from.

    Reference:
        ``oneflow.nn.CropMirrorNormalize``. Different on purpose: ``output_layout`` decides, no environment variable
        does; positions are checked.

    >>> import flownn as flow
    >>> normalize = CropMirrorNormalize("GRAY", mean=[1.0], std=[2.0])
    >>> normalize(flow.tensor([[[[3], [5]]]], dtype=flow.uint8), flow.tensor([1]))
    tensor([[[[2., 1.]]]], dtype=flownn.float32)
    """

    def __init__(
        self,
        color_space: str = "BGR",
        output_layout: str = "NCHW",
        crop_h: int = 0,
        crop_w: int = 0,
        crop_pos_y: float = 0.5,
        crop_pos_x: float = 0.5,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        output_dtype: Any = dtypes.float32,
    ) -> None:
        super().__init__()
        name = "CropMirrorNormalize"
        if color_space not in _CHANNELS:
            raise ValueError(f"{name}: expected color_space to be RGB, BGR or GRAY, got {color_space!r}")
        if dtypes.as_dtype(output_dtype) is not dtypes.float32:
            raise DtypeError(f"{name}: expected output_dtype float32, got {output_dtype}; convert the result with to()")
        if min(crop_h, crop_w) < 0:
            raise ValueError(f"{name}: expected crop_h and crop_w of 0 or more, got {crop_h} and {crop_w}")
        self.channels = _CHANNELS[color_space]
        self.crop = (crop_h, crop_w) if crop_h and crop_w else None
        for argument, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name}: expected {argument} of 1 or {self.channels} values, got {list(values)}")
        with argument_errors(name, "crop_mirror_normalize"):
            self._stage = Stage(
                mean=tuple(mean),
                std=tuple(std),
                crop=self.crop,
                crop_position=(crop_pos_y, crop_pos_x),
                layout=output_layout,  # type: ignore[arg-type]
            )

    def forward(self, input: Tensor, mirror: Tensor | None = None) -> Tensor:
        """Normalize a batch of images."""
        stage = self._stage
        size: tuple[int | None, int | None] = (None, None)
        if isinstance(input, HostTensor):
            samples = self._pictures(input)
        else:
            height, width = size = self._size(input)
            if self.crop is not None:
                stage = replace(stage, crop=(min(self.crop[0], height), min(self.crop[1], width)))
            samples = [] if input.is_cuda else plain_samples(input.data, "image")
        _check_mirror(mirror, len(input))
        if input.is_cuda:
            return crop_mirror_normalize(
                input,
                mirror,
                window=stage.window(*input.shape[1:3]),
                mean=stage.mean,
                std=stage.std,
                channels_first=stage.layout == "NCHW",
            )
        if mirror is not None:
            samples = [each.replace(mirror=flip) for each, flip in zip(samples, mirror.numpy(), strict=True)]
        specs = {"image": ArraySpec((*size, self.channels), np.dtype(np.uint8), "HWC")}
        return run_stage("CropMirrorNormalize", stage, specs, samples, "image")

    def _pictures(self, input: HostTensor) -> list[Sample]:
        """The images of a ``tensor_buffer``."""
        name = "CropMirrorNormalize"
        samples = samples_of(name, input, dtypes.tensor_buffer, "image")
        if self.crop is None:
            raise ShapeError(f"{name}: crop_h and crop_w are needed for images of different sizes, got 0")
        for sample in samples:
            image = sample["image"]
            if image.ndim != 3 or image.shape[2] != self.channels or image.dtype != np.uint8:
                raise ShapeError(
                    f"{name}: expected uint8 images (height, width, {self.channels}), got {image.dtype} {image.shape} "
                    f"({sample.origin})"
                )
        return samples

    def _size(self, input: Any) -> tuple[int, int]:
        """Height and width of the images of an array."""
        name = "CropMirrorNormalize"
        if not isinstance(input, Tensor) or input.dtype is not dtypes.uint8:
            got = input.dtype if isinstance(input, Tensor) else type(input).__name__
            raise DtypeError(f"{name}: expected images of type flownn.uint8 or flownn.tensor_buffer, got {got}")
        if input.ndim != 4 or input.shape[3] != self.channels or not all(input.shape[1:3]):
            raise ShapeError(
                f"{name}: expected input (N, H, W, {self.channels}) with H and W of 1 or more, got shape "
                f"{tuple(input.shape)}"
            )
        return input.shape[1], input.shape[2]


def _check_mirror(mirror: Any, count: int) -> None:
    if mirror is None:
        return
    if not isinstance(mirror, Tensor) or isinstance(mirror, HostTensor) or mirror.is_floating_point():
        got = mirror.dtype if isinstance(mirror, Tensor) else type(mirror).__name__
        raise DtypeError(f"CropMirrorNormalize: expected mirror as a tensor of integers, got {got}")
    if tuple(mirror.shape) != (count,):
        raise ShapeError(f"CropMirrorNormalize: expected mirror of shape ({count},), got {tuple(mirror.shape)}")
