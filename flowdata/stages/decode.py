"""Features of a record to arrays: encoded images, plain bytes and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from flowdata.codec import (
    COLOR_SPACES,
    MAX_PIXELS,
    ORIENTATION_POLICIES,
    PROVIDERS,
    ColorSpace,
    Image,
    OrientationPolicy,
    Provider,
    RowOffsets,
    Window,
    WindowOf,
    decode,
)
from flowdata.codec.providers import nvimgcodec_problem
from flowdata.errors import ConfigError, RecordError
from flowdata.records.wire import Feature
from flowdata.sample import Array, ArraySpec, Sample, Specs
from flowdata.stages import Stage, stage
from flowdata.stages.geometry import Resize
from flowdata.stages.narrow import NarrowDecoder, NarrowResize
from flowdata.stages.window import random_crop_window

RawDtype = Literal["char", "int8", "uint8", "int32", "int64", "float32", "float64"]
ImageDtype = Literal["uint8", "float32"]


def feature_of(sample: Sample, record: str, feature: str) -> Feature:
    """The named feature of a sample's record.

    Raises:
        RecordError: the record has no such feature.
    """
    try:
        found: Feature = sample[record][feature]
    except KeyError:
        there = ", ".join(sorted(sample[record])) or "none at all"
        raise RecordError(f"feature {feature!r} is missing; the record has {there}") from None
    return found


def single_bytes(sample: Sample, record: str, feature: str) -> bytes:
    """The value of a feature that is exactly one byte string.

    Raises:
        RecordError: the feature is missing, or of another kind or count.
    """
    found = feature_of(sample, record, feature)
    if found.kind != "bytes" or len(found) != 1:
        raise RecordError(
            f"feature {feature!r}: expected exactly one bytes value, found {len(found)} of kind {found.kind}"
        )
    value: bytes = found.values[0]
    return value


def row_offsets_of(sample: Sample, record: str, feature: str) -> RowOffsets | None:
    """The numbers of the named feature of a sample's record; None if it has no such feature.

    Raises:
        RecordError: they are no integers.
    """
    if feature not in (features := sample[record]):
        return None
    found: Feature = features[feature]
    if found.kind not in ("int32", "int64"):
        raise RecordError(f"feature {feature!r}: expected integers, found {len(found)} of kind {found.kind}")
    return np.asarray(found.values)


@stage("ofrecord_bytes_decoder")
@dataclass(frozen=True, kw_only=True, slots=True)
class OFRecordBytesDecoder:
    """Take a feature's bytes as they are.

    Args:
        feature: Name of the feature; exactly one bytes value.
        output: Name of the result.
        record: Name of the parsed record.

    Shape:
        Output: uint8 (number of bytes,), which differs from sample to sample.

    Raises:
        RecordError: the feature is missing, or of another kind or count.

    Reference:
        ``oneflow.nn.OFRecordBytesDecoder``.
    """

    draws: ClassVar[bool] = False
    feature: str
    output: str = "bytes"
    record: str = "record"

    def output_spec(self, specs: Specs) -> Specs:
        _check_record("ofrecord_bytes_decoder", specs, self.record)
        return specs | {self.output: ArraySpec((None,), np.dtype(np.uint8))}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.replace(**{self.output: np.frombuffer(single_bytes(sample, self.record, self.feature), np.uint8)})


@stage("ofrecord_raw_decoder")
@dataclass(frozen=True, kw_only=True, slots=True)
class OFRecordRawDecoder:
    """Make an array of a feature's numbers, or of the single bytes of its one bytes value.

    Values are converted element by element as C does: towards zero from float to integer, with wrap-around between
    integer types.

    Args:
        feature: Name of the feature.
        output: Name of the result.
        shape: Shape of the result for one sample; ``()`` is a scalar.
        dtype: One of char (the same as int8), int8, uint8, int32, int64, float32, float64.
        truncate: Also accept another number of values: cut off what is too much, fill what is missing with zeros.
        dim1_varying_length: Also accept fewer values, filled up with zeros; more are an error.
        record: Name of the parsed record.

    Shape:
        Output: ``shape``.

    Raises:
        ConfigError: ``dtype`` or ``shape`` is not one of the possible ones.
        RecordError: the feature is missing, of no kind, of the wrong count, or a float has no value in an integer
            dtype.

    Reference:
        ``oneflow.nn.OFRecordRawDecoder``. Different on purpose: bytes are unsigned unless ``dtype`` is int8 or char;
        they follow the same rules of length as numbers; no flag writes beyond the result.
    """

    draws: ClassVar[bool] = False
    feature: str
    output: str
    shape: tuple[int, ...] = ()
    dtype: RawDtype = "int32"
    truncate: bool = False
    dim1_varying_length: bool = False
    record: str = "record"

    def __post_init__(self) -> None:
        if self.dtype not in get_args(RawDtype):
            raise ConfigError(
                f"ofrecord_raw_decoder: expected dtype to be one of {', '.join(get_args(RawDtype))}, got {self.dtype!r}"
            )
        if any(extent < 0 for extent in self.shape):
            raise ConfigError(f"ofrecord_raw_decoder: expected shape of extents >= 0, got {self.shape}")

    @property
    def _numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int8 if self.dtype == "char" else self.dtype)

    def output_spec(self, specs: Specs) -> Specs:
        _check_record("ofrecord_raw_decoder", specs, self.record)
        return specs | {self.output: ArraySpec(tuple(self.shape), self._numpy_dtype)}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        values, dtype = self._values(sample), self._numpy_dtype
        want = math.prod(self.shape)
        fits = len(values) == want or self.truncate or (self.dim1_varying_length and len(values) < want)
        if not fits:
            raise RecordError(
                f"feature {self.feature!r}: expected {want} values for shape {tuple(self.shape)}, found {len(values)}"
                + ("" if self.dim1_varying_length else "; truncate: true would cut or fill")
            )
        result = sample.destination(self.output, tuple(self.shape), dtype)
        if len(values) != want:
            kept, values = values[:want], np.zeros(want, dtype)
            values[: len(kept)] = kept.astype(dtype)
        result[...] = values.astype(dtype, copy=False).reshape(self.shape)
        return sample.replace(**{self.output: result})

    def _values(self, sample: Sample) -> Array:
        found = feature_of(sample, self.record, self.feature)
        if found.kind is None:
            raise RecordError(f"feature {self.feature!r}: expected numbers or bytes, found a feature of no kind")
        if found.kind == "bytes":
            signed = self._numpy_dtype == np.int8
            return np.frombuffer(single_bytes(sample, self.record, self.feature), np.int8 if signed else np.uint8)
        values = np.asarray(found.values)
        if values.dtype.kind == "f" and self._numpy_dtype.kind in "iu":
            limits = np.iinfo(self._numpy_dtype)
            # Compared in float64, whose 2**63 stands for the int64 limit 2**63 - 1; hence "less than the next integer".
            whole = np.trunc(values.astype(np.float64))
            if not ((whole >= float(limits.min)) & (whole < float(limits.max) + 1)).all():
                raise RecordError(f"feature {self.feature!r}: {values} has values that {self.dtype} cannot hold")
        return values


@stage("ofrecord_image_decoder")
@dataclass(frozen=True, kw_only=True, slots=True)
class OFRecordImageDecoder:
    """Decode a feature that holds a JPEG, PNG, WebP or BMP file.

    Args:
        feature: Name of the feature; exactly one bytes value.
        output: Name of the result.
        color_space: Order of the result's channels: RGB, BGR or GRAY.
        max_pixels: Largest height times width that is accepted; refused before memory is taken.
        orientation: ``ignore`` what EXIF data says of the picture's orientation, or ``apply`` it.
        provider: Who decodes: ``cv2``, ``nvimgcodec`` (which takes baseline JPEG files in colour and leaves the others
            to OpenCV) or ``auto``: the second where it is usable. The pixels are the same.
        record: Name of the parsed record.

    Shape:
        Output: uint8 (height, width, channels), channels 3 or, for GRAY, 1.

    Raises:
        ConfigError: an argument is not one of the possible ones, or nvImageCodec is asked for and not usable.
        RecordError: the feature is missing, or its content is no whole image.

    Reference:
        ``oneflow.nn.OFRecordImageDecoder``, whose default is BGR; every kind of the four formats works here.
    """

    draws: ClassVar[bool] = False
    feature: str = "encoded"
    output: str = "image"
    color_space: ColorSpace = "RGB"
    max_pixels: int = MAX_PIXELS
    orientation: OrientationPolicy = "ignore"
    provider: Provider = field(default="auto", repr=False)  # as the pixels are the same, no part of a fingerprint
    record: str = "record"

    def __post_init__(self) -> None:
        _check_image_arguments("ofrecord_image_decoder", self)

    def output_spec(self, specs: Specs) -> Specs:
        _check_record("ofrecord_image_decoder", specs, self.record)
        return specs | {self.output: _image_spec(self.color_space)}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.replace(**{self.output: self.decode(sample)})

    def decode(self, sample: Sample, window: WindowOf | None = None) -> Image:
        """The image, or a window of it.

        Raises:
            RecordError: the feature is missing, or its content is no whole image.
        """
        return decode_feature(sample, self, window)

    def narrowed(self, following: Sequence[Any]) -> Stage:
        """The stage to run in place of this one where others follow, see :mod:`flowdata.stages.narrow`."""
        return _narrowed(self, following) if type(self) is OFRecordImageDecoder else self


@stage("ofrecord_image_decoder_random_crop")
@dataclass(frozen=True, kw_only=True, slots=True)
class OFRecordImageDecoderRandomCrop:
    """Decode a feature that holds a JPEG, PNG, WebP or BMP file and keep a random window of it, at its own size.

    Args:
        feature: Name of the feature; exactly one bytes value.
        output: Name of the result.
        color_space: Order of the result's channels: RGB, BGR or GRAY.
        area: Smallest and largest share of the image's area, 0 < low <= high <= 1.
        aspect_ratio: Smallest and largest width over height, 0 < low <= high.
        num_attempts: How often to draw a window before falling back to the largest one that fits.
        max_pixels: Largest height times width of the file that is accepted; refused before memory is taken.
        orientation: ``ignore`` what EXIF data says of the picture's orientation, or ``apply`` it: the window is then
            drawn on the upright picture.
        provider: Who decodes: ``cv2``, ``nvimgcodec`` (which decodes only the window of baseline JPEG files in colour;
            the others stay with OpenCV) or ``auto``: the second where it is usable. The pixels are the same.
        row_slices: Use the feature ``<feature>/rows`` of records that have it, byte offsets of rows of blocks, as
            ``flowdata convert images --row-restarts`` writes them, to decode only the rows of the window. The pixels
            are the same.
        record: Name of the parsed record.

    Shape:
        Output: uint8 (height of the window, width of the window, channels), channels 3 or, for GRAY, 1.

    Raises:
        ConfigError: an argument is out of range, or nvImageCodec is asked for and not usable.
        RecordError: the feature is missing, its content is no whole image, or the row offsets are not those of the
            image.

    Reference:
        ``oneflow.nn.OFRecordImageDecoderRandomCrop``; see :func:`flowdata.stages.window.random_crop_window`.
    """

    feature: str = "encoded"
    output: str = "image"
    color_space: ColorSpace = "RGB"
    area: tuple[float, float] = (0.08, 1.0)
    aspect_ratio: tuple[float, float] = (0.75, 1.333333)
    num_attempts: int = 10
    max_pixels: int = MAX_PIXELS
    orientation: OrientationPolicy = "ignore"
    provider: Provider = field(default="auto", repr=False)  # as the pixels are the same, no part of a fingerprint
    row_slices: bool = field(default=True, repr=False)  # likewise
    record: str = "record"

    def __post_init__(self) -> None:
        name = "ofrecord_image_decoder_random_crop"
        _check_image_arguments(name, self)
        for argument, value in (("area", self.area), ("aspect_ratio", self.aspect_ratio)):
            if len(value) != 2 or not 0 < value[0] <= value[1] < math.inf:
                raise ConfigError(f"{name}: expected {argument} as two numbers 0 < low <= high, got {value}")
        if self.area[1] > 1:
            raise ConfigError(f"{name}: expected area as shares of the image, at most 1, got {self.area}")
        if self.num_attempts < 1:
            raise ConfigError(f"{name}: expected num_attempts >= 1, got {self.num_attempts}")

    def output_spec(self, specs: Specs) -> Specs:
        _check_record("ofrecord_image_decoder_random_crop", specs, self.record)
        return specs | {self.output: _image_spec(self.color_space)}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        def window(height: int, width: int) -> Window:
            return random_crop_window(rng, height, width, self.area, self.aspect_ratio, self.num_attempts)

        rows = row_offsets_of(sample, self.record, f"{self.feature}/rows") if self.row_slices else None
        return sample.replace(**{self.output: decode_feature(sample, self, window, rows)})


@stage("image_decoder")
@dataclass(frozen=True, kw_only=True, slots=True)
class ImageDecoder:
    """Decode the content of an image file, such as those of :class:`flowdata.sources.coco.COCOSource`.

    Args:
        encoded: Name of the file's content, uint8 (bytes,).
        output: Name of the result; by default it replaces the content.
        color_space: Order of the result's channels: RGB, BGR or GRAY.
        max_pixels: Largest height times width that is accepted; refused before memory is taken.
        orientation: ``ignore`` what EXIF data says of the picture's orientation, or ``apply`` it.
        provider: Who decodes, as in :class:`OFRecordImageDecoder`.
        dtype: uint8, or float32 for stages behind it that shall not round; the values are 0..255 in both.

    Shape:
        Output: ``dtype`` (height, width, channels), channels 3 or, for GRAY, 1.

    Raises:
        ConfigError: an argument is not one of the possible ones, nvImageCodec is asked for and not usable, or the input
            holds no bytes.
        RecordError: the content is no whole image.

    Reference:
        ``oneflow.nn.image.decode``, whose default is BGR.
    """

    draws: ClassVar[bool] = False
    encoded: str = "image"
    output: str = "image"
    color_space: ColorSpace = "RGB"
    max_pixels: int = MAX_PIXELS
    orientation: OrientationPolicy = "ignore"
    provider: Provider = field(default="auto", repr=False)
    dtype: ImageDtype = "uint8"

    def __post_init__(self) -> None:
        _check_image_arguments("image_decoder", self)
        if self.dtype not in get_args(ImageDtype):
            raise ConfigError(f"image_decoder: expected dtype to be uint8 or float32, got {self.dtype!r}")

    def output_spec(self, specs: Specs) -> Specs:
        content = specs[self.encoded]
        if content.dtype != np.uint8 or len(content.shape) != 1:
            raise ConfigError(f"image_decoder: expected encoded: {self.encoded!r} to be uint8 (bytes,), got {content}")
        return specs | {self.output: replace(_image_spec(self.color_space), dtype=np.dtype(self.dtype))}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.replace(**{self.output: self.decode(sample)})

    def decode(self, sample: Sample, window: WindowOf | None = None) -> Image:
        """The image, or a window of it.

        Raises:
            RecordError: the content is no whole image.
        """
        image = decode(
            sample[self.encoded].tobytes(), self.color_space, self.max_pixels, orientation=self.orientation,
            window=window, provider=self.provider,
        )  # fmt: skip
        return image.astype(self.dtype, copy=False)

    def narrowed(self, following: Sequence[Any]) -> Stage:
        """The stage to run in place of this one where others follow, see :mod:`flowdata.stages.narrow`."""
        return _narrowed(self, following) if type(self) is ImageDecoder else self


_RecordDecoder = OFRecordImageDecoder | OFRecordImageDecoderRandomCrop


def decode_feature(
    sample: Sample, decoder: _RecordDecoder, window: WindowOf | None = None, rows: RowOffsets | None = None
) -> Array:
    """The image of the feature that an image decoder names, or a window of it.

    Raises:
        RecordError: the feature is missing, or its content is no whole image.
    """
    data = single_bytes(sample, decoder.record, decoder.feature)
    try:
        return decode(
            data, decoder.color_space, decoder.max_pixels, orientation=decoder.orientation, window=window, rows=rows,
            provider=decoder.provider,
        )  # fmt: skip
    except RecordError as error:
        raise RecordError(f"feature {decoder.feature!r}: {error}") from None


def _narrowed(decoder: OFRecordImageDecoder | ImageDecoder, following: Sequence[Any]) -> Stage:
    resize = following[0] if following else None
    if type(resize) is not Resize or resize.image != decoder.output:
        return decoder
    narrow = resize.narrowed(following[1:])
    return NarrowDecoder(decoder, narrow) if isinstance(narrow, NarrowResize) else decoder


def _image_spec(color_space: ColorSpace) -> ArraySpec:
    return ArraySpec((None, None, 1 if color_space == "GRAY" else 3), np.dtype(np.uint8), "HWC")


def _check_record(name: str, specs: Specs, record: str) -> None:
    if specs[record].layout != "record":
        raise ConfigError(f"{name}: expected record: {record!r} to be a parsed record, got {specs[record]}")


def _check_image_arguments(name: str, decoder: _RecordDecoder | ImageDecoder) -> None:
    choices = {"color_space": COLOR_SPACES, "orientation": ORIENTATION_POLICIES, "provider": PROVIDERS}
    for argument, allowed in choices.items():
        if (value := getattr(decoder, argument)) not in allowed:
            raise ConfigError(f"{name}: expected {argument} to be one of {', '.join(allowed)}, got {value!r}")
    if decoder.max_pixels < 1:
        raise ConfigError(f"{name}: expected max_pixels >= 1, got {decoder.max_pixels}")
    if decoder.provider == "nvimgcodec" and (problem := nvimgcodec_problem()):
        raise ConfigError(f"{name}: provider nvimgcodec cannot be used: {problem}; auto uses it where it can be")
