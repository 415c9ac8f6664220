from pathlib import Path

import numpy as np
import pytest

from flowdata.dataset import DatasetInfo, SplitInfo
from flowdata.errors import ConfigError, RecordError
from flowdata.records.wire import Feature
from flowdata.records.writer import write_parts
from flowdata.tools.inspect import describe_feature, inspect


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Seven records of classes a, b, b, c, c, c, c in two parts."""
    labels = [0, 1, 1, 2, 2, 2, 2]
    features = [
        {"class/label": label, "encoded": b"\xff\xd8" * 40, "text": f"number {n}"} for n, label in enumerate(labels)
    ]
    write_parts(tmp_path / "train", features, 2)
    DatasetInfo(classes=("a", "b", "c"), splits={"train": SplitInfo(directory="train", parts=2, records=7)}).save(
        tmp_path
    )
    return tmp_path


@pytest.mark.parametrize("name", ["", "dataset.json", "train"])
def test_parts_records_features_and_classes(dataset: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(dataset / name, records=1)
    out = capsys.readouterr().out
    size = sum(path.stat().st_size for path in (dataset / "train").glob("part-*"))
    assert f"7 records in 2 part files, {size / 1e6:.2f} MB" in out
    assert "part-00000  4 records" in out
    assert "part-00001  3 records" in out
    assert "encoded: bytes, 80 bytes starting ff d8 ff d8" in out
    assert "text: bytes, 'number 0'" in out
    assert "number 1" not in out
    assert out.splitlines()[-3:] == ["    0 (a): 1", "    1 (b): 2", "    2 (c): 4"]


def test_a_single_part(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(dataset / "train" / "part-00001", records=0)
    out = capsys.readouterr().out
    assert "3 records in 1 part files" in out
    assert out.splitlines()[-1] == "    2 (c): 3"


def test_what_is_not_there_and_what_is_damaged(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: expected a part file"):
        inspect(tmp_path / "nowhere")
    part = dataset / "train" / "part-00001"
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(RecordError, match=r"part-00001 at byte \d+"):
        inspect(dataset)
    part.unlink()
    with pytest.raises(ConfigError, match=r"missing: .*part-00001"):
        inspect(dataset)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (list(range(10)), "int32[10] 0 1 2 3 4 5 6 7 …"),
        (np.array([1.5]), "double[1] 1.5"),
        (Feature("float", np.zeros(0, np.float32)), "float[0]"),
        (Feature(None, ()), "no kind"),
        ([b"a", b"\xff"], "bytes[2] 'a' 1 bytes"),
        (b"\x00\x01", "bytes, 2 bytes starting 00 01"),
    ],
)
def test_features_in_words(value: object, expected: str) -> None:
    assert describe_feature(Feature.of(value)) == expected  # type: ignore[arg-type]
