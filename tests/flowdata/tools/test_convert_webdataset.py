import io
import json
import tarfile

import numpy as np
import pytest

from flowdata import codec
from flowdata.cli import main
from flowdata.errors import ConfigError, DataError
from flowdata.tools.convert_webdataset import convert_webdataset
from flowdata.tools.pictures import ImageOptions
from tests.helpers.records import picture, records_in


def write_tar(path, members, kind=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=kind) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(number, extension="jpg", **more):
    encode = codec.encode_jpeg if extension == "jpg" else codec.encode_png
    members = {extension: encode(picture(24, 32, seed=number)), "cls": b"%d\n" % number, **more}
    return [(f"some/where/{number:06d}.{name}", content) for name, content in members.items()]


@pytest.fixture
def shards(tmp_path):
    (tmp_path / "src").mkdir()
    write_tar(tmp_path / "src" / "b.tar", sample(2, "png") + sample(3, **{"seg.png": b"mask"}))
    write_tar(tmp_path / "src" / "a.tar", sample(0, json=b'{"label": 70}') + sample(1, txt="grün".encode()))
    return tmp_path / "src"


def test_samples_become_records_in_order(shards, tmp_path):
    result = convert_webdataset(shards, tmp_path / "out", parts=2, digests=True)
    assert (result.kept, result.encoded, result.skipped) == (3, 1, [])
    found = records_in(tmp_path / "out" / "train")
    assert [int(each["class/label"].values[0]) for each in found] == [0, 1, 2, 3]
    assert [each["filename"].values[0].decode() for each in found] == [
        f"some/where/{number:06d}.{'png' if number == 2 else 'jpg'}" for number in range(4)
    ]
    for number in (0, 1, 3):
        assert found[number]["encoded"].values[0] == codec.encode_jpeg(picture(24, 32, seed=number))
    again = codec.decode(found[2]["encoded"].values[0]).astype(int)
    assert np.abs(again - picture(24, 32, seed=2)).mean() < 3
    assert [int(found[2][name].values[0]) for name in ("height", "width", "channels")] == [24, 32, 3]
    assert json.loads(found[0]["json"].values[0]) == {"label": 70}
    assert found[1]["txt"].values[0].decode() == "grün"
    assert found[3]["seg.png"].values[0] == b"mask"
    assert "cls" not in found[0]


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_kind_of_tar_and_long_names(tmp_path, kind):
    long = "d/" * 45 + "x" * 60  # needs an extension header or a prefix
    path = write_tar(tmp_path / "x.tar", [(f"{long}.JPG", codec.encode_jpeg(picture(24, 32)))], kind)
    convert_webdataset(path, tmp_path / "out", parts=1)
    [record] = records_in(tmp_path / "out" / "train")
    assert record["filename"].values[0].decode() == f"{long}.jpg"
    assert "class/label" not in record


def test_labels_from_json(shards, tmp_path):
    result = convert_webdataset(shards, tmp_path / "out", parts=1, json_label="label")
    assert [int(each["class/label"].values[0]) for each in records_in(tmp_path / "out" / "train")] == [70]
    assert [each.name.split(":")[0] for each in result.skipped] == ["a.tar", "b.tar", "b.tar"]
    assert "expected a whole number as 'label' in .json, found KeyError" in result.skipped[0].reason


def test_image_options(shards, tmp_path):
    options = ImageOptions(short_side=12, row_restarts=True)
    convert_webdataset(shards, tmp_path / "out", parts=1, options=options)
    for record in records_in(tmp_path / "out" / "train"):
        data = record["encoded"].values[0]
        assert codec.image_size(data) == (12, 16)
        np.testing.assert_array_equal(record["encoded/rows"].values, codec.row_offsets(data))


@pytest.mark.parametrize(("members", "message"), [
    ([("a.txt", b"x")], "no image; the sample has txt"),
    ([("a.jpg", b"no picture"), ("a.cls", b"1")], "no image that OpenCV reads"),
    ([("a.jpg", codec.encode_jpeg(picture(8, 8))), ("a.cls", b"one")], "a whole number as .cls, found ValueError"),
    ([("a.jpg", codec.encode_jpeg(picture(8, 8))), ("a.cls", b"9" * 30)], "a whole number as .cls, found 9999"),
    ([("a.jpg", codec.encode_jpeg(picture(8, 8))[:-4])], "cut short"),
])  # fmt: skip
def test_bad_samples_are_skipped_and_listed(tmp_path, members, message):
    path = write_tar(tmp_path / "x.tar", sample(0) + members)
    [skipped] = convert_webdataset(path, tmp_path / "out", parts=1).skipped
    assert skipped.name == "x.tar: a"
    assert message in skipped.reason


def test_members_that_belong_to_no_sample_are_left_out(tmp_path):
    members = [(".hidden", b"x"), ("d/.jpg", b"x"), ("noextension", b"x"), ("README", b"x"), *sample(5)]
    assert convert_webdataset(write_tar(tmp_path / "x.tar", members), tmp_path / "out", parts=1).skipped == []
    assert len(records_in(tmp_path / "out" / "train")) == 1


def test_a_tar_that_is_cut_short(tmp_path):
    path = write_tar(tmp_path / "x.tar", sample(0) + sample(1))
    whole = path.read_bytes()
    at = whole.rindex(b"\xff\xd8\xff")
    path.write_bytes(whole[: at + 100])
    result = convert_webdataset(path, tmp_path / "out", parts=1)
    assert result.skipped
    assert [int(each["class/label"].values[0]) for each in records_in(tmp_path / "out" / "train")] == [0]


def test_wrong_input(tmp_path):
    with pytest.raises(ConfigError, match="expected tar files, found none at"):
        convert_webdataset(tmp_path, tmp_path / "out")
    (tmp_path / "x.tar").write_bytes(b"no tar file" * 100)
    with pytest.raises(DataError, match="holds no sample; the first problem is expected an uncompressed tar file"):
        convert_webdataset(tmp_path / "x.tar", tmp_path / "out")
    with tarfile.open(tmp_path / "x.tar", "w:gz"):
        pass
    with pytest.raises(DataError, match="expected an uncompressed tar file"):
        convert_webdataset(tmp_path / "x.tar", tmp_path / "out")


def test_the_command(shards, tmp_path, capsys):
    arguments = ["convert", "webdataset", str(shards), str(tmp_path / "out"), "--parts", "2", "--row-restarts"]
    assert main([*arguments, "--digests", "--quality", "90"]) == 0
    assert capsys.readouterr().out.startswith("4 train in 2 parts")
    assert main(["verify", str(tmp_path / "out"), "--decode"]) == 0
