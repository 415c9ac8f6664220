"""`flowdata diff`: numbers, places, the picture and the exit code."""

from dataclasses import replace

import numpy as np
import pytest

from flowdata import codec
from flowdata.cli import main
from flowdata.errors import StageError
from flowdata.mixing import MixUp
from flowdata.pipeline_config import load_pipeline
from flowdata.tools.diff import Difference, as_picture, compare, distances, drawn
from tests.helpers.records import picture

PIPELINE = """\
source: {ofrecord: {dir: nowhere, parts: 1}}
batch_size: 2
outputs: [image, label]
stages:
  - ofrecord_raw_decoder: {feature: class/label, output: label, dtype: int32}
  - ofrecord_image_decoder
  - resize: {size: [24, 20]}
  - crop_mirror_normalize: {mean: MEAN, std: 2}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        data = codec.encode_png(picture(30 + number, 40, seed=number))
        (tmp_path / "pictures" / f"{number}.png").write_bytes(data)
    (tmp_path / "a.yaml").write_text(PIPELINE.replace("MEAN", "100"))
    return tmp_path


def changed(folder, old, new):
    (folder / "b.yaml").write_text((folder / "a.yaml").read_text().replace(old, new))


def run(capsys, *arguments):
    code = main(["diff", "a.yaml", "b.yaml", "--images", "pictures", *arguments])
    return code, capsys.readouterr().out.splitlines()


def test_equal_pipelines(folder, capsys):
    changed(folder, "batch_size: 2", "batch_size: 3")
    assert run(capsys, "--out", "x.png") == (
        0, ["image: equal in 4 samples", "label: equal in 4 samples", "x.png: not written, no picture differs"],
    )  # fmt: skip
    assert not (folder / "x.png").exists()


def test_every_pixel_differs_by_the_same(folder, capsys):
    changed(folder, "mean: 100", "mean: [100, 101, 100]")
    code, lines = run(capsys, "--count", "3", "--out", "x.png")
    assert code == 1
    assert lines[0] == "image: 3 of 3 samples differ"
    assert lines[1].startswith("  by 0.5")
    assert lines[1].endswith("on average")
    assert float(lines[1].split()[1]) == pytest.approx(0.5, abs=1e-4)
    assert float(lines[1].split()[-3]) == pytest.approx(0.5 / 3, abs=1e-4)
    assert "pictures/" in lines[2]
    assert " at [1, " in lines[2]  # the green plane
    assert lines[3:] == ["label: equal in 3 samples", "x.png: the worst samples of both and their difference"]
    code, lines = run(capsys, "--tolerance", "0.51")
    assert code == 0
    assert lines[0] == "image: 0 of 4 samples differ"


def test_the_picture_shows_both_and_the_difference(folder, capsys):
    changed(folder, "- resize", "- gaussian_blur: {kernel_size: 5, sigma: 1}\n  - resize")
    assert run(capsys, "--out", "x.png")[0] == 1
    drawing = codec.decode((folder / "x.png").read_bytes())
    panels = [drawing[18 : 18 + 24 * 7, start : start + 20 * 7][3::7, 3::7] for start in (0, 144, 288)]
    found = compare(*(load_pipeline(name) for name in ("a.yaml", "b.yaml")), folder / "pictures", 4)
    [difference, _] = found.outputs
    first, second = (each.transpose(1, 2, 0) for each in difference.pair)
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    for panel, values in zip(panels, (first - low, second - low, None), strict=True):
        if values is not None:
            np.testing.assert_array_equal(panel, np.rint(values * (255 / (high - low))))
    assert panels[2].max() == 255
    place = difference.place
    assert panels[2][place[1], place[2], place[0]] == 255


def test_random_stages_draw_the_same_for_the_same_seed(folder):
    text = PIPELINE.replace("MEAN", "1").replace("- resize", "- rand_augment\n  - resize")
    (folder / "a.yaml").write_text(text)
    one = load_pipeline("a.yaml")
    assert [each.differing for each in compare(one, one, folder / "pictures", 4).outputs] == [0, 0]
    assert compare(one, replace(one, seed=1), folder / "pictures", 4).outputs[0].differing > 0


def test_sizes_outputs_and_batch_transforms(folder, capsys):
    changed(folder, "[24, 20]", "[24, 21]")
    code, lines = run(capsys)
    assert code == 1
    assert lines[0] == "image: 4 of 4 samples differ"
    assert lines[1].endswith("pictures/0.png: float32 (3, 24, 20) and float32 (3, 24, 21)")
    changed(folder, "outputs: [image, label]", "outputs: [image]")
    assert run(capsys) == (1, ["image: equal in 4 samples", "label: only in the first"])
    changed(folder, "stages:", "batch_transforms: [mixup: {num_classes: 3}]\nstages:")
    code, lines = run(capsys)
    assert code == 1
    assert lines[-1].startswith("batch_transforms: different; they are not run")
    assert load_pipeline("b.yaml").batch_transforms == (MixUp(num_classes=3),)


# -- bad pictures ----------------------------------------------------------------------------------------------------


def damage(folder, number):
    path = folder / "pictures" / f"{number}.png"
    path.write_bytes(path.read_bytes()[:-20])


def test_a_picture_that_both_refuse_is_named_and_no_difference(folder, capsys):
    changed(folder, "batch_size: 2", "batch_size: 3")
    damage(folder, 1)
    code, lines = run(capsys)
    assert (code, lines[:2]) == (0, ["image: equal in 3 samples", "label: equal in 3 samples"])
    assert len(lines) == 3
    assert lines[2].startswith("pictures/1.png: both refuse it: stage ofrecord_image_decoder: ")
    changed(folder, "mean: 100", "mean: 99")
    code, lines = run(capsys)
    assert (code, lines[0]) == (1, "image: 3 of 3 samples differ")


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_picture_that_one_accepts_is_a_difference(folder, capsys, which):
    changed(folder, "- ofrecord_image_decoder", "- ofrecord_image_decoder: {max_pixels: 1270}")  # 3.png has 33 x 40
    (folder / "pictures" / "4.png").write_bytes(b"no picture")
    if which == "first":
        (folder / "a.yaml").rename("c.yaml")
        (folder / "b.yaml").rename("a.yaml")
        (folder / "c.yaml").rename("b.yaml")
    code, lines = run(capsys)
    assert code == 1
    assert lines[0] == "image: equal in 2 samples"
    assert lines[2:4] == [
        f"pictures/{number}.png: only the {which} refuses it: stage ofrecord_image_decoder: feature 'encoded': PNG "
        f"image of {30 + number} x 40 pixels is over the limit of 1270 pixels"
        for number in (2, 3)
    ]
    assert lines[4].startswith("pictures/4.png: both refuse it: stage ofrecord_image_decoder: ")


def test_both_refuse_for_reasons_of_their_own(folder, capsys):
    (folder / "a.yaml").write_text(PIPELINE.replace("image_decoder", "image_decoder: {max_pixels: 1200}"))
    (folder / "b.yaml").write_text(PIPELINE.replace("image_decoder", "image_decoder: {max_pixels: 1210}"))
    for name in ("a.yaml", "b.yaml"):
        (folder / name).write_text((folder / name).read_text().replace("MEAN", "100"))
    code, lines = run(capsys)
    assert code == 0
    reasons = [
        f"stage ofrecord_image_decoder: feature 'encoded': PNG image of 31 x 40 pixels is over the limit of {limit} "
        f"pixels"
        for limit in (1200, 1210)
    ]
    assert lines[2] == f"pictures/1.png: both refuse it, the first: {reasons[0]}, the second: {reasons[1]}"


def test_where_nothing_can_be_compared_nothing_is_equal(folder, capsys):
    changed(folder, "batch_size: 2", "batch_size: 3")
    for number in range(4):
        damage(folder, number)
    code, lines = run(capsys)
    assert code == 1
    assert lines[0] == "image: not compared, there is no picture that both accept"
    assert len(lines) == 2 + 4


def test_a_mistake_in_a_stage_is_no_bad_picture(folder):
    def fails(sample, rng):
        raise ZeroDivisionError("by hand")

    one = load_pipeline("a.yaml")
    with pytest.raises(StageError, match="ZeroDivisionError: by hand"):
        compare(one, replace(one, stages=(*one.stages, fails)), folder / "pictures", 4)


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["no.yaml", "a.yaml", "--images", "pictures"], 2, "no.yaml"),
    (["a.yaml", "a.yaml", "--images", "nowhere"], 2, "nowhere: expected a directory of pictures"),
])  # fmt: skip
def test_what_is_missing_is_one_line(folder, capsys, arguments, code, message):
    assert main(["diff", *arguments]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_distances_of_what_is_no_number():
    left = np.array([1, np.nan, np.nan, np.inf, np.inf], np.float32)
    right = np.array([3, np.nan, 1, np.inf, -np.inf], np.float32)
    assert distances(left, right).tolist() == [2, 0, np.inf, 0, np.inf]
    assert distances(np.uint8([3]), np.uint8([250])).tolist() == [247]
    difference = Difference("x")
    difference.add("here", left, right, 0)
    assert (difference.differing, difference.largest, difference.place) == (1, np.inf, (2,))


def test_which_arrays_are_pictures():
    for shape, expected in (
        ((5, 6, 3), (5, 6)), ((3, 5, 6), (5, 6)), ((1, 5, 6), (5, 6)), ((5, 6), (5, 6)), ((5, 6, 1), (5, 6)),
    ):  # fmt: skip
        assert as_picture(np.zeros(shape)).shape == (*expected, 3)
    for shape in ((), (7,), (5, 6, 7), (2, 3, 4, 5), (0, 5, 3)):
        assert as_picture(np.zeros(shape)) is None
    assert drawn("x", np.zeros(3), np.ones(3)) is None
    assert drawn("x", np.zeros((4, 4)), np.full((4, 4), np.nan)).max() == 255
