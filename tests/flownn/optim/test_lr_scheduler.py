"""Schedules against PyTorch's, and resumed from any step."""

import json
from typing import Any

import pytest

import flownn as flow
from flownn import optim
from flownn.optim import lr_scheduler

SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 4, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [9, 3, 12], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 6}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.8, "total_iters": 7}),
    ("PolynomialLR", {"total_iters": 9, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 12, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 25}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.95**epoch}),
]
STEPS = 20


def optimizer(library: Any = optim, parameter: Any = None) -> Any:
    make = parameter or (lambda: flow.nn.Parameter(flow.ones(1)))
    return library.SGD([{"params": [make()]}, {"params": [make()], "lr": 0.3}], lr=2.0)


def warm_up_then_cosine(library: Any, sgd: Any) -> Any:
    parts = [
        library.LinearLR(sgd, start_factor=0.1, total_iters=5),
        library.CosineAnnealingLR(sgd, T_max=8, eta_min=0.02),
        library.StepLR(sgd, step_size=2),
    ]
    return library.SequentialLR(sgd, parts, milestones=[5, 13])


def rates(schedule: Any, steps: int) -> list[list[float]]:
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    return found


@pytest.mark.torch
@pytest.mark.parametrize(("name", "options"), [*SCHEDULES, ("SequentialLR", {})], ids=str)
def test_agrees_with_pytorch(name: str, options: Any) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = torch.optim.lr_scheduler
    other = optimizer(torch.optim, lambda: torch.nn.Parameter(torch.ones(1)))
    mine = optimizer()
    if name == "SequentialLR":
        pair = warm_up_then_cosine(lr_scheduler, mine), warm_up_then_cosine(theirs, other)
    else:
        pair = getattr(lr_scheduler, name)(mine, **options), getattr(theirs, name)(other, **options)
    ours, expected = (rates(schedule, STEPS) for schedule in pair)
    for step, (one, two) in enumerate(zip(ours, expected, strict=True)):
        assert one == pytest.approx(two, rel=1e-10, abs=1e-12), f"step {step}"
    assert pair[0].get_last_lr() == pytest.approx(pair[1].get_last_lr(), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("stop", [0, 1, 5, 13])
def test_a_resumed_schedule_goes_on_exactly(stop: int) -> None:
    whole = rates(warm_up_then_cosine(lr_scheduler, optimizer()), STEPS)
    first = warm_up_then_cosine(lr_scheduler, optimizer())
    head = rates(first, stop)
    state = json.loads(json.dumps({"schedule": first.state_dict(), "optimizer": first.optimizer.state_dict()}))
    sgd = optimizer()
    sgd.load_state_dict(state["optimizer"])
    second = warm_up_then_cosine(lr_scheduler, sgd)
    second.load_state_dict(state["schedule"])
    assert head + rates(second, STEPS - stop) == whole


def test_last_epoch_continues() -> None:
    whole = rates(lr_scheduler.StepLR(optimizer(), 3), 10)
    sgd = optimizer()
    lr_scheduler.StepLR(sgd, 3)  # leaves the first learning rates behind
    assert rates(lr_scheduler.StepLR(sgd, 3, last_epoch=3), 6) == whole[4:]
    with pytest.raises(ValueError, match="last_epoch=3 needs 'initial_lr' in every group"):
        lr_scheduler.StepLR(optimizer(), 3, last_epoch=3)


def test_wrong_arguments_are_named() -> None:
    sgd = optimizer()
    with pytest.raises(ValueError, match=r"StepLR.step_size: expected at least 1, got 0"):
        lr_scheduler.StepLR(sgd, 0)
    with pytest.raises(ValueError, match="0 < start_factor <= 1"):
        lr_scheduler.LinearLR(sgd, start_factor=0.0)
    with pytest.raises(TypeError, match="LinearLR: expected an Optimizer, got list"):
        lr_scheduler.LinearLR([])  # type: ignore[arg-type]
    parts = [lr_scheduler.LinearLR(sgd), lr_scheduler.StepLR(sgd, 1)]
    for milestones in ([], [1, 2]):
        with pytest.raises(ValueError, match="expected 1 rising milestones for 2 schedules"):
            lr_scheduler.SequentialLR(sgd, parts, milestones)
    with pytest.raises(ValueError, match="all of the given optimizer"):
        lr_scheduler.SequentialLR(optimizer(), parts, [1])
    state = lr_scheduler.StepLR(optim.SGD([flow.nn.Parameter(flow.ones(1))]), 1).state_dict()
    with pytest.raises(ValueError, match="expected 2 groups, got 1"):
        parts[0].load_state_dict(state)
