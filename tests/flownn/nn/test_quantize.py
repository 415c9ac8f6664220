"""The quantization layers: arguments, state, and when an observer observes."""

from typing import Any

import numpy as np
import pytest

import flownn as flow
from flownn import nn


def observe(observer: nn.MovingAverageMinMaxObserver, values: list[float], step: int) -> list[float]:
    result = observer(flow.tensor(values), flow.tensor([step]))
    return [each.item() for each in result]


def test_per_channel() -> None:
    scale, zero_point = nn.MinMaxObserver(quantization_scheme="affine", per_layer_quantization=False)(
        flow.tensor([[0.0, 255.0], [-51.0, 204.0]])
    )
    assert scale.tolist() == [1, 1]
    assert zero_point.tolist() == [0, 51]
    x = flow.tensor([[3.4, 300.0], [-51.0, -60.0]])
    quantization = nn.Quantization(quantization_scheme="affine")
    assert quantization(x, scale, zero_point).tolist() == [[3, 255], [-51, -51]]
    fake = nn.FakeQuantization(quantization_scheme="affine")
    assert fake(x, scale * 1, zero_point).tolist() == [[3, 255], [-51, -51]]


def test_cambricon() -> None:
    settings: dict[str, Any] = {"quantization_formula": "cambricon", "quantization_bit": 4}
    x = flow.tensor([-8.0, 3.2, 7.9, 20.0])
    scale, zero_point = nn.MinMaxObserver(**settings)(flow.tensor([-8.0, 3.0]))
    assert (scale.item(), zero_point.item()) == (1, 0)  # steps of 2
    assert nn.Quantization(**settings)(x, scale, zero_point).tolist() == [-4, 2, 4, 7]
    assert nn.FakeQuantization(**settings)(x, scale, zero_point).tolist() == [-8, 4, 8, 14]


def test_observes_in_training_up_to_the_last_step() -> None:
    observer = nn.MovingAverageMinMaxObserver(True, "google", 1, 8, "affine", 0.5)
    assert observe(observer, [0.0, 255.0], 0) == [1, 0]
    assert observe(observer, [-2.0, 761.0], 1) == pytest.approx([509 / 255, 255 / 509])
    assert (observer.moving_min.item(), observer.moving_max.item()) == (-1, 508)
    frozen = observe(observer, [0.0, 1e6], 2)
    assert frozen == pytest.approx([509 / 255, 255 / 509])
    observer.eval()
    assert observe(observer, [0.0, 1e6], 0) == frozen
    observer.train()
    assert observe(observer, [-2.0, 761.0], 0) != frozen


def test_momentum_0_keeps_the_latest_and_a_plain_number_is_a_step() -> None:
    observer = nn.MovingAverageMinMaxObserver(training=True, stop_update_after_iters=9)
    observer(flow.tensor([127.0]), 0)
    scale, _ = observer(flow.tensor([-254.0]), 1)
    assert scale.item() == 2


def test_state_and_reset() -> None:
    observer = nn.MovingAverageMinMaxObserver(training=True)
    assert observer.training
    assert not nn.MovingAverageMinMaxObserver().training
    assert {name: value.shape for name, value in observer.state_dict().items()} == {
        "moving_max": (1,), "moving_min": (1,),
    }  # fmt: skip
    observe(observer, [1.0, -3.0], 0)
    other = nn.MovingAverageMinMaxObserver()
    other.load_state_dict(observer.state_dict())
    assert observe(other, [9.0], 5) == pytest.approx([3 / 127, 0])
    observer.reset_running_stats()
    assert (observer.moving_max.item(), observer.moving_min.item()) == (0, 0)
    assert observe(observer, [127.0], 0) == [1, 0]  # the first input counts in full again


def test_nothing_observed_yet() -> None:
    with pytest.raises(RuntimeError, match=r"no input other than zeros was observed.*step 0 in evaluation mode"):
        observe(nn.MovingAverageMinMaxObserver(), [1.0], 0)
    with pytest.raises(RuntimeError, match=r"stop_update_after_iters=0, this is step 1$"):
        observe(nn.MovingAverageMinMaxObserver(training=True), [1.0], 1)
    with pytest.raises(flow.DtypeError):
        nn.MovingAverageMinMaxObserver(training=True)(flow.ones(2), flow.tensor([0.5]))


def test_training_through_fake_quantization() -> None:
    """A weight on the grid of its own observer learns a target on that grid."""
    weight = nn.Parameter(flow.tensor(np.random.default_rng(0).standard_normal(8).astype(np.float32)))
    target = flow.tensor(np.linspace(-1, 1, 8, dtype=np.float32))
    observer, fake = nn.MinMaxObserver(), nn.FakeQuantization()
    optimizer = flow.optim.SGD([weight], lr=0.4)
    for _ in range(60):
        optimizer.zero_grad()
        loss = ((fake(weight, *observer(weight)) - target) ** 2).sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 8 * (1 / 127) ** 2


@pytest.mark.parametrize(
    "cls", [nn.MinMaxObserver, nn.MovingAverageMinMaxObserver, nn.Quantization, nn.FakeQuantization]
)
def test_arguments(cls: Any) -> None:
    assert repr(cls()) == f"{cls.__name__}()"
    for wrong in (1, 9):
        with pytest.raises(ValueError, match=f"{cls.__name__}: expected a quantization_bit from 2 to 8, got {wrong}"):
            cls(quantization_bit=wrong)
    with pytest.raises(ValueError, match="expected quantization_formula 'google' or 'cambricon', got 'qualcomm'"):
        cls(quantization_formula="qualcomm")
    with pytest.raises(ValueError, match="expected quantization_scheme 'symmetric' or 'affine', got 'both'"):
        cls(quantization_scheme="both")
    with pytest.raises(ValueError, match="the cambricon formula is symmetric"):
        cls(quantization_formula="cambricon", quantization_scheme="affine")


def test_more_arguments() -> None:
    with pytest.raises(ValueError, match="the cambricon formula is per layer"):
        nn.MinMaxObserver("cambricon", per_layer_quantization=False)
    with pytest.raises(ValueError, match=r"expected a momentum from 0 to 1, got 1\.5"):
        nn.MovingAverageMinMaxObserver(momentum=1.5)
