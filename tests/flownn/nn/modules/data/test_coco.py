"""The COCO reader as a module: order, sharing, groups and contents."""

import copy
import json
import random
from itertools import islice

import numpy as np
import pytest

import flownn as flow
from flowdata.errors import ConfigError, RecordError
from flowdata.pipeline_config import pipeline_from
from flowdata.sample import SampleKey
from flowdata.sharding import ShardSpec
from flowdata.sources.coco import COCOSource
from flowdata.sources.endless import SampledKeys
from flowdist.env import RankInfo
from flownn.errors import DeviceError
from flownn.nn.modules.data import arguments
from tests.helpers.coco import random_tree, write_coco

nn = flow.nn

NAMES = ("image", "image_id", "image_size", "gt_bbox", "gt_label", "gt_segm", "gt_segm_index")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco"), random_tree(random.Random(5), images=16))


def reader(paths, batch_size=4, **arguments):
    return nn.COCOReader(*map(str, paths), batch_size, **arguments)


def ids(read, batches):
    return [read()[1].tolist() for _ in range(batches)]


def test_the_seven_outputs(paths):
    source = COCOSource(*paths)
    outputs = reader(paths, shuffle=False, group_by_aspect_ratio=False)()
    assert len(outputs) == 7
    found = dict(zip(NAMES, outputs, strict=True))
    assert {name: tensor.dtype for name, tensor in found.items()} == {name: flow.tensor_buffer for name in NAMES} | {
        "image_id": flow.int64,
        "image_size": flow.int32,
    }
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == dict.fromkeys(NAMES, (4,)) | {
        "image_size": (4, 2)
    }
    for row in range(4):
        sample = source.read(SampleKey(0, row))
        for name, tensor in found.items():
            np.testing.assert_array_equal(tensor.numpy()[row], sample[name], strict=True)
    assert not any(tensor.requires_grad for tensor in outputs)
    found["image"].numpy()[0][0] = 1
    found["gt_bbox"].numpy()[0][...] = 1


@pytest.mark.parametrize("group", [False, True])
def test_modules_make_the_arrays_of_the_pipeline(paths, group):
    """Reader, decode, resize, flip, normalize and align as modules, and all of it as YAML describes it."""
    file, folder = map(str, paths)
    pipeline = pipeline_from({
        "source": {"coco": {"annotation_file": file, "image_dir": folder}},
        "order": "sequential", "batch_size": 4, "last_batch": "wrap", "group_by_aspect_ratio": group,
        "outputs": ["image", *NAMES[1:], "scale", "new_size"],
        "stages": [
            {"image_decoder": {"color_space": "BGR"}},
            {"image_normalize": {"mean": 0, "std": 1, "layout": "NHWC"}},  # float32 before resizing, as the reference
            {"resize": {"shorter": 48, "max_size": 96, "interpolation": "auto", "scale": "scale",
                        "new_size": "new_size"}},
            {"coin_flip": {"probability": 1.0}},  # the module's coins are not the stage's
            "image_flip",
            {"image_normalize": {"mean": [102.9801, 115.9465, 122.7717], "std": [1, 2, 3], "layout": "NHWC"}},
        ],
        "batch_transforms": [{"image_batch_align": {"size": [96, 96], "alignment": 32}}],
    })  # fmt: skip
    read = reader(paths, shuffle=False, group_by_aspect_ratio=group)
    image = nn.image
    decode, resize = image.decode(flow.float32), image.Resize(48, max_size=96, keep_aspect_ratio=True)
    normalize = image.normalize(std=[1, 2, 3], mean=[102.9801, 115.9465, 122.7717])
    align = image.batch_align((96, 96, 3), flow.float32, 32)
    flip, coins = image.flip(), nn.CoinFlip(4, probability=1.0)
    expected = {}
    with pipeline.loader() as loader:
        for batch in loader:
            for row, id in enumerate(batch["image_id"].tolist()):
                expected[id] = {name: batch[name][row] for name in pipeline.outputs}
    seen = set()
    for _ in range(12):
        outputs = dict(zip(NAMES, read(), strict=True))
        resized, scale, new_size = resize(decode(outputs["image"]))
        outputs |= {"image": align(normalize(flip(resized, coins()))), "scale": scale, "new_size": new_size}
        for row, id in enumerate(outputs["image_id"].tolist()):
            seen.add(id)
            for name in pipeline.outputs:
                np.testing.assert_array_equal(outputs[name].numpy()[row], expected[id][name], err_msg=name, strict=True)
    assert seen == set(expected)
    assert len(seen) == read.dataset_size > 6


def test_without_shuffling_images_come_by_id_over_and_over(paths):
    source = COCOSource(*paths)
    count = len(source)
    read = reader(paths, 5, shuffle=False, group_by_aspect_ratio=False)
    assert read.dataset_size == count
    found = [id for batch in ids(read, 2 * count) for id in batch]
    assert found == source.index.image_ids.tolist() * 10


@pytest.mark.parametrize("stride", [True, False])
def test_ranks_share_one_shuffled_order(paths, stride):
    image_ids = COCOSource(*paths).index.image_ids
    for rank in range(3):
        shard = ShardSpec(rank, 3)
        read = reader(paths, 2, random_seed=8, group_by_aspect_ratio=False, stride_partition=stride, shard=shard)
        keys = islice(SampledKeys(len(image_ids), shard, True, 8, stride), 20)
        assert [id for batch in ids(read, 10) for id in batch] == [image_ids[key.index] for key in keys]


def test_two_ranks_of_two_are_one_rank_of_four(paths):
    """Position by position: rank r of two takes every second image of what one rank takes."""
    arguments = {"random_seed": 3, "group_by_aspect_ratio": False}
    one = np.array(ids(reader(paths, 4, **arguments), 10)).reshape(-1)
    for rank in range(2):
        mine = np.array(ids(reader(paths, 2, shard=ShardSpec(rank, 2), **arguments), 10)).reshape(-1)
        np.testing.assert_array_equal(mine, one[rank::2])


def test_a_batch_has_one_kind_of_shape_and_nothing_is_lost(paths):
    read = reader(paths, 3, random_seed=1)
    count = read.dataset_size
    seen = []
    for _ in range(40):
        outputs = read()
        sizes = outputs[2].numpy()
        assert len(set((sizes[:, 0] // sizes[:, 1]).tolist())) == 1
        seen += outputs[1].tolist()
    numbers = [seen.count(id) for id in set(seen)]
    assert len(numbers) == count
    assert max(numbers) - min(numbers) <= 2


def test_the_seed_decides_the_order(paths):
    assert ids(reader(paths, random_seed=2), 9) == ids(reader(paths, random_seed=2), 9)
    assert ids(reader(paths, random_seed=2), 9) != ids(reader(paths, random_seed=-1), 9)
    assert ids(reader(paths), 9) != ids(reader(paths), 9)


def test_ranks_without_a_seed_agree(paths, monkeypatch):
    def images_of(rank):
        monkeypatch.setattr(arguments, "rank_info", lambda: RankInfo(rank, 2, rank, 2, 0))
        read = reader(paths, 1, group_by_aspect_ratio=False)
        return [id for [id] in ids(read, read.dataset_size)]

    assert sorted(images_of(0) + images_of(1)) == sorted(2 * COCOSource(*paths).index.image_ids.tolist())


def test_all_images_stay_where_asked(paths):
    assert reader(paths, remove_images_without_annotations=False).dataset_size == 16
    assert reader(paths).dataset_size < 16


def test_a_copied_reader_goes_on_from_where_it_was(paths):
    read = reader(paths, 3)
    read()
    copied = copy.deepcopy(read)
    assert ids(read, 9) == ids(copied, 9)


def test_a_missing_image(tmp_path):
    file, folder = write_coco(tmp_path, random_tree(random.Random(6)))
    read = reader((file, folder), 2, shuffle=False, group_by_aspect_ratio=False)
    first = read()[1].tolist()
    name = COCOSource(file, folder).index.files[3]
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=rf"missing: 1 \({name}\)"):
        reader((file, folder))
    for _ in range(2):
        with pytest.raises(RecordError, match=rf"{name}: cannot be read"):
            read()
    (folder / name).write_bytes(content)
    assert ids(read, 1)[0] == COCOSource(file, folder).index.image_ids[2:4].tolist() != first


def test_arguments_are_checked(paths):
    with pytest.raises(ValueError, match="COCOReader: expected batch_size to be an int of at least 1, got 0"):
        reader(paths, 0)
    with pytest.raises(ConfigError, match=r"nowhere: the annotation file cannot be read"):
        reader((paths[0].parent / "nowhere", paths[1]))
    with pytest.raises(DeviceError, match="COCOReader: data are read"):
        reader(paths, device="cuda:0")
    for given in ({"placement": flow.placement("cpu", [0])}, {"sbp": flow.sbp.split(0)}):
        with pytest.raises(NotImplementedError, match=r"COCOReader: .* asks for global tensors"):
            reader(paths, **given)


# ---------------------------------------------------------------- states


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("taken", [0, 1, 5, 13])
def test_a_new_reader_goes_on_where_the_old_one_stopped(paths, taken, rank, group):
    arguments = {"shard": ShardSpec(rank, 2), "group_by_aspect_ratio": group, "batch_size": 3}
    expected = ids(reader(paths, random_seed=11, **arguments), 20)
    old = reader(paths, random_seed=11, **arguments)
    assert ids(old, taken) == expected[:taken]
    state = json.dumps(old.reader_state())
    new = reader(paths, random_seed=12, **arguments)
    ids(new, 2)
    new.load_reader_state(json.loads(state))
    assert ids(new, 20 - taken) == expected[taken:]
    assert json.dumps(old.reader_state()) == state


def test_a_state_names_the_images_that_wait(paths):
    read = reader(paths, random_seed=1)
    waited = set()
    for _ in range(10):
        read()
        state = read.reader_state()
        waited.add(sum(map(len, state["waiting"])))
        groups = read._source.aspect_groups()
        assert all(len({groups[index] for _, index in batch}) == 1 for batch in state["waiting"])
    assert max(waited) > 0


def test_a_batch_that_could_not_be_read_is_in_the_state(tmp_path):
    file, folder = write_coco(tmp_path, random_tree(random.Random(6)))
    expected = ids(reader((file, folder), random_seed=3), 4)
    read = reader((file, folder), random_seed=3)
    ids(read, 1)
    name = read._source.index.files[read._source.index.image_ids.tolist().index(expected[1][0])]
    (folder / name).rename(folder / "elsewhere")
    for _ in range(2):
        with pytest.raises(RecordError, match="cannot be read"):
            read()
    state = read.reader_state()
    (folder / "elsewhere").rename(folder / name)
    new = reader((file, folder))
    new.load_reader_state(state)
    assert ids(new, 3) == ids(read, 3) == expected[1:]


@pytest.mark.parametrize(("arguments", "name"), [
    ({"batch_size": 2}, "batch_size 2, got 4"), ({"shuffle": False}, "shuffle False, got True"),
    ({"group_by_aspect_ratio": False}, "group_by_aspect_ratio False, got True"),
    ({"shard": ShardSpec(1, 2)}, r"rank \[1, 2\], got \[0, 1\]"), ({"stride_partition": False}, "stride_partition"),
    ({"remove_images_without_annotations": False}, "data '"),
])  # fmt: skip
def test_a_state_of_another_reader_is_refused(paths, arguments, name):
    state = reader(paths, random_seed=1).reader_state()
    with pytest.raises(ValueError, match=f"COCOReader: expected the state of a reader with {name}"):
        reader(paths, random_seed=1, **arguments).load_reader_state(state)
