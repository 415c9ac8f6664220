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
    ("LambdaLR", {"lr_lambda": [lambda epoch: 0.95**epoch, lambda epoch: 1 / (1 + epoch)]}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 21}),
    ("OneCycleLR", {"max_lr": [0.5, 3.0], "epochs": 5, "steps_per_epoch": 4, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30, "three_phase": True, "pct_start": 0.4, "div_factor": 10}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25, "final_div_factor": 1e2, "max_momentum": 0.7}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25, "cycle_momentum": False}),
]
STEPS = 20


def optimizer(library: Any = optim, parameter: Any = None) -> Any:
    make = parameter or (lambda: flow.nn.Parameter(flow.ones(1)))
    return library.SGD([{"params": [make()]}, {"params": [make()], "lr": 0.3}], lr=2.0, momentum=0.5)


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
        groups = schedule.optimizer.param_groups
        found.append([group[option] for group in groups for option in ("lr", "momentum")])
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


@pytest.mark.torch
def test_a_cycle_moves_adams_first_beta_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    mine, other = optim.Adam([flow.nn.Parameter(flow.ones(1))]), torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    pair = lr_scheduler.OneCycleLR(mine, 0.1, 9), torch.optim.lr_scheduler.OneCycleLR(other, 0.1, 9)
    for _ in range(9):
        for schedule in pair:
            schedule.optimizer.step()
            schedule.step()
        assert mine.param_groups[0]["betas"] == pytest.approx(other.param_groups[0]["betas"], rel=1e-12)
    with pytest.raises(ValueError, match="step 10 is beyond the end at 9"):
        pair[0].step()


@pytest.mark.parametrize("stop", [0, 4, 11])
def test_a_resumed_cycle_goes_on_exactly(stop: int) -> None:
    def cycle(sgd: Any) -> Any:
        return lr_scheduler.OneCycleLR(sgd, [0.5, 2.0], total_steps=STEPS)

    whole = rates(cycle(optimizer()), STEPS)
    first = cycle(optimizer())
    head = rates(first, stop)
    state = json.loads(json.dumps({"schedule": first.state_dict(), "optimizer": first.optimizer.state_dict()}))
    second = cycle(optimizer())
    second.optimizer.load_state_dict(state["optimizer"])
    second.load_state_dict(state["schedule"])
    assert head + rates(second, STEPS - stop) == whole


PLATEAUS: list[dict[str, Any]] = [
    {"patience": 2},
    {"patience": 1, "factor": 0.5, "cooldown": 2},
    {"mode": "max", "patience": 1, "threshold": 0.3, "min_lr": 0.2},
    {"mode": "max", "threshold_mode": "abs", "threshold": 0.2, "patience": 0, "min_lr": [0.01, 0.25]},
    {"threshold_mode": "abs", "threshold": 0.1, "patience": 1, "eps": 0.1},
]
METRICS = [float("nan"), 0.9, 0.7, 0.8, 0.75, 0.69, 0.7, 0.7, 0.9, 1.1, 1.3, 1.2, 1.0, 0.5, 0.6, 0.6, -0.2, -0.2, -0.21]


@pytest.mark.torch
@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateaus_are_found_where_pytorch_finds_them(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    mine, other = optimizer(), optimizer(torch.optim, lambda: torch.nn.Parameter(torch.ones(1)))
    schedule = lr_scheduler.ReduceLROnPlateau(mine, **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(other, **options)
    seen = set()
    for step, metric in enumerate(METRICS):
        if step == 9:  # resumed in a new process
            state = json.loads(json.dumps({"schedule": schedule.state_dict(), "optimizer": mine.state_dict()}))
            mine = optimizer()
            mine.load_state_dict(state["optimizer"])
            schedule = lr_scheduler.ReduceLROnPlateau(mine, **options)
            schedule.load_state_dict(state["schedule"])
        schedule.step(flow.tensor(metric, dtype=flow.float64))
        theirs.step(metric)
        assert schedule.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12), f"step {step}"
        seen.add(tuple(schedule.get_last_lr()))
    assert len(seen) > 1


def test_wrong_arguments_of_plateaus_are_named() -> None:
    sgd = optimizer()
    for options, message in (
        ({"factor": 1.0}, r"a factor below 1, got 1\.0"),
        ({"mode": "less"}, "mode 'min' or 'max', got 'less'"),
        ({"threshold_mode": "part"}, "threshold_mode 'rel' or 'abs', got 'part'"),
        ({"min_lr": [0.1]}, "min_lr for 2 groups, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            lr_scheduler.ReduceLROnPlateau(sgd, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an Optimizer, got list"):
        lr_scheduler.ReduceLROnPlateau([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected \['best', .*got \['last_epoch'\]"):
        lr_scheduler.ReduceLROnPlateau(sgd).load_state_dict({"last_epoch": 1})


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
    with pytest.raises(ValueError, match="LambdaLR: expected 2 functions, got 1"):
        lr_scheduler.LambdaLR(sgd, [lambda epoch: 1.0])
    with pytest.raises(ValueError, match=r"T_0: expected at least 1, got 0"):
        lr_scheduler.CosineAnnealingWarmRestarts(sgd, 0)
    for options, message in (
        ({}, "expected total_steps, or epochs and steps_per_epoch"),
        ({"total_steps": 0}, "total_steps: expected at least 1, got 0"),
        ({"total_steps": 5, "pct_start": 1.5}, r"pct_start from 0 to 1, got 1\.5"),
        ({"total_steps": 5, "anneal_strategy": "poly"}, "'cos' or 'linear', got 'poly'"),
        ({"total_steps": 5, "max_lr": [0.1]}, "max_lr for 2 groups, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            lr_scheduler.OneCycleLR(optimizer(), **{"max_lr": 0.1, **options})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Adadelta has no momentum; pass cycle_momentum=False"):
        lr_scheduler.OneCycleLR(optim.Adadelta([flow.nn.Parameter(flow.ones(1))]), 0.1, 5)
    cycle = lr_scheduler.OneCycleLR(optimizer(), 0.1, 5)
    with pytest.raises(ValueError, match="OneCycleLR has a first learning rate of its own"):
        lr_scheduler.SequentialLR(cycle.optimizer, [cycle], [])
    parts = [lr_scheduler.LinearLR(sgd), lr_scheduler.StepLR(sgd, 1)]
    for milestones in ([], [1, 2]):
        with pytest.raises(ValueError, match="expected 1 rising milestones for 2 schedules"):
            lr_scheduler.SequentialLR(sgd, parts, milestones)
    with pytest.raises(ValueError, match="all of the given optimizer"):
        lr_scheduler.SequentialLR(optimizer(), parts, [1])
    state = lr_scheduler.StepLR(optim.SGD([flow.nn.Parameter(flow.ones(1))]), 1).state_dict()
    with pytest.raises(ValueError, match="expected 2 groups, got 1"):
        parts[0].load_state_dict(state)
