"""MixUp and CutMix: plain arithmetic, torchvision, what they draw, executors and shards."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from flowdata.errors import ConfigError, StageError
from flowdata.mixing import CutMix, MixUp, MixUpOrCutMix
from flowdata.pipeline import Pipeline
from flowdata.pipeline_config import pipeline_from
from flowdata.sample import ArraySpec, Batch
from flowdata.seeding import sample_rng
from flowdata.sharding import ShardSpec
from tests.flowdata.executors.synthetic import Numbers, content, numbers, serial

FALSE_ALARM = 1e-6  # how often a correct draw would fail one test, if the seed were drawn
RNG = np.random.default_rng(0)
CLASSES = 5


def batch_of(size=4, dtype=np.float32, shape=(3, 12, 10), seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, *shape)).astype(dtype)
    return Batch({"image": images, "label": np.arange(size, dtype=np.int32) % CLASSES}, np.arange(size), 0, 0, size)


def copied(batch):
    return batch.replace(image=batch["image"].copy())


def mixed_labels(labels, weight):
    one_hot = np.eye(CLASSES)[labels]
    return one_hot * weight + np.roll(one_hot, 1, axis=0) * (1 - weight)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_mixup_by_plain_arithmetic(size, dtype):
    batch, stage = batch_of(size, dtype), MixUp(num_classes=CLASSES, alpha=0.7)
    found = stage(copied(batch), sample_rng(0, 0, 3, "x"))
    rng = sample_rng(0, 0, 3, "x")
    rng.random()  # whether to mix at all
    weight = rng.beta(0.7, 0.7)
    expected = batch["image"] * weight + np.roll(batch["image"], 1, axis=0).astype(float) * (1 - weight)
    np.testing.assert_allclose(found["image"], expected, rtol=1e-5, atol=1e-4 if dtype == np.float32 else 0.501)
    np.testing.assert_allclose(found["label"], mixed_labels(batch["label"], weight), rtol=0, atol=1e-6)
    assert (found["image"].dtype, found["label"].dtype) == (dtype, np.float32)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
def test_cutmix_takes_one_window_from_the_row_before(layout):
    batch = batch_of(5)
    if layout == "HWC":
        batch = batch.replace(image=np.ascontiguousarray(np.moveaxis(batch["image"], 1, 3)))
    windows = set()
    for step in range(30):
        found = CutMix(num_classes=CLASSES, layout=layout)(copied(batch), sample_rng(0, 0, step, "x"))
        images, own = found["image"], batch["image"]
        if layout == "HWC":
            images, own = np.moveaxis(images, 3, 1), np.moveaxis(own, 3, 1)
        other = np.roll(own, 1, axis=0)
        from_other = ((images == other) & (images != own)).any(axis=(0, 1))
        rows, columns = np.flatnonzero(from_other.any(axis=1)), np.flatnonzero(from_other.any(axis=0))
        expected = own.copy()
        if len(rows):
            window = (..., slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            expected[window] = other[window]
        np.testing.assert_array_equal(images, expected)
        share = 1 - len(rows) * len(columns) / (12 * 10)
        np.testing.assert_allclose(found["label"], mixed_labels(batch["label"], share), atol=1e-6)
        windows.add((tuple(rows), tuple(columns)))
    assert len(windows) > 10


def test_soft_labels_may_be_mixed_again():
    batch = batch_of(4)
    soft = MixUp(num_classes=CLASSES, probability=0)(copied(batch), RNG)
    np.testing.assert_array_equal(soft["label"], np.eye(CLASSES)[batch["label"]])
    np.testing.assert_array_equal(soft["image"], batch["image"])
    again = CutMix(num_classes=CLASSES)(soft, RNG)
    np.testing.assert_allclose(again["label"].sum(axis=1), 1, atol=1e-6)


def test_weights_have_the_stated_distribution():
    def weights(stage, count=3000):
        batch = batch_of(2, shape=(1, 1, 1))
        return [float(stage(copied(batch), sample_rng(0, 0, step, "x"))["label"][0, 0]) for step in range(count)]

    assert stats.kstest(weights(MixUp(num_classes=CLASSES, alpha=0.4)), "beta", (0.4, 0.4)).pvalue > FALSE_ALARM
    left_alone = sum(each == 1 for each in weights(MixUp(num_classes=CLASSES, probability=0.3)))
    assert stats.binomtest(left_alone, 3000, 0.7).pvalue > FALSE_ALARM


def test_either_of_both():
    batch, both = batch_of(4), MixUpOrCutMix(num_classes=CLASSES, cutmix_probability=0.3, mixup_alpha=1.0)
    cut = 0
    for step in range(600):
        images = both(copied(batch), sample_rng(0, 0, step, "x"))["image"]
        cut += np.isin(images, batch["image"]).all()  # CutMix invents no value
    assert stats.binomtest(int(cut), 600, 0.3).pvalue > FALSE_ALARM


@pytest.mark.torch
def test_as_torchvision():
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    from torchvision.transforms import v2

    batch = batch_of(6)
    images, labels = torch.from_numpy(batch["image"]), torch.from_numpy(batch["label"]).long()

    class Drawn(np.random.Generator):
        """The first draw of a coin, then what torchvision drew."""

        def __init__(self, weight, places=()):
            super().__init__(np.random.PCG64(0))
            self.weight, self.places = weight, list(places)

        def beta(self, *_):
            return self.weight

        def integers(self, *_):
            return self.places.pop(0)

    class Known(v2.MixUp):
        def make_params(self, flat_inputs):
            return {"lam": 0.3}

    expected, soft = Known(num_classes=CLASSES)(images, labels)
    found = MixUp(num_classes=CLASSES)(copied(batch), Drawn(0.3))
    np.testing.assert_allclose(found["image"], expected.numpy(), rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(found["label"], soft.numpy(), atol=1e-6)

    cut = v2.CutMix(num_classes=CLASSES)
    for weight, x, y in ((0.3, 2, 11), (0.8, 9, 0), (0.01, 5, 5)):
        half_width, half_height = (int(0.5 * (1 - weight) ** 0.5 * extent) for extent in (10, 12))
        box = (max(x - half_width, 0), max(y - half_height, 0), min(x + half_width, 10), min(y + half_height, 12))
        share = 1 - (box[2] - box[0]) * (box[3] - box[1]) / 120
        cut.make_params = lambda _, box=box, share=share: {"box": box, "lam_adjusted": share}
        expected, soft = cut(images, labels)
        found = CutMix(num_classes=CLASSES)(copied(batch), Drawn(weight, (x, y)))
        np.testing.assert_array_equal(found["image"], expected.numpy())
        np.testing.assert_allclose(found["label"], soft.numpy(), atol=1e-6)


# -- in a pipeline ---------------------------------------------------------------------------------------------------

MIXED = numbers(batch_transforms=[CutMix(num_classes=60, layout="HWC"), MixUp(num_classes=60)])


def test_every_executor_delivers_the_same_mixture():
    assert MIXED.output_specs()["label"].shape == ()
    assert MIXED.batch_specs()["label"] == ArraySpec((60,), np.dtype(np.float32))
    with MIXED.loader() as loader, serial(MIXED).loader() as expected, serial(numbers()).loader() as plain:
        for left, right, unmixed in zip(loader, expected, plain, strict=True):
            assert content(left) == content(right)
            assert (left["image"] != unmixed["image"]).any()


def test_a_state_continues_the_mixture():
    with serial(MIXED).loader() as loader:
        everything = [content(batch) for _ in range(2) for batch in loader]
        loader.seek(0, 3)
        state = loader.state_dict()
    with MIXED.loader() as loader:
        loader.load_state_dict(state)
        assert [content(batch) for _ in range(2) for batch in loader] == everything[3:]


def test_with_several_shards_only_the_first_row_of_each_part_has_another_partner():
    pipeline = serial(MIXED)
    with pipeline.loader() as loader:
        whole = list(loader)
    parts = []
    for index in range(3):
        with pipeline.loader(ShardSpec(index, 3)) as loader:
            parts.append(list(loader))
    for step, batch in enumerate(whole):
        # two transforms in a row: the first two rows of a part depend on its last ones
        start = 0
        for part in (each[step] for each in parts):
            for row in range(2, part.size):
                np.testing.assert_array_equal(part["image"][row], batch["image"][start + row])
                np.testing.assert_array_equal(part["label"][row], batch["label"][start + row])
            start += part.size
        assert start == batch.size


def test_a_callable_is_a_batch_transform_and_its_error_names_it():
    def negated(batch, rng):
        return batch.replace(image=-batch["image"])

    pipeline = serial(numbers(batch_transforms=[negated]))
    with pipeline.loader() as loader, serial(numbers()).loader() as plain:
        np.testing.assert_array_equal(next(iter(loader))["image"], -next(iter(plain))["image"])
    assert pipeline.fingerprint() != serial(numbers()).fingerprint()
    with replace(pipeline, batch_transforms=[MixUp(num_classes=3)]).loader() as loader:
        message = "batch transform mixup, epoch 0, step 0: mixup: expected labels from 0 to 2"
        with pytest.raises(StageError, match=message):
            next(iter(loader))
        assert (loader.epoch, loader.step) == (0, 0)
    with pytest.raises(ConfigError, match="expected a batch transform or a callable"):
        Pipeline(Numbers(), batch_size=1, batch_transforms=[3])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: MixUp(num_classes=0), "mixup: expected num_classes >= 1"),
    (lambda: MixUp(num_classes=2, alpha=0), "mixup: expected alpha > 0"),
    (lambda: CutMix(num_classes=2, probability=2), "cutmix: expected probability from 0 to 1"),
    (lambda: MixUpOrCutMix(num_classes=2, cutmix_alpha=-1), "mixup_or_cutmix: expected cutmix_alpha > 0"),
    (lambda: MixUp(num_classes=2, image="boxes").output_spec(Numbers().output_spec()), "of one size"),
    (lambda: MixUp(num_classes=2, label="image").output_spec(Numbers().output_spec()), "an integer or 2 float32"),
    (lambda: CutMix(num_classes=2).output_spec(Numbers().output_spec()), "with layout: CHW"),
    (lambda: serial(numbers(batch_transforms=[MixUp(num_classes=2, label="x")])).loader(),
     "mixup: needs the value 'x' in the batch; there is image, boxes, label"),
])  # fmt: skip
def test_arguments_are_checked(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_in_yaml():
    tree = {
        "source": {"ofrecord": {"dir": "x"}}, "batch_size": 2,
        "stages": [
            {"ofrecord_raw_decoder": {"feature": "l", "output": "label"}}, "ofrecord_image_decoder",
            {"resize": {"size": [8, 8]}}, {"crop_mirror_normalize": {"mean": 0, "std": 1}},
        ],
        "batch_transforms": [{"mixup": {"num_classes": 3, "alpha": 0.2}}],
    }  # fmt: skip
    assert pipeline_from(tree).batch_transforms == (MixUp(num_classes=3, alpha=0.2),)
    with pytest.raises(ConfigError) as caught:
        pipeline_from(
            tree | {"batch_transforms": [{"mixup": {"num_clases": 3}}, "cutmixx", {"cutmix": {"num_classes": 0}}]}
        )
    assert str(caught.value).splitlines() == [
        "pipeline: batch_transforms[0].mixup.num_classes: the key is required",
        "pipeline: batch_transforms[0].mixup.num_clases: unknown key; did you mean 'num_classes'?",
        "pipeline: batch_transforms[1]: unknown batch transform 'cutmixx'; did you mean 'cutmix'?",
        "pipeline: batch_transforms[2].cutmix: expected num_classes >= 1, got 0",
    ]
    with pytest.raises(
        ConfigError, match="pipeline: batch_transforms: cutmix: expected image: 'image' with layout: HWC"
    ):
        pipeline_from(tree | {"batch_transforms": [{"cutmix": {"num_classes": 3, "layout": "HWC"}}]})
