"""Uploading batches: on a GPU where there is one, and against a device whose copies are late anywhere."""

import importlib
import sys
import types
from collections import deque

import numpy as np
import pytest

from flowdata.sharding import ShardSpec
from tests.flowdata.executors.synthetic import content, numbers, serial


class Event:
    def __init__(self, stream, number):
        self.stream, self.number = stream, number

    def synchronize(self):
        self.stream.run_until(self.number)


class Stream:
    """Work happens when somebody waits for it, as late as a real stream might do it."""

    def __init__(self, non_blocking=False):
        self.queue, self.launched, self.done = deque(), 0, 0

    def launch(self, work):
        self.queue.append(work)
        self.launched += 1

    def run_until(self, number):
        while self.done < number:
            self.queue.popleft()()
            self.done += 1

    def record(self):
        return Event(self, self.launched)

    def wait_event(self, event):
        self.launch(event.synchronize)  # the stream waits, not the caller

    def synchronize(self):
        self.run_until(self.launched)


class DeviceArray:
    def __init__(self, shape, dtype, current):
        self.memory, self.current = np.full(shape, 113, dtype), current

    def set(self, host, stream):
        assert host.base is not None, "only pinned memory is copied without waiting"
        stream.launch(lambda: np.copyto(self.memory, host))

    def get(self):
        self.current.synchronize()
        return self.memory.copy()


def late_device():
    """Stand-ins for the modules cupy and cupyx."""
    current = Stream()
    cupy, cupyx = types.ModuleType("cupy"), types.ModuleType("cupyx")
    cupy.cuda = types.SimpleNamespace(Stream=Stream, get_current_stream=lambda: current)
    cupy.empty = lambda shape, dtype: DeviceArray(shape, dtype, current)

    def asarray(value):
        array = cupy.empty(value.shape, value.dtype)
        array.memory[...] = value
        return array

    cupy.asarray = asarray
    cupyx.empty_pinned = lambda shape, dtype: np.empty(shape, dtype)
    return cupy, cupyx


def has_gpu():
    try:
        import cupy

        return cupy.cuda.runtime.getDeviceCount() > 0
    except Exception:  # not installed, no driver, no device
        return False


@pytest.fixture(params=["late", pytest.param("gpu", marks=pytest.mark.gpu)])
def upload(request, monkeypatch):
    if request.param == "gpu":
        if not has_gpu():
            pytest.skip("no CuPy, or no GPU")
    else:
        for module in late_device():
            monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "flowdata.interop.cupy", raising=False)
    module = importlib.import_module("flowdata.interop.cupy")
    yield module.upload
    sys.modules.pop("flowdata.interop.cupy", None)


def downloaded(batch):
    return content(
        batch.replace(
            **{
                name: [each.get() for each in value] if isinstance(value, list) else value.get()
                for name, value in batch.items()
            }
        )
    )


@pytest.fixture(scope="module")
def expected():
    with serial(numbers()).loader() as loader:
        return [content(batch) for _ in range(2) for batch in loader]


@pytest.mark.parametrize("make", [numbers, lambda: serial(numbers())], ids=["process", "serial"])
def test_the_device_gets_the_same_bytes(make, upload, expected):
    with make().loader() as loader:
        batches = upload(loader)
        assert len(batches) == 7
        assert [downloaded(batch) for _ in range(2) for batch in batches] == expected


def test_batches_that_are_kept_stay_as_they_are(upload, expected):
    with numbers().loader() as loader:
        kept = list(upload(loader))
    assert [downloaded(batch) for batch in kept] == expected[:7]


def test_the_state_is_that_of_the_consumer_not_of_the_upload(upload, expected):
    with numbers().loader() as loader:
        batches = upload(loader)
        states = [batches.state_dict()]
        for _ in batches:
            states.append(batches.state_dict())
    for taken in (0, 1, 3, 6, 7):
        with serial(numbers()).loader() as loader:
            batches = upload(loader)
            batches.load_state_dict(states[taken])
            assert downloaded(next(iter(batches))) == expected[taken]


def test_a_loop_that_breaks_off_goes_on_with_the_next_batch(upload, expected):
    with numbers().loader() as loader:
        batches = upload(loader)
        found = [downloaded(next(iter(batches))) for _ in range(3)]
        assert found + [downloaded(batch) for batch in batches] == expected[:7]
        batches.set_epoch(0)
        assert downloaded(next(iter(batches))) == expected[0]


def test_an_empty_part(upload):
    pipeline = serial(numbers(batch_size=2))
    with pipeline.loader(ShardSpec(2, 3)) as loader:
        batch = next(iter(upload(loader)))
        assert batch["image"].get().shape == (0, 5, 7, 3)
