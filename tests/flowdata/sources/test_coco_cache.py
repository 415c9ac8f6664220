"""The index of a COCO file comes from the cache only if it is whole and of this very file."""

import json
import os
import random
from dataclasses import fields

import numpy as np
import pytest

from flowdata.errors import ConfigError
from flowdata.sources import coco_cache
from flowdata.sources.coco import COCOSource
from flowdata.sources.coco_cache import load_index
from flowdata.sources.coco_index import CocoIndex
from tests.helpers.coco import random_tree, write_coco


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_cache, "LEAST_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return write_coco(tmp_path / "data", random_tree(random.Random(1)))[0]


@pytest.fixture
def built(monkeypatch):
    """How often an index was built."""
    calls = []
    build = coco_cache.build_index
    monkeypatch.setattr(coco_cache, "build_index", lambda *arguments: calls.append(1) or build(*arguments))
    return calls


def assert_equal(one, other):
    for each in fields(CocoIndex):
        left, right = getattr(one, each.name), getattr(other, each.name)
        if each.name == "files":
            assert left == right
        else:
            np.testing.assert_array_equal(left, right, strict=True)
            assert left.flags.writeable


def test_the_second_time_it_is_read_from_the_cache(file, built):
    for remove in (True, False):
        built.clear()
        first = load_index(file, remove)
        assert_equal(load_index(file, remove), first)
        assert len(built) == 1
    assert sorted(os.listdir(file.parent / ".flowdata-index")) == [
        "annotations.json.all.npz", "annotations.json.annotated.npz",
    ]  # fmt: skip
    source = COCOSource(file, file.parent / "images")
    assert source.fingerprint() == COCOSource(file, file.parent / "images").fingerprint()


def test_a_changed_file_is_read_again(file, built):
    before = load_index(file, False)
    tree = json.loads(file.read_text())
    tree["images"][0]["height"] += 1
    stamp = file.stat()
    file.write_text(json.dumps(tree))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    after = load_index(file, False)
    assert len(built) == 2
    assert after.sizes.sum() == before.sizes.sum() + 1


def test_small_files_leave_no_cache(file, monkeypatch):
    monkeypatch.setattr(coco_cache, "LEAST_BYTES", file.stat().st_size + 1)
    load_index(file, False)
    assert not (file.parent / ".flowdata-index").exists()


def test_where_nothing_can_be_written_beside_the_file(file, built, tmp_path):
    (file.parent / ".flowdata-index").write_text("in the way")
    load_index(file, False)
    load_index(file, False)
    assert len(built) == 1
    assert list((tmp_path / "user").rglob("*.npz"))


def test_where_nothing_can_be_written_at_all(file, built, tmp_path, monkeypatch):
    (file.parent / ".flowdata-index").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    load_index(file, False)
    load_index(file, False)
    assert len(built) == 2


def test_a_damaged_cache_is_never_believed(file, built):
    expected = load_index(file, False)
    [place] = (file.parent / ".flowdata-index").iterdir()
    content = place.read_bytes()
    rng = random.Random(0)
    for number in range(150):
        damaged = bytearray(content)
        if number % 3:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        else:
            del damaged[rng.randrange(len(damaged)) :]
        place.write_bytes(damaged)
        assert_equal(load_index(file, False), expected)
    assert len(built) > 100


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.json: the annotation file cannot be read \(No such file"):
        load_index(tmp_path / "no.json", True)
