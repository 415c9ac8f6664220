"""PyTorch's sides."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.computing.answering import Missing
from benchmarks.computing.inputs import layer_arrays, training_batch
from benchmarks.computing.sizes import CHANNELS_LAST, COMPILED, LEARNING_RATE, MOMENTUM, layer_name
from benchmarks.computing.torch_models import model_of
from benchmarks.computing.work import Network, Work


def prepare(part: str, side: str, sizes: Mapping[str, Any]) -> Work:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layout = torch.channels_last if side == CHANNELS_LAST else torch.contiguous_format
    about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if part == "layers":
        return Work(about, _layers(sizes, layout))
    if part == "overhead":
        return Work(about, _overhead(sizes["side"]))
    compiled = side == COMPILED
    if compiled:
        if not any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))):
            raise Missing("there is no C++ compiler: install g++, or name one in CXX")
        if part.startswith("resnet"):
            layout = torch.channels_last  # the faster of the two
    step, network = training(part, sizes, layout, compiled)
    return Work(about, {"step": step}, network)


def training(part: str, sizes: Mapping[str, Any], layout: Any, compiled: bool) -> tuple[Callable[[], Any], Network]:
    """The step, from arrays as a loader would hand them over, and its network."""
    model = model_of(part, sizes).to(memory_format=layout)
    forward = torch.compile(model) if compiled else model
    data, labels = training_batch(part, sizes)
    step = step_of(forward, model.parameters(), data, labels, layout)

    def save(path: str) -> None:
        np.savez(path, **{name: each.numpy() for name, each in model.state_dict().items()})

    def load(path: str) -> None:
        with np.load(path) as values:
            model.load_state_dict({name: torch.from_numpy(values[name]) for name in values.files})

    def loss() -> float:
        return float(loss_of(forward, data, labels, layout))

    return step, Network(sum(each.numel() for each in model.parameters()), save, load, loss)


def loss_of(model: Any, data: Any, labels: Any, layout: Any) -> Any:
    inputs = torch.from_numpy(data)
    scores = model(inputs.to(memory_format=layout) if inputs.ndim == 4 else inputs)
    targets = torch.from_numpy(labels)
    if scores.ndim == 3:  # a class at every position
        scores, targets = scores.flatten(0, 1), targets.flatten()
    return torch.nn.functional.cross_entropy(scores, targets)


def step_of(model: Any, parameters: Any, data: Any, labels: Any, layout: Any) -> Callable[[], Any]:
    optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model, data, labels, layout)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _layers(sizes: Mapping[str, Any], layout: Any) -> dict[str, Callable[[], object]]:
    calls: dict[str, Callable[[], object]] = {}
    for layer in sizes["layers"]:
        arrays = layer_arrays(sizes["batch"], layer)
        x, weight, gradient = (torch.from_numpy(each).to(memory_format=layout) for each in arrays)
        x.requires_grad_()
        weight.requires_grad_()
        kernel, stride = layer[3:]

        def forward(x: Any = x, weight: Any = weight, stride: int = stride, padding: int = kernel // 2) -> Any:
            return torch.nn.functional.conv2d(x, weight, stride=stride, padding=padding)

        def backward(y: Any = forward(), x: Any = x, weight: Any = weight, gradient: Any = gradient) -> Any:  # noqa: B008
            return torch.autograd.grad(y, (x, weight), gradient, retain_graph=True)

        calls |= {f"{layer_name(layer)} forward": forward, f"{layer_name(layer)} backward": backward}
    return calls


def _overhead(side: int) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.standard_normal((side, side), np.float32)).requires_grad_() for _ in range(2))

    def backward() -> None:
        a.grad = b.grad = None
        (a * b).sum().backward()

    return {"a + b": lambda: a + b, "(a * b).sum().backward()": backward}
