"""Decoding files and resizing pictures as modules, and the whole chain of an ImageNet script."""

import cv2
import numpy as np
import pytest

import flownn as flow
from flowdata import codec
from flowdata.errors import RecordError
from flowdata.pipeline import Pipeline
from flowdata.records.writer import write_parts
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.stages.decode import OFRecordImageDecoderRandomCrop
from flowdata.stages.geometry import Resize
from flowdata.stages.normalize import CropMirrorNormalize
from flownn.errors import DtypeError, ShapeError
from tests.helpers.records import picture, write_dataset

nn = flow.nn
MEAN, STD = [123.68, 116.779, 103.939], [58.393, 57.12, 57.375]


def files(tmp_path, contents):
    """The contents as the tensor of bytes that a reader makes."""
    write_parts(tmp_path / "files", [{"x": content} for content in contents], 1, suffix_length=-1)
    return nn.OFRecordBytesDecoder("x")(nn.OFRecordReader(tmp_path / "files", len(contents))())


def pictures(tmp_path, images, dtype=flow.uint8):
    return nn.image.decode(dtype, "RGB")(files(tmp_path, [codec.encode_png(image) for image in images]))


# ---------------------------------------------------------------- decode


@pytest.mark.parametrize("dtype", [flow.uint8, flow.float32])
@pytest.mark.parametrize("color_space", ["RGB", "BGR", "GRAY"])
def test_files_are_decoded(tmp_path, dtype, color_space):
    contents = [codec.encode_jpeg(picture(9, 7)), codec.encode_png(picture(5, 6, channels=1))]
    found = nn.image.decode(dtype, color_space)(files(tmp_path, contents))
    assert found.dtype is flow.tensor_buffer
    for image, content in zip(found.numpy(), contents, strict=True):
        np.testing.assert_array_equal(image, codec.decode(content, color_space).astype(dtype.dtype), strict=True)


def test_what_cannot_be_decoded(tmp_path):
    with pytest.raises(RecordError, match=r"ImageDecode: record 0 \(.*part-0 at byte 0\): expected a JPEG, PNG"):
        nn.image.decode()(files(tmp_path, [b"GIF89a"]))
    images = pictures(tmp_path / "good", [picture(4, 4)])
    with pytest.raises(
        ShapeError, match=r"ImageDecode: expected files as uint8 \(bytes,\), got uint8 \(4, 4, 3\) \(.*part"
    ):
        nn.image.decode()(images)
    with pytest.raises(DtypeError, match=r"ImageDecode: expected a tensor of type flownn\.tensor_buffer, got"):
        nn.image.decode()(flow.ones(3))
    with pytest.raises(DtypeError, match=r"ImageDecode: expected dtype uint8 or float32, got flownn\.int32"):
        nn.image.decode(flow.int32)
    with pytest.raises(ValueError, match="ImageDecode: expected color_space to be one of RGB, BGR, GRAY"):
        nn.image.decode(color_space="YUV")


# ---------------------------------------------------------------- resize


def test_to_one_size(tmp_path):
    images = [picture(9, 7), picture(20, 30)]
    found, scale, new_size = nn.image.Resize((6, 4), interpolation_type="bilinear")(pictures(tmp_path, images))
    assert (found.dtype, found.shape) == (flow.uint8, (2, 4, 6, 3))
    for row, image in enumerate(images):
        np.testing.assert_array_equal(found.numpy()[row], cv2.resize(image, (6, 4)))
    np.testing.assert_array_equal(scale.numpy(), np.array([[6 / 7, 4 / 9], [6 / 30, 4 / 20]], np.float32), strict=True)
    assert new_size is None


@pytest.mark.parametrize(("dtype_in", "dtype_out"), [(flow.uint8, flow.float32), (flow.float32, flow.uint8),
                                                     (flow.float32, flow.float32)])  # fmt: skip
def test_types_are_converted_after_resizing(tmp_path, dtype_in, dtype_out):
    image = picture(9, 7)
    found, _, _ = nn.image.Resize([5, 4], dtype=dtype_out)(pictures(tmp_path, [image], dtype_in))
    expected = cv2.resize(image.astype(dtype_in.dtype), (5, 4), interpolation=cv2.INTER_AREA).astype(dtype_out.dtype)
    np.testing.assert_array_equal(found.numpy()[0], expected, strict=True)


@pytest.mark.parametrize(("width", "height", "arguments", "size"), [
    (367, 349, {"target_size": 256}, (269, 256)),
    (640, 480, {"target_size": 800, "max_size": 1333}, (1067, 800)),
    (1000, 300, {"target_size": 800, "max_size": 1333}, (1333, 400)),
    (640, 480, {"target_size": 1000, "resize_side": "longer", "min_size": 600}, (1000, 750)),
    (1000, 300, {"target_size": 1000, "resize_side": "longer", "min_size": 600}, (2000, 600)),
])  # fmt: skip
def test_the_sizes_of_the_specification(tmp_path, width, height, arguments, size):
    images = [np.zeros((height, width, 3), np.uint8), np.zeros((width, height, 3), np.uint8)]
    found, scale, new_size = nn.image.Resize(keep_aspect_ratio=True, **arguments)(pictures(tmp_path, images))
    assert found.dtype is flow.tensor_buffer
    assert [image.shape for image in found.numpy()] == [(size[1], size[0], 3), (size[0], size[1], 3)]
    np.testing.assert_array_equal(new_size.numpy(), np.array([size, size[::-1]], np.int32), strict=True)
    expected = np.array([[size[0] / width, size[1] / height], [size[1] / height, size[0] / width]], np.float32)
    np.testing.assert_array_equal(scale.numpy(), expected, strict=True)


@pytest.mark.parametrize(("name", "method"), [
    ("bilinear", cv2.INTER_LINEAR), ("nearest_neighbor", cv2.INTER_NEAREST), ("nn", cv2.INTER_NEAREST),
    ("bicubic", cv2.INTER_CUBIC), ("area", cv2.INTER_AREA), ("auto", cv2.INTER_AREA),
])  # fmt: skip
def test_interpolations(tmp_path, name, method):
    image = picture(30, 40)
    found, _, _ = nn.image.Resize((13, 11), interpolation_type=name)(pictures(tmp_path, [image]))
    np.testing.assert_array_equal(found.numpy()[0], cv2.resize(image, (13, 11), interpolation=method))


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"target_size": 5}, ValueError, r"expected target_size as \(width, height\), got 5"),
    ({"target_size": (5, 5, 5)}, ValueError, r"expected target_size as \(width, height\)"),
    ({"target_size": (0, 5)}, ValueError, "expected width >= 1, got 0"),
    ({"target_size": (5, 5), "keep_aspect_ratio": True}, ValueError, "expected target_size as one length"),
    ({"target_size": 5, "keep_aspect_ratio": True, "max_size": 4}, ValueError, "max_size limits the longer side"),
    ({"target_size": 5, "keep_aspect_ratio": True, "min_size": 4}, ValueError, "min_size limits the shorter side"),
    ({"target_size": 5, "keep_aspect_ratio": True, "dtype": flow.uint8}, ValueError, "dtype is for results of one"),
    ({"target_size": (5, 5), "max_size": 9}, ValueError, "min_size and max_size need keep_aspect_ratio=True"),
    ({"target_size": (5, 5), "resize_side": "left"}, ValueError, "expected resize_side to be shorter or longer"),
    ({"target_size": (5, 5), "channels": 4}, ValueError, "expected channels to be 1 or 3, got 4"),
    ({"target_size": (5, 5), "interpolation_type": "cubic"}, ValueError, "expected interpolation_type to be one of"),
    ({"target_size": (5, 5), "dtype": flow.int8}, DtypeError, "expected dtype uint8 or float32, got flownn.int8"),
])  # fmt: skip
def test_arguments_are_checked_when_the_module_is_made(arguments, error, message):
    with pytest.raises(error, match=f"ImageResize: {message}"):
        nn.image.Resize(**arguments)


def test_inputs_are_checked(tmp_path):
    resize = nn.image.Resize((5, 5))
    with pytest.raises(DtypeError, match=r"ImageResize: expected a tensor of type flownn\.tensor_buffer, got"):
        resize(flow.ones(1, 4, 4, 3, dtype=flow.uint8))
    with pytest.raises(
        ShapeError, match=r"ImageResize: .*\(height, width, 3\) of one type, got uint8 \(6,\) \(.*part-0 at"
    ):
        resize(files(tmp_path, [b"GIF89a"]))
    with pytest.raises(ShapeError, match=r"\(height, width, 1\) of one type, got uint8 \(4, 4, 3\)"):
        nn.image.Resize((5, 5), channels=1)(pictures(tmp_path / "b", [picture(4, 4)]))


# ---------------------------------------------------------------- the chain


def test_an_imagenet_script_makes_the_arrays_of_its_pipeline(tmp_path):
    folder = write_dataset(tmp_path, counts=(4, 5))
    read = nn.OFRecordReader(folder, 9, data_part_num=2, part_name_suffix_length=5)
    crop = nn.OFRecordImageDecoderRandomCrop("encoded", color_space="RGB", random_seed=5)
    resize = nn.image.Resize(target_size=[22, 20], interpolation_type="bilinear")
    normalize = nn.CropMirrorNormalize(color_space="RGB", mean=MEAN, std=STD)
    pipeline = Pipeline(
        OFRecordSource(folder),
        [OFRecordImageDecoderRandomCrop(), Resize(size=(20, 22)),
         CropMirrorNormalize(mean=tuple(MEAN), std=tuple(STD))],
        batch_size=9, seed=5,
    )  # fmt: skip
    with pipeline.loader() as loader:
        for _ in range(2):
            images = normalize(resize(crop(read()))[0])
            for batch in loader:
                np.testing.assert_array_equal(images.numpy(), batch["image"], strict=True)
