"""One stage over the samples of a tensor, for stages of every manner."""

from dataclasses import dataclass

import numpy as np
import pytest

import flownn as flow
from flowdata.errors import RecordError
from flowdata.sample import ArraySpec, SampleKey
from flowdata.seeding import sample_rng
from flownn.host_tensor import HostTensor
from flownn.nn.modules.data.run import run_stage, samples_of

BYTES = {"x": ArraySpec((None,), np.dtype(np.uint8))}


@dataclass(frozen=True)
class Total:
    """Adds up, and leaves the memory that it is offered alone, as a stage may."""

    shape: tuple[int | None, ...] = ()
    stage_name = "total"

    def output_spec(self, specs):
        return specs | {"total": ArraySpec(self.shape, np.dtype(np.float64))}

    def __call__(self, sample, rng):
        if not sample["x"].size:
            raise RecordError("expected something, found nothing")
        total = np.float64(sample["x"].sum()) + rng.random()
        return sample.replace(total=np.full([1 if n is None else n for n in self.shape], total))


def tensor(*values):
    origins = [(SampleKey(2, 10 + row), f"file {row}") for row in range(len(values))]
    return HostTensor(flow.tensor_buffer, [np.array(each, np.uint8) for each in values], origins)


def run(stage, input):
    return run_stage("Module", stage, BYTES, samples_of("Module", input, flow.tensor_buffer, "x"), "total", seed=7)


def expected(row, total):
    return total + sample_rng(7, 2, 10 + row, "total").random()


def test_results_of_one_shape_become_one_array_wherever_the_stage_put_them():
    found = run(Total((2,)), tensor([1, 2], [5]))
    assert (found.dtype, found.shape) == (flow.float64, (2, 2))
    assert found.tolist() == [[expected(0, 3)] * 2, [expected(1, 5)] * 2]
    assert run(Total(), tensor([4])).tolist() == [expected(0, 4)]


def test_other_results_stay_apart_and_know_their_sample():
    input = tensor([1, 2], [5])
    found = run(Total((None,)), input)
    assert found.dtype is flow.tensor_buffer
    assert [each.tolist() for each in found.numpy()] == [[expected(0, 3)], [expected(1, 5)]]
    assert found.origins == input.origins


def test_errors_name_module_and_sample():
    with pytest.raises(RecordError, match=r"^Module: record 11 \(file 1\): expected something, found nothing$"):
        run(Total(), tensor([1], []))
