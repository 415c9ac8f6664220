"""OFRecord readers and decoders as modules: OneFlow's contract, equality with pipelines, and what goes wrong."""

import copy
import gc
import os
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import flownn as flow
from flowdata import codec
from flowdata.errors import ConfigError, RecordError
from flowdata.pipeline import Pipeline
from flowdata.pipeline_config import pipeline_from
from flowdata.records.wire import Feature, encode
from flowdata.records.writer import write_parts
from flowdata.sharding import ShardSpec
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.sources.order import Buffered
from flowdata.stages import decode, normalize
from flowdist.env import RankInfo
from flownn.dtypes import as_dtype
from flownn.errors import DeviceError, DtypeError
from flownn.nn.modules.data import arguments
from tests.helpers.records import GOLDEN_PART, picture, write_dataset

nn = flow.nn
ROOT = Path(__file__).resolve().parents[5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"), counts=(5, 0, 7, 1))  # labels 0 to 12


def reader(folder, batch_size=4, **arguments):
    arguments = {"data_part_num": 4, "part_name_suffix_length": 5, **arguments}
    return nn.OFRecordReader(str(folder), batch_size, **arguments)


def one_record(tmp_path, **features):
    """A reader of a data set of this one record."""
    write_parts(tmp_path, [features], 1, suffix_length=-1)
    return nn.OFRecordReader(tmp_path)


LABEL = nn.OFRecordRawDecoder("class/label", shape=(), dtype=flow.int32)


def labels(read, batches):
    return [LABEL(read()).tolist() for _ in range(batches)]


def flat(batches):
    return [label for batch in batches for label in batch]


# ---------------------------------------------------------------- reader


def test_batches_are_full_and_run_on_over_the_end_of_an_epoch(folder):
    read = reader(folder)
    batches = labels(read, 10)
    assert flat(batches) == [*range(13), *range(13), *range(13), 0]
    assert read.dataset_size == 13
    assert read.epoch == 3


def test_a_batch_may_be_larger_than_the_data_set(folder):
    assert labels(reader(folder, 30), 1) == [[*range(13), *range(13), 0, 1, 2, 3]]


def test_the_output_is_a_tensor_of_records(folder):
    records = reader(folder)()
    assert (records.dtype, records.shape, str(records.device)) == (flow.record, (4,), "cpu")
    assert not records.requires_grad


def test_the_golden_file(tmp_path):
    (tmp_path / "part-0").write_bytes(GOLDEN_PART)
    assert LABEL(nn.OFRecordReader(tmp_path)()).tolist() == [5]


@pytest.mark.parametrize(("world", "parts_of"), [
    (2, [[0, 1], [2, 3]]), (3, [[0, 1], [2], [3]]), (4, [[0], [1], [2], [3]]),
])  # fmt: skip
def test_part_files_are_split_over_ranks(tmp_path, world, parts_of):
    write_parts(tmp_path, [{"class/label": part} for part in range(4)], 4)
    for rank in range(world):
        read = reader(tmp_path, 2, shard=ShardSpec(rank, world))
        assert flat(labels(read, 2)) == list(islice(parts_of[rank] * 4, 4))
        assert read.dataset_size == 4


def test_the_rank_is_that_of_this_process(tmp_path, monkeypatch):
    write_parts(tmp_path, [{"class/label": part} for part in range(4)], 4)
    monkeypatch.setattr(arguments, "rank_info", lambda: RankInfo(1, 2, 1, 2, 0))
    assert labels(reader(tmp_path, 2), 1) == [[2, 3]]
    assert labels(reader(tmp_path, 4, shard=ShardSpec()), 1) == [[0, 1, 2, 3]]


def test_a_process_of_a_job_reads_its_own_parts_and_ends(tmp_path):
    write_parts(tmp_path, [{"class/label": part} for part in range(4)], 4)
    code = (
        "import flownn as flow, sys\n"
        "read = flow.nn.OFRecordReader(sys.argv[1], 3, data_part_num=4, part_name_suffix_length=5)\n"
        "print(flow.nn.OFRecordRawDecoder('class/label', (), flow.int32)(read()).tolist(), 'mpi4py' in sys.modules)\n"
    )
    place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "NODE_RANK": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=os.environ | place, cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("[2, 3, 2] False", "")


@pytest.mark.parametrize("shuffle", [{"random_shuffle": True, "shuffle_buffer_size": 3}, {"shuffle_after_epoch": True},
                                     {"random_shuffle": True, "shuffle_after_epoch": True}])  # fmt: skip
def test_each_shuffled_epoch_is_a_permutation(folder, shuffle):
    found = flat(labels(reader(folder, 13, **shuffle), 6))
    epochs = [found[start : start + 13] for start in range(0, len(found), 13)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 2


def test_shuffling_parts_leaves_the_first_epoch_and_the_order_within_files(folder):
    found = flat(labels(reader(folder, 13, shuffle_after_epoch=True), 5))
    assert found[:13] == list(range(13))
    for start in range(0, len(found), 13):
        epoch = found[start : start + 13]
        assert [x for x in epoch if x < 5] == list(range(5))
        assert [x for x in epoch if 5 <= x < 12] == list(range(5, 12))


def test_shuffled_parts_of_two_ranks_are_disjoint(tmp_path):
    write_parts(tmp_path, [{"class/label": part} for part in range(8)], 8)
    ranks = [flat(labels(reader(tmp_path, 4, data_part_num=8, shuffle_after_epoch=True, shard=ShardSpec(rank, 2)), 5))
             for rank in range(2)]  # fmt: skip
    for epoch in range(5):
        first, second = (rank[4 * epoch : 4 * epoch + 4] for rank in ranks)
        assert sorted(first + second) == list(range(8))
    assert ranks[0][:4] == [0, 1, 2, 3]
    assert set(ranks[0][4:]) > {0, 1, 2, 3}


def test_the_seed_decides_the_order_and_minus_one_or_none_draw_one(folder):
    def order(seed):
        return flat(labels(reader(folder, 13, random_shuffle=True, random_seed=seed), 3))

    assert order(3) == order(3) != order(4)
    assert order(-1) != order(-1)
    assert order(None) != order(None)


def test_a_copied_reader_goes_on_from_where_it_was(folder):
    read = reader(folder, 3, random_shuffle=True)
    read()
    copied = copy.deepcopy(read)
    assert labels(read, 5) == labels(copied, 5)


def test_files_are_closed_with_the_reader_and_no_thread_is_started(folder):
    before, threads = len(os.listdir("/dev/fd")), threading.active_count()
    read = reader(folder)
    labels(read, 4)
    assert len(os.listdir("/dev/fd")) > before
    assert threading.active_count() == threads
    del read
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before


def test_a_model_with_readers_has_no_state(folder):
    model = nn.Sequential(LABEL, nn.OFRecordImageDecoder("encoded"), nn.CropMirrorNormalize())
    model.reader = reader(folder)
    model.flip = nn.CoinFlip()
    assert model.state_dict() == {}
    assert not list(model.parameters())
    assert repr(model.reader) == "OFRecordReader()"


# ---------------------------------------------------------------- what the reader refuses


def test_missing_files_are_noticed_when_the_reader_is_made(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"no_such: expected a directory of OFRecord part files, found nothing"):
        reader(tmp_path / "no_such")
    with pytest.raises(ConfigError, match=r"expected 4 part files, prefix 'part-', suffix length 5; missing: 4 files"):
        reader(tmp_path)
    with pytest.raises(ConfigError, match=r"expected 5 part files, .* missing: 1 file \(part-00004\)"):
        reader(folder, data_part_num=5)
    with pytest.raises(ConfigError, match=r"missing: 1 file \(part-0\); the directory has 4 files \(part-00000,"):
        nn.OFRecordReader(folder)


def test_a_description_of_the_data_set_does_not_overrule_the_arguments(folder):
    assert labels(reader(folder, 3, data_part_num=1), 2) == [[0, 1, 2], [3, 4, 0]]


@pytest.mark.parametrize(("damage", "message"), [
    (lambda data: data[:-1], r"at byte 0: expected a record of 22 bytes, found 21 before the end"),
    (lambda data: data + b"\x01\x00", r"at byte 30: expected a record header of 8 bytes, found the last 2 bytes"),
    (lambda data: bytes(8) + data, "at byte 0: expected a record length from 1 to 2147483647, found 0"),
    (lambda data: b"\xff" * 8 + data, "at byte 0: expected a record length from 1 to 2147483647, found -1"),
])  # fmt: skip
def test_a_damaged_part_is_noticed_when_the_reader_is_made(tmp_path, damage, message):
    (tmp_path / "part-0").write_bytes(GOLDEN_PART)
    (tmp_path / "part-1").write_bytes(damage(GOLDEN_PART))
    with pytest.raises(RecordError, match=f"part-1 {message}"):
        nn.OFRecordReader(tmp_path, data_part_num=2)


def test_a_message_that_does_not_parse_is_an_error_each_time(tmp_path):
    good = encode({"class/label": 1})
    bad = b"\xff\xff\xff"
    (tmp_path / "part-0").write_bytes(b"".join(len(each).to_bytes(8, "little") + each for each in (good, good, bad)))
    read = nn.OFRecordReader(tmp_path, 2)
    assert labels(read, 1) == [[1, 1]]
    for _ in range(2):
        with pytest.raises(RecordError, match=rf"part-0 at byte {2 * (8 + len(good))}: expected an OFRecord message"):
            read()


def test_more_ranks_than_parts(tmp_path):
    (tmp_path / "part-0").write_bytes(GOLDEN_PART)
    with pytest.raises(
        ValueError, match="OFRecordReader: expected at least one part file for each of 8 ranks, got data"
    ):
        nn.OFRecordReader(tmp_path, shard=ShardSpec(0, 8))


def test_a_rank_without_records(folder):
    with pytest.raises(RecordError, match="expected records for rank 1 of 4, found none in its parts 1 to 1"):
        reader(folder, shard=ShardSpec(1, 4))


@pytest.mark.parametrize("argument", ["batch_size", "data_part_num", "shuffle_buffer_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, None, True])
def test_numbers_are_checked(folder, argument, value):
    with pytest.raises(ValueError, match=f"OFRecordReader: expected {argument} to be an int of at least 1"):
        reader(folder, **{argument: value})


def make_reader(folder, **arguments):
    return reader(folder, **arguments)


def make_flip(folder, **arguments):
    return nn.CoinFlip(**arguments)


@pytest.mark.parametrize("make", [make_reader, make_flip])
def test_global_tensors_and_other_devices_are_refused(folder, make):
    placement = flow.placement("cpu", [0])
    for given in (
        {"placement": placement, "sbp": flow.sbp.split(0)},
        {"placement": placement},
        {"sbp": flow.sbp.broadcast},
    ):
        with pytest.raises(NotImplementedError, match=r"asks for global tensors"):
            make(folder, **given)
    with pytest.raises(DeviceError, match="decoded in host memory, got device cuda"):
        make(folder, device="cuda")
    make(folder, device="cpu")
    make(folder, device=flow.device("cpu"))


def test_a_name_names_nothing(folder):
    for make in (lambda: reader(folder, name="x"), lambda: nn.OFRecordBytesDecoder("encoded", name="x"),
                 lambda: nn.OFRecordRawDecoder("class/label", (), flow.int32, name="x")):  # fmt: skip
        with pytest.warns(DeprecationWarning, match="name has no effect") as caught:
            make()
        assert caught[0].filename == __file__


# ---------------------------------------------------------------- raw decoder


@pytest.mark.parametrize(("feature", "arguments", "expected"), [
    (np.array([1.5, 2.5], np.float32), {"shape": (3,), "dtype": flow.float32, "truncate": True}, [1.5, 2.5, 0]),
    ([1.0, 2.0, 3.0, 4.0], {"shape": (3,), "dtype": flow.float32, "truncate": True}, [1, 2, 3]),
    (np.array([7], np.int64), {"shape": (), "dtype": flow.int32}, 7),
    (np.array([2**32 + 7], np.int64), {"shape": (), "dtype": flow.int32}, 7),
    (np.array([-1.9, 1.9]), {"shape": (2,), "dtype": flow.int64}, [-1, 1]),
    (bytes([200, 1]), {"shape": (2,), "dtype": flow.int32}, [200, 1]),
    (bytes([200, 1]), {"shape": (2,), "dtype": flow.float64}, [200, 1]),
    (bytes([200, 1]), {"shape": (2,), "dtype": flow.int8}, [-56, 1]),
    (bytes([200, 1]), {"shape": (2,), "dtype": flow.char}, [-56, 1]),
    (bytes([200, 1]), {"shape": (2,), "dtype": "char"}, [-56, 1]),
    (bytes([200, 1]), {"shape": (1, 2), "dtype": flow.uint8}, [[200, 1]]),
    (bytes([9]), {"shape": (3,), "dtype": flow.uint8, "truncate": True}, [9, 0, 0]),
    ([1, 2], {"shape": [2, 2], "dtype": flow.int32, "dim1_varying_length": True}, [[1, 2], [0, 0]]),
])  # fmt: skip
def test_raw_values(tmp_path, feature, arguments, expected):
    found = nn.OFRecordRawDecoder("x", **arguments)(one_record(tmp_path, x=feature)())
    assert (found.dtype, found.shape) == (as_dtype(arguments["dtype"]), (1, *arguments["shape"]))
    assert found.tolist() == [expected]
    assert not found.requires_grad


@pytest.mark.parametrize(("feature", "arguments", "message"), [
    ([1, 2, 3, 4], {"shape": (3,)}, "expected 3 values for shape .*, found 4"),
    ([1, 2, 3, 4], {"shape": (3,), "dim1_varying_length": True}, "expected 3 values for shape .*, found 4"),
    (b"abcd", {"shape": (3,)}, "expected 3 values for shape .*, found 4"),
    (b"ab", {"shape": (3,)}, "expected 3 values for shape .*, found 2"),
    ([b"a", b"b"], {"shape": (2,)}, "expected exactly one bytes value, found 2"),
    (Feature(None, ()), {"shape": ()}, "expected numbers or bytes, found a feature of no kind"),
])  # fmt: skip
def test_raw_values_that_do_not_fit(tmp_path, feature, arguments, message):
    read = one_record(tmp_path, x=feature)
    with pytest.raises(
        RecordError, match=rf"OFRecordRawDecoder: record 0 \(.*part-0 at byte 0\): feature 'x': {message}"
    ):
        nn.OFRecordRawDecoder("x", dtype=flow.int32, **arguments)(read())


def test_the_old_name_of_truncate(tmp_path):
    with pytest.warns(DeprecationWarning, match="auto_zero_padding is the old name of truncate"):
        module = nn.OFRecordRawDecoder("x", (2,), flow.int32, auto_zero_padding=True)
    assert module(one_record(tmp_path, x=1)()).tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", [flow.float16, flow.bool, flow.int16, flow.bfloat16])
def test_raw_dtypes_are_those_of_the_reference(dtype):
    with pytest.raises(ValueError, match="OFRecordRawDecoder: expected dtype to be one of char, int8, uint8, int32"):
        nn.OFRecordRawDecoder("x", (), dtype)


def test_a_negative_shape():
    with pytest.raises(ValueError, match="OFRecordRawDecoder: expected shape of extents >= 0"):
        nn.OFRecordRawDecoder("x", (-1,), flow.int32)


# ---------------------------------------------------------------- bytes and images


def test_bytes_are_verbatim_and_may_be_empty(tmp_path):
    write_parts(tmp_path, [{"x": bytes(range(256))}, {"x": b""}, {"x": "text"}], 1, suffix_length=-1)
    found = nn.OFRecordBytesDecoder("x")(nn.OFRecordReader(tmp_path, 3)())
    assert (found.dtype, found.shape) == (flow.tensor_buffer, (3,))
    whole, empty, text = found.numpy()
    assert {each.dtype for each in (whole, empty, text)} == {np.dtype(np.uint8)}
    np.testing.assert_array_equal(whole, np.arange(256))
    assert empty.shape == (0,)
    assert text.tobytes().decode() == "text"
    whole[0] = 1  # the caller's own


@pytest.mark.parametrize("encoded", [codec.encode_jpeg(picture(9, 7)), codec.encode_png(picture(9, 7)),
                                     codec.encode_jpeg(picture(9, 7, channels=1))])  # fmt: skip
@pytest.mark.parametrize("color_space", ["RGB", "BGR", "GRAY"])
def test_images_of_every_kind_in_every_color_space(tmp_path, encoded, color_space):
    found = nn.OFRecordImageDecoder("x", color_space)(one_record(tmp_path, x=encoded)())
    [image] = found.numpy()
    assert image.shape == (9, 7, 1 if color_space == "GRAY" else 3)
    np.testing.assert_array_equal(image, codec.decode(encoded, color_space))


def test_the_default_color_space_is_bgr(tmp_path):
    image = picture(9, 7)
    records = one_record(tmp_path, x=codec.encode_png(image))()
    np.testing.assert_array_equal(nn.OFRecordImageDecoder("x")(records).numpy()[0], image[:, :, ::-1])
    cropped = nn.OFRecordImageDecoderRandomCrop("x", random_area=[1.0, 1.0], random_aspect_ratio=[0.5, 1.5])
    window = cropped(records).numpy()[0]
    assert window.shape[2] == 3


@pytest.mark.parametrize("module", [nn.OFRecordImageDecoder("x"), nn.OFRecordImageDecoderRandomCrop("x"),
                                    nn.OFRecordBytesDecoder("x")], ids=lambda m: type(m).__name__)  # fmt: skip
@pytest.mark.parametrize(("features", "message"), [
    ({"y": b"", "z": 1}, "feature 'x' is missing; the record has y, z"),
    ({"x": 1}, "feature 'x': expected exactly one bytes value, found 1 of kind int32"),
    ({"x": [b"a", b"b"]}, "feature 'x': expected exactly one bytes value, found 2 of kind bytes"),
])  # fmt: skip
def test_wrong_features(tmp_path, module, features, message):
    read = one_record(tmp_path, **features)
    with pytest.raises(RecordError, match=rf"{type(module).__name__}: record 0 \(.*part-0 at byte 0\): {message}"):
        module(read())


def test_bytes_that_are_no_image(tmp_path):
    for number, content in enumerate((b"GIF89a", codec.encode_jpeg(picture(9, 7))[:-20], b"")):
        read = one_record(tmp_path / str(number), x=content)
        with pytest.raises(RecordError, match=r"OFRecordImageDecoder: record 0 \(.*part-0 at byte 0\): feature 'x': "):
            nn.OFRecordImageDecoder("x")(read())


@pytest.mark.parametrize(("make", "message"), [
    (lambda: nn.OFRecordImageDecoder("x", "rgb"), "OFRecordImageDecoder: expected color_space to be one of RGB, BGR"),
    (lambda: nn.OFRecordImageDecoderRandomCrop("x", num_attempts=0), "RandomCrop: expected num_attempts >= 1, got 0"),
    (lambda: nn.OFRecordImageDecoderRandomCrop("x", random_area=[0.5, 0.2]), "RandomCrop: expected area as two"),
    (lambda: nn.OFRecordImageDecoderRandomCrop("x", random_area=[0.5, 1.2]), "RandomCrop: expected area as shares"),
    (lambda: nn.OFRecordImageDecoderRandomCrop("x", random_aspect_ratio=[1.0]), "RandomCrop: expected aspect_ratio as"),
])  # fmt: skip
def test_decoder_arguments_are_checked_when_the_module_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("module", [LABEL, nn.OFRecordBytesDecoder("x"), nn.OFRecordImageDecoder("x")],
                         ids=lambda m: type(m).__name__)  # fmt: skip
def test_decoders_take_records_only(folder, module):
    images = nn.OFRecordImageDecoder("encoded")(reader(folder)())
    for wrong, got in ((images, r"one of type flownn\.tensor_buffer"), (flow.ones(2), r"one of type flownn\.float32"),
                       ([1], "list")):  # fmt: skip
        with pytest.raises(DtypeError, match=rf"expected a tensor of type flownn\.of_record, got {got}"):
            module(wrong)


# ---------------------------------------------------------------- equality with pipelines


SEED = 11
CROP = {"crop_h": 4, "crop_w": 5, "mean": [120.0, 110.0, 100.0], "std": [60.0, 61.0, 62.0]}


def module_batches(folder, batches, shard=None, batch_size=4):
    read = reader(folder, batch_size, random_shuffle=True, shuffle_buffer_size=5, random_seed=SEED, shard=shard)
    image = nn.OFRecordImageDecoderRandomCrop("encoded", "RGB", random_seed=SEED, random_area=[0.5, 1.0])
    normalized = nn.CropMirrorNormalize("RGB", **CROP)
    for _ in range(batches):
        records = read()
        yield LABEL(records).numpy(), normalized(image(records)).numpy()


def python_pipeline(folder):
    return Pipeline(
        OFRecordSource(folder),
        [decode.OFRecordRawDecoder(feature="class/label", output="label"),
         decode.OFRecordImageDecoderRandomCrop(color_space="RGB", area=(0.5, 1.0)),
         normalize.CropMirrorNormalize(crop=(4, 5), mean=tuple(CROP["mean"]), std=tuple(CROP["std"]))],
        batch_size=4, order=Buffered(5), seed=SEED,
    )  # fmt: skip


def yaml_pipeline(folder):
    return pipeline_from({
        "source": {"ofrecord": {"dir": str(folder)}}, "order": {"buffered": 5}, "seed": SEED, "batch_size": 4,
        "stages": [
            {"ofrecord_raw_decoder": {"feature": "class/label", "output": "label"}},
            {"ofrecord_image_decoder_random_crop": {"color_space": "RGB", "area": [0.5, 1.0]}},
            {"crop_mirror_normalize": {"crop": [4, 5], "mean": CROP["mean"], "std": CROP["std"]}},
        ],
    })  # fmt: skip


def rows_of(pipeline, epochs):
    rows = []
    with pipeline.loader() as loader:
        for _ in range(epochs):
            for batch in loader:
                rows += zip(batch["label"].tolist(), batch["image"].copy(), strict=True)
    return rows


@pytest.mark.parametrize("pipeline", [python_pipeline, yaml_pipeline])
def test_modules_make_the_arrays_of_the_pipeline(folder, pipeline):
    """Batches differ (the modules' straddle epochs), samples do not."""
    expected = rows_of(pipeline(folder), 4)
    found = [row for labels, images in module_batches(folder, 13) for row in zip(labels, images, strict=True)]
    assert len(found) == len(expected) == 52
    for (label, image), (wanted_label, wanted_image) in zip(found, expected, strict=True):
        assert label == wanted_label
        np.testing.assert_array_equal(image, wanted_image)
    assert len({image.tobytes() for _, image in found}) > 40  # the windows do change from epoch to epoch


def test_a_sample_is_the_same_on_whatever_rank(tmp_path):
    folder = write_dataset(tmp_path, counts=(4, 4, 4, 4))
    first_epoch = {label: image for label, image in rows_of(python_pipeline(folder), 1)}
    for rank in range(4):
        [(labels, images)] = module_batches(folder, 1, ShardSpec(rank, 4))
        assert sorted(labels) == list(range(4 * rank, 4 * rank + 4))
        for label, image in zip(labels.tolist(), images, strict=True):
            np.testing.assert_array_equal(image, first_epoch[label])


def test_windows_repeat_with_the_seed_only(folder):
    def windows(seed):
        module = nn.OFRecordImageDecoderRandomCrop("encoded", random_seed=seed)
        return [image.tobytes() for image in module(reader(folder, 13)()).numpy()]

    assert windows(-1) == windows(-1) != windows(0)
    assert windows(None) != windows(None)


def test_two_ranks_read_what_one_reads_in_a_batch_of_both(tmp_path):
    """Local batches of two ranks, put together, hold the records of the data set once per pass."""
    write_parts(tmp_path, [{"class/label": i} for i in range(8)], 4)
    ranks = [flat(labels(reader(tmp_path, 2, shard=ShardSpec(rank, 2)), 2)) for rank in range(2)]
    assert ranks == [[0, 1, 2, 3], [4, 5, 6, 7]]
