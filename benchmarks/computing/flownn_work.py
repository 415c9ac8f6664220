"""This project's side."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import flownn as flow
from benchmarks.computing.answering import Missing
from benchmarks.computing.inputs import layer_arrays, training_batch
from benchmarks.computing.sizes import LEARNING_RATE, MOMENTUM, PORTABLE, layer_name
from benchmarks.computing.work import Network, Work


def prepare(part: str, side: str, sizes: Mapping[str, Any]) -> Work:
    about = {"kernels": flow.backends()["cpu"]}
    if side == PORTABLE:
        if about["kernels"].startswith("numpy"):
            raise Missing("flownn computes with its portable kernels anyway here")
        flow.use_kernels("portable")
        about = {"kernels": flow.backends()["cpu"]}
    if part == "layers":
        return Work(about, _layers(sizes))
    if part == "overhead":
        return Work(about, _overhead(sizes["side"]))
    step, network = training(part, sizes)
    return Work(about, {"step": step}, network)


def model_of(part: str, sizes: Mapping[str, Any]) -> Any:
    """The network that a training part trains."""
    flow.manual_seed(0)
    if part == "mlp":
        layers: list[Any] = []
        widths = sizes["widths"]
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            layers += [flow.nn.ReLU()] if number else []
            layers.append(flow.nn.Linear(inputs, outputs))
        return flow.nn.Sequential(*layers)
    if part == "transformer":
        names = {name: sizes[name] for name in ("context", "width", "depth", "heads")}
        return flow.models.create("gpt", vocab_size=sizes["vocabulary"], **names)
    return flow.models.create(part, num_classes=sizes["classes"])


def training(part: str, sizes: Mapping[str, Any]) -> tuple[Callable[[], Any], Network]:
    """The step, from arrays as a loader would hand them over, and its network."""
    model = model_of(part, sizes)
    data, labels = training_batch(part, sizes)
    step = step_of(model, model.parameters(), data, labels)

    def save(path: str) -> None:
        np.savez(path, **{name: each.numpy() for name, each in model.state_dict().items()})

    def load(path: str) -> None:
        with np.load(path) as values:
            model.load_state_dict({name: flow.from_numpy(values[name]) for name in values.files})

    def loss() -> float:
        return float(loss_of(model, data, labels).item())

    return step, Network(sum(each.numel() for each in model.parameters()), save, load, loss)


def loss_of(model: Any, data: Any, labels: Any) -> Any:
    scores = model(flow.from_numpy(data))
    targets = flow.from_numpy(labels)
    if scores.ndim == 3:  # a class at every position
        scores, targets = scores.flatten(0, 1), targets.flatten()
    return flow.nn.functional.cross_entropy(scores, targets)


def step_of(model: Any, parameters: Any, data: Any, labels: Any) -> Callable[[], Any]:
    optimizer = flow.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model, data, labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _layers(sizes: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
    calls: dict[str, Callable[[], object]] = {}
    for layer in sizes["layers"]:
        image, values, slope = layer_arrays(sizes["batch"], layer)
        # In a network the layer before leaves its output in the layout that convolutions like.
        x, gradient = (flow.from_numpy(each).to(memory_format=flow.channels_last) for each in (image, slope))
        x.requires_grad_()
        weight = flow.from_numpy(values).requires_grad_()
        kernel, stride = layer[3:]

        def forward(x: Any = x, weight: Any = weight, stride: int = stride, padding: int = kernel // 2) -> Any:
            return flow.nn.functional.conv2d(x, weight, stride=stride, padding=padding)

        def backward(y: Any = forward(), x: Any = x, weight: Any = weight, gradient: Any = gradient) -> Any:  # noqa: B008
            return flow.autograd.grad(y, (x, weight), gradient, retain_graph=True)

        calls |= {f"{layer_name(layer)} forward": forward, f"{layer_name(layer)} backward": backward}
    return calls


def _overhead(side: int) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    a, b = (flow.from_numpy(rng.standard_normal((side, side), np.float32)).requires_grad_() for _ in range(2))

    def backward() -> None:
        a.grad = b.grad = None
        (a * b).sum().backward()

    return {"a + b": lambda: a + b, "(a * b).sum().backward()": backward}
