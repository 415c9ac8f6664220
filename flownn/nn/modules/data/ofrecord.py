"""Reading OFRecord part files, and decoding the features of their records."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Sequence
from typing import Any

from flowdata.errors import RecordError
from flowdata.sharding import ShardSpec
from flowdata.sources.endless import Batches, PartKeys
from flowdata.sources.ofrecord import RECORD_SPEC, OFRecordSource
from flowdata.sources.order import Buffered, Sequential
from flowdata.stages import decode
from flownn import dtypes
from flownn.nn.modules.data.arguments import argument_errors, check_count, local_shard, new_seed, warn_of_name
from flownn.nn.modules.data.run import host_tensor, run_stage, samples_of
from flownn.nn.modules.module import Module
from flownn.tensor import Tensor

__all__ = [
    "OFRecordBytesDecoder",
    "OFRecordImageDecoder",
    "OFRecordImageDecoderRandomCrop",
    "OFRecordRawDecoder",
    "OFRecordReader",
]


class OFRecordReader(Module):
    """Read batches of records from a directory of OFRecord part files, without end.

    A batch is always full: where an epoch ends it goes on with the first records of the next. Part files
    ``<prefix><number>`` are split over the ranks of the job: consecutive ones to each rank, one more to the first
    ranks. All files are checked when the module is made. Records are read in the call; see `flownn.nn.modules.data`.

    Args:
        ofrecord_dir: Directory of the part files. It is not listed: exactly ``data_part_num`` names are expected.
        batch_size: Records in a batch of this rank.
        data_part_num: Number of part files of the whole data set, over all ranks.
        part_name_prefix: Start of a part file's name.
        part_name_suffix_length: Least number of digits of a part's number, padded with zeros; -1 means no padding.
        random_shuffle: Draw records from a shuffle buffer, which is filled and drained within each epoch.
        shuffle_buffer_size: Records in that buffer.
        shuffle_after_epoch: Permute the list of all part files before each epoch but the first, alike on all ranks, so
            that ranks get other files.
        random_seed: Seed of the shuffle buffer; -1 or None for one that nobody can foresee.
        device: The cpu.
        placement: Not available: this module makes no global tensors.
        sbp: Not available.
        name: Without effect, deprecated.
        shard: Whose part of the files to read; None means this process's rank in its job.

    Shape:
        No input; output (batch_size,) of type `flownn.record`.

    Raises:
        ConfigError: the directory or a part file is missing.
        RecordError: a part file is damaged, or this rank's files hold no record; names file, byte, expected, found.
        ValueError: a number is out of range, or there are fewer part files than ranks.
        NotImplementedError: ``placement`` or ``sbp`` is given.

    Reference:
        ``oneflow.nn.OFRecordReader``. Different on purpose: with ``random_shuffle`` each epoch is a permutation of the
        rank's records (OneFlow's buffer lets records leak into the next epoch); an empty part file is no error.

    >>> import flowdata, flownn as flow, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = flowdata.write_parts(folder.name, [{"class/label": label} for label in (5, 7)], parts=1)
    >>> read = OFRecordReader(folder.name, batch_size=3, part_name_suffix_length=5)
    >>> flow.nn.OFRecordRawDecoder("class/label", shape=(), dtype=flow.int32)(read())
    tensor([5, 7, 5], dtype=flownn.int32)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        ofrecord_dir: str | os.PathLike[str],
        batch_size: int = 1,
        data_part_num: int = 1,
        part_name_prefix: str = "part-",
        part_name_suffix_length: int = -1,
        random_shuffle: bool = False,
        shuffle_buffer_size: int = 1024,
        shuffle_after_epoch: bool = False,
        random_seed: int | None = -1,
        device: Any = None,
        placement: Any = None,
        sbp: Any = None,
        name: str | None = None,
        *,
        shard: ShardSpec | None = None,
    ) -> None:
        super().__init__()
        warn_of_name("OFRecordReader", name)
        shard = local_shard("OFRecordReader", shard, device, placement, sbp)
        parts = check_count("OFRecordReader", "data_part_num", data_part_num)
        if parts < shard.count:
            raise ValueError(
                f"OFRecordReader: expected at least one part file for each of {shard.count} ranks, got data_part_num "
                f"{parts}; write the data set as more parts, or let all ranks read everything with "
                "shard=flowdata.ShardSpec()"
            )
        self.batch_size = check_count("OFRecordReader", "batch_size", batch_size)
        buffer_size = check_count("OFRecordReader", "shuffle_buffer_size", shuffle_buffer_size)
        self._source = OFRecordSource(ofrecord_dir, parts, part_name_prefix, part_name_suffix_length, described=False)
        self._keys = PartKeys(
            self._source.part_starts(),
            shard,
            Buffered(buffer_size) if random_shuffle else Sequential(),
            new_seed() if random_seed in (-1, None) else int(random_seed),
            shuffle_after_epoch,
        )
        mine, starts = self._keys.parts(0), self._source.part_starts()
        if (starts[mine] == starts[mine + 1]).all():
            raise RecordError(
                f"{ofrecord_dir}: expected records for rank {shard.index} of {shard.count}, found none in its parts "
                f"{mine[0]} to {mine[-1]}"
            )
        self._batches = Batches(self._keys, self.batch_size)
        weakref.finalize(self, self._source.close)

    @property
    def dataset_size(self) -> int:
        """Records in all part files, of all ranks."""
        return len(self._source)

    @property
    def epoch(self) -> int:
        """The epoch, from 0, of the last record of the last batch."""
        return self._keys.epoch

    def forward(self) -> Tensor:
        """Read the next batch; after an error, the same batch again."""
        keys = self._batches.take()
        try:
            return host_tensor(dtypes.record, [self._source.read(key) for key in keys], "record")
        except BaseException:
            self._batches.give_back(keys)
            raise


class _Decoder(Module):
    """Applies a stage to the records that it is called on."""

    _stage: Any
    _seed: int | None = None

    def forward(self, record: Tensor) -> Tensor:
        """Decode the records."""
        name = type(self).__name__
        samples = samples_of(name, record, dtypes.record, "record")
        return run_stage(name, self._stage, {"record": RECORD_SPEC}, samples, self._stage.output, self._seed)


class OFRecordRawDecoder(_Decoder):
    """Make one array of a feature's numbers, or of the single bytes of its one bytes value, of each record.

    Values are converted as C does: towards zero from float to integer, with wrap-around between integer types.

    Args:
        blob_name: Name of the feature.
        shape: Shape for one record; ``()`` makes one number of each.
        dtype: ``int8`` (also called ``char``), ``uint8``, ``int32``, ``int64``, ``float32`` or ``float64``.
        dim1_varying_length: Also accept fewer values, filled up with zeros; more are an error.
        truncate: Also accept another number of values: cut off what is too much, fill what is missing with zeros.
        auto_zero_padding: Old name of ``truncate``, deprecated.
        name: Without effect, deprecated.

    Shape:
        Input (N,) of type `flownn.record`; output (N, ...), the dots being ``shape``.

    Raises:
        ValueError: ``dtype`` or ``shape`` is not one of the possible ones.
        DtypeError: the input holds no records.
        RecordError: the feature is missing, of no kind, of the wrong count, or a float has no value in an integer type.

    Reference:
        ``oneflow.nn.OFRecordRawDecoder``. Different on purpose: bytes are unsigned unless ``dtype`` is int8 or char;
        they follow the same rules of length as numbers; ``dim1_varying_length`` never writes beyond the result.

    >>> import flowdata, flownn as flow, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = flowdata.write_parts(folder.name, [{"sizes": [3, 4]}, {"sizes": [5]}], parts=1)
    >>> read = flow.nn.OFRecordReader(folder.name, batch_size=2, part_name_suffix_length=5)
    >>> OFRecordRawDecoder("sizes", shape=(2,), dtype=flow.float32, truncate=True)(read())
    tensor([[3., 4.],
            [5., 0.]], dtype=flownn.float32)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        blob_name: str,
        shape: Sequence[int],
        dtype: Any,
        dim1_varying_length: bool = False,
        truncate: bool = False,
        auto_zero_padding: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        warn_of_name("OFRecordRawDecoder", name)
        if auto_zero_padding:
            warnings.warn(
                "OFRecordRawDecoder: auto_zero_padding is the old name of truncate", DeprecationWarning, stacklevel=2
            )
        with argument_errors("OFRecordRawDecoder", "ofrecord_raw_decoder"):
            self._stage = decode.OFRecordRawDecoder(
                feature=blob_name,
                output="values",
                shape=tuple(int(size) for size in shape),
                dtype=dtypes.as_dtype(dtype).name,  # type: ignore[arg-type]
                truncate=truncate or auto_zero_padding,
                dim1_varying_length=dim1_varying_length,
            )


class OFRecordBytesDecoder(_Decoder):
    """Take the bytes of a feature as they are, such as a file's content or text.

    Args:
        blob_name: Name of the feature; exactly one bytes value.
        name: Without effect, deprecated.

    Shape:
        Input (N,) of type `flownn.record`; output (N,) of type `flownn.tensor_buffer`, each element uint8 (bytes,).

    Raises:
        DtypeError: the input holds no records.
        RecordError: the feature is missing, or of another kind or count.

    Reference:
        ``oneflow.nn.OFRecordBytesDecoder``.

    >>> import flowdata, flownn as flow, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = flowdata.write_parts(folder.name, [{"text": "cat"}], parts=1)
    >>> read = flow.nn.OFRecordReader(folder.name, part_name_suffix_length=5)
    >>> OFRecordBytesDecoder("text")(read()).numpy()
    [array([ 99,  97, 116], dtype=uint8)]
    >>> folder.cleanup()
    """

    def __init__(self, blob_name: str, name: str | None = None) -> None:
        super().__init__()
        warn_of_name("OFRecordBytesDecoder", name)
        self._stage = decode.OFRecordBytesDecoder(feature=blob_name)


class OFRecordImageDecoder(_Decoder):
    """Decode a feature that holds a JPEG, PNG, WebP or BMP file.

    Args:
        blob_name: Name of the feature; exactly one bytes value.
        color_space: Order of the result's channels: RGB, BGR or GRAY.

    Shape:
        Input (N,) of type `flownn.record`; output (N,) of type `flownn.tensor_buffer`, each element uint8
        (height, width, channels), channels 3 or, for GRAY, 1.

    Raises:
        ValueError: another ``color_space``.
        DtypeError: the input holds no records.
        RecordError: the feature is missing, or its content is no whole image.

    Reference:
        ``oneflow.nn.OFRecordImageDecoder``; here every color space works, for every kind of the four formats.

    >>> import flowdata.codec, flownn as flow, numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = flowdata.codec.encode_png(np.zeros((2, 3, 3), np.uint8))
    >>> _ = flowdata.write_parts(folder.name, [{"encoded": file}], parts=1)
    >>> read = flow.nn.OFRecordReader(folder.name, part_name_suffix_length=5)
    >>> OFRecordImageDecoder("encoded", "RGB")(read())
    tensor([uint8 (2, 3, 3)], dtype=flownn.tensor_buffer)
    >>> folder.cleanup()
    """

    def __init__(self, blob_name: str, color_space: str = "BGR") -> None:
        super().__init__()
        with argument_errors("OFRecordImageDecoder", "ofrecord_image_decoder"):
            self._stage = decode.OFRecordImageDecoder(feature=blob_name, color_space=color_space)  # type: ignore[arg-type]


class OFRecordImageDecoderRandomCrop(_Decoder):
    """Decode a feature that holds a JPEG, PNG, WebP or BMP file and keep a random window of it, at its own size.

    The window depends on the seed, the epoch and the number of the record in its data set only, so it is the one that a
    `flowdata.Pipeline` with this seed takes, and ranks may have the same seed.

    Args:
        blob_name: Name of the feature; exactly one bytes value.
        color_space: Order of the result's channels: RGB, BGR or GRAY.
        num_attempts: How often to draw a window before falling back to the largest one that fits.
        random_seed: Seed of the windows, any integer; None for one that nobody can foresee.
        random_area: Smallest and largest share of the image's area, 0 < low <= high <= 1.
        random_aspect_ratio: Smallest and largest width over height, 0 < low <= high.

    Shape:
        Input (N,) of type `flownn.record`; output (N,) of type `flownn.tensor_buffer`, each element uint8
        (height of the window, width of the window, channels), channels 3 or, for GRAY, 1.

    Raises:
        ValueError: an argument is out of range.
        DtypeError: the input holds no records.
        RecordError: the feature is missing, or its content is no whole image.

    Reference:
        ``oneflow.nn.OFRecordImageDecoderRandomCrop``; the distribution of windows is that of
        `flowdata.stages.window.random_crop_window`.

    >>> import flowdata.codec, flownn as flow, numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = flowdata.codec.encode_png(np.zeros((4, 4, 3), np.uint8))
    >>> _ = flowdata.write_parts(folder.name, [{"encoded": file}], parts=1)
    >>> read = flow.nn.OFRecordReader(folder.name, part_name_suffix_length=5)
    >>> OFRecordImageDecoderRandomCrop("encoded", "RGB", random_area=[1, 1], random_aspect_ratio=[1, 1])(read())
    tensor([uint8 (4, 4, 3)], dtype=flownn.tensor_buffer)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        blob_name: str,
        color_space: str = "BGR",
        num_attempts: int = 10,
        random_seed: int | None = None,
        random_area: Sequence[float] = (0.08, 1.0),
        random_aspect_ratio: Sequence[float] = (0.75, 1.333333),
    ) -> None:
        super().__init__()
        with argument_errors("OFRecordImageDecoderRandomCrop", "ofrecord_image_decoder_random_crop"):
            self._stage = decode.OFRecordImageDecoderRandomCrop(
                feature=blob_name,
                color_space=color_space,  # type: ignore[arg-type]
                area=tuple(random_area),  # type: ignore[arg-type]
                aspect_ratio=tuple(random_aspect_ratio),  # type: ignore[arg-type]
                num_attempts=num_attempts,
            )
        self._seed = new_seed() if random_seed is None else int(random_seed)
