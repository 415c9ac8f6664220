"""Descriptions of arrays, the cache of primitives, and threads that share them."""

import gc
import threading
from typing import Any

import numpy as np
import pytest

from flownn.kernels import providers
from flownn.kernels.convolution import correlate, correlate_adjoint, correlate_filters
from flownn.kernels.products import matrix_product

pytestmark = pytest.mark.skipif(not providers.can_load("onednn"), reason=f"onednn: {providers.status('onednn')}")


@pytest.fixture
def modules() -> Any:
    from flownn.kernels.onednn import memory, primitives

    return memory, primitives


def test_layouts(modules: Any) -> None:
    memory, _ = modules
    x = np.zeros((2, 3, 4, 5), np.float32)
    assert memory.layout_of(x) == ((2, 3, 4, 5), (60, 20, 5, 1))
    last = np.moveaxis(np.zeros((2, 4, 5, 3), np.float32), -1, 1)
    assert memory.layout_of(last) == memory.channels_last((2, 3, 4, 5)) == ((2, 3, 4, 5), (60, 1, 15, 3))
    assert memory.layout_of(x[:, :, ::2]) == ((2, 3, 2, 5), (60, 20, 10, 1))
    assert memory.layout_of(x[:, :, ::-1]) is None
    assert memory.layout_of(np.broadcast_to(x[:1], x.shape)) is None
    assert memory.layout_of(np.lib.stride_tricks.sliding_window_view(np.zeros(9, np.float32), 3)) is None
    assert memory.layout_of(np.zeros(9, np.uint8)[1:].view(np.uint8)) == ((8,), (1,))
    packed = np.zeros(4, [("a", np.float32), ("b", np.uint8)])["a"]
    assert memory.layout_of(packed) is None  # not a whole number of elements apart


def test_dims_of_size_1_do_not_count(modules: Any) -> None:
    memory, _ = modules
    x = np.zeros((4, 3, 1, 5), np.float32)[1:2]
    odd = np.lib.stride_tricks.as_strided(x, x.shape, (4, 20, 123, 4))
    assert memory.layout_of(odd) == memory.layout_of(x) == ((1, 3, 1, 5), (15, 5, 5, 1))
    single = np.zeros((2, 1, 4, 5), np.float32)  # plain and channels-last at once
    assert memory.layout_of(single) == memory.channels_last((2, 1, 4, 5))


def test_buffers_start_at_a_cache_line(modules: Any) -> None:
    memory, _ = modules
    for count in range(1, 40, 3):
        assert memory.aligned_empty(count).ctypes.data % 64 == 0
    y = memory.empty_channels_last((2, 3, 4, 5))
    assert (y.shape, y.strides) == ((2, 3, 4, 5), (240, 4, 60, 12))


@pytest.mark.parametrize("kind", ["plain", "gaps", "backwards", "double"])
def test_other_layouts_are_copied_to_channels_last(modules: Any, kind: str) -> None:
    memory, primitives = modules
    x = np.arange(2 * 5 * 6 * 7, dtype=np.float32).reshape(2, 5, 6, 7)
    if kind == "gaps":
        x = x[:, ::2, :, 1:6]
    elif kind == "backwards":
        x = x[:, :, ::-1]
    elif kind == "double":
        x = x.astype(np.float64)
    y = primitives.as_channels_last(x)
    np.testing.assert_array_equal(y, x)
    assert memory.layout_of(y) == memory.channels_last(x.shape)
    assert y.dtype == np.float32
    assert primitives.as_channels_last(y) is y


def test_the_cache_is_bounded_and_drops_what_was_not_used_lately(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, primitives = modules
    monkeypatch.setattr(primitives, "_cache", type(primitives._cache)())
    monkeypatch.setattr(primitives, "_CAPACITY", 3)
    made: list[int] = []

    def get(key: int) -> Any:
        return primitives.cached(key, lambda: made.append(key) or key)

    for key in (1, 2, 3, 1, 4, 1, 2):
        assert get(key) == key
    assert made == [1, 2, 3, 4, 2]
    assert len(primitives._cache) == 3


def test_a_refusal_is_remembered(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, primitives = modules
    monkeypatch.setattr(primitives, "_cache", type(primitives._cache)())
    calls = []

    def refuse() -> None:
        calls.append(1)
        raise primitives.OneDNNError("no")

    assert primitives.cached("key", refuse) is primitives.cached("key", refuse) is None
    assert len(calls) == 1


def test_primitives_end_while_others_run(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two, every call makes its primitives anew, and frees those of the other thread."""
    _, primitives = modules
    monkeypatch.setattr(primitives, "_CAPACITY", 2)
    run_in_threads(3, rounds=15)
    gc.collect()


def test_threads_share_primitives() -> None:
    run_in_threads(4, rounds=40)


def run_in_threads(threads: int, rounds: int) -> None:
    """Every thread computes on numbers of its own, all with the same shapes, and gets what it gets alone."""
    attributes = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    failures: list[str] = []

    def arrays(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        return [rng.standard_normal(s, np.float32) for s in ((2, 24, 9, 10), (40, 24, 3, 3), (2, 40, 9, 10), (40,))]

    def everything(x: Any, w: Any, y: Any, b: Any) -> list[Any]:
        return [
            correlate(np, x, w, b, *attributes),
            correlate_adjoint(np, y, w, None, (9, 10), *attributes),
            correlate_filters(np, y, x, w.shape, *attributes),
            matrix_product(np, y[:, :, 0], w[:10, :, 0, 0]),
        ]

    with providers.use_kernels("onednn"):
        expected = [everything(*arrays(seed)) for seed in range(threads)]
        start = threading.Barrier(threads)

        def work(seed: int) -> None:
            mine = arrays(seed)
            start.wait()
            for _ in range(rounds):
                for which, (a, b) in enumerate(zip(everything(*mine), expected[seed], strict=True)):
                    if not np.array_equal(a, b):
                        failures.append(f"thread {seed}: result {which} is off by {np.abs(a - b).max()}")
                        return

        running = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
        for each in running:
            each.start()
        for each in running:
            each.join()
    assert not failures
