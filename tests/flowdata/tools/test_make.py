from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from flowdata import codec
from flowdata.errors import ConfigError, DataError
from flowdata.sample import SampleKey
from flowdata.sources.ofrecord import OFRecordSource
from flowdata.tools import make
from flowdata.tools.make import make_digits, make_photos

sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "data"
    make_digits(out)
    return out


def test_the_digits_are_the_scans_of_scikit_learn_each_once(digits: Path) -> None:
    scans = sklearn_datasets.load_digits()
    seen: Counter[int] = Counter()
    per_class: dict[str, Counter[int]] = {}
    for split, parts in (("train", 4), ("val", 2)):
        source = OFRecordSource(digits / split, parts)
        source.open()
        per_class[split] = Counter()
        for index in range(len(source)):
            record = source.read(SampleKey(0, index))["record"]
            number = int(record["data_id"].values[0])
            seen[number] += 1
            label = int(record["class/label"].values[0])
            per_class[split][label] += 1
            assert label == scans.target[number]
            assert record["class/text"].values == (str(label).encode(),)
            image = cv2.imdecode(np.frombuffer(record["encoded"].values[0], np.uint8), cv2.IMREAD_UNCHANGED)
            assert image.shape == (8, 8)
            # JPEG of quality 95 is off by a few grey levels of the 255
            np.testing.assert_allclose(image, scans.images[number] * 255 / 16, atol=12)
        source.close()
    assert seen == Counter(range(1797))
    assert per_class["val"].total() == 360
    for label, count in Counter(scans.target.tolist()).items():
        assert abs(per_class["val"][label] - count * 360 / 1797) < 1


def test_equal_seeds_give_equal_digits(digits: Path, tmp_path: Path) -> None:
    make_digits(tmp_path / "same")
    make_digits(tmp_path / "other", seed=1)
    first = (digits / "train" / "part-00000").read_bytes()
    assert (tmp_path / "same" / "train" / "part-00000").read_bytes() == first
    assert (tmp_path / "other" / "train" / "part-00000").read_bytes() != first


def test_digits_do_not_overwrite_unasked(digits: Path) -> None:
    with pytest.raises(ConfigError, match="--overwrite"):
        make_digits(digits)


def test_missing_scikit_learn_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        make_digits(tmp_path / "out")
    with pytest.raises(DataError, match="pip install scikit-image"):
        make_photos(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_photos_look_like_photographs_on_disk(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="half of the photographs come with scikit-image")
    made = make_photos(tmp_path / "photos", count=64, seed=1)
    files = sorted((tmp_path / "photos").glob("*/*.jpg"))
    assert made.count == len(files) == 64
    sizes = [path.stat().st_size for path in files]
    assert made.mean_bytes == pytest.approx(np.mean(sizes))
    assert 99_000 < made.mean_bytes < 121_000
    assert {path.parent.name for path in files} == set(make.PHOTOGRAPHS)
    infos = [codec.image_info(path.read_bytes()) for path in files]
    assert all(info.baseline and info.components == 3 for info in infos)
    assert np.median([info.width for info in infos]) == 500
    assert np.median([info.height for info in infos]) == 375
    assert any(info.height > info.width for info in infos)
    # horizontal and vertical sampling factors of the luminance: 1x1 means 4:4:4, 2x2 means 4:2:0
    factors = Counter(_luminance_sampling(path.read_bytes()) for path in files)
    assert set(factors) == {0x11, 0x22}
    assert factors[0x11] > factors[0x22] > 0


def _luminance_sampling(data: bytes) -> int:
    return data[data.index(b"\xff\xc0") + 11]


def test_equal_seeds_give_equal_photos(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="half of the photographs come with scikit-image")
    contents = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_photos(tmp_path / name, count=3, seed=seed)
        contents.append([path.read_bytes() for path in sorted((tmp_path / name).glob("*/*.jpg"))])
    assert contents[0] == contents[1]
    assert all(one != other for one, other in zip(contents[0], contents[2], strict=True))
    with pytest.raises(ConfigError, match="--overwrite"):
        make_photos(tmp_path / "a", count=1)
