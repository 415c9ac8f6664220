"""What holds modules and parameters, and helpers around them."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np

from tests.parity.spec import Case, Row, Values, row


def both(name: str, build: Any, arguments: dict[str, list[Any]], **others: Any) -> Row:
    """A row whose counterpart is built by the same code."""
    return row(name, arguments, **{"build": build, "reference": build, "speakers": ("Linear", "BatchNorm1d"), **others})


def chain(lib: Any, layers: str) -> list[Any]:
    """Modules from a short text: l for linear, r for relu, b for batch norm."""
    nn = lib.nn
    return [{"l": lambda: nn.Linear(4, 4), "r": nn.ReLU, "b": lambda: nn.BatchNorm1d(4)}[letter]() for letter in layers]


LAYERS = ["lr", "", "lrl", "blr"]
BATCHES: list[Any] = [(5, 4), (4, 4), (0, 4), (3, 5)]


def chain_accepts(c: Values, layers: str) -> bool:
    return bool(c.shape[1] == 4 or not set(layers) & set("lb"))


# ---------------------------------------------------------------- modules in modules


def sequential(lib: Any, case: Case) -> Any:
    layers = chain(lib, case.c.args[1])
    if case.c.args[0] == "named":
        return lib.nn.Sequential(OrderedDict((f"layer{i}", layer) for i, layer in enumerate(layers)))
    return lib.nn.Sequential(*layers)


def module_list(lib: Any, case: Case) -> Any:
    class Model(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = lib.nn.ModuleList(None if case.c.modules is None else chain(lib, case.c.modules))
            if case.c.edit == "append":
                self.layers.append(lib.nn.Linear(4, 2))
            if case.c.edit == "insert":
                self.layers.insert(0, lib.nn.ReLU())
            if case.c.edit == "slice":
                self.layers = self.layers[:2] + chain(lib, "r")

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return x

    return Model()


def module_dict(lib: Any, case: Case) -> Any:
    class Model(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            layers = None if case.c.modules is None else chain(lib, case.c.modules)
            self.layers = lib.nn.ModuleDict(layers and {f"layer{i}": layer for i, layer in enumerate(layers)})
            if case.c.edit == "append":
                self.layers["last"] = lib.nn.Linear(4, 2)
            if case.c.edit == "insert":
                self.layers.update({"layer0": lib.nn.Linear(4, 4, bias=False)})
            if case.c.edit == "slice" and "layer1" in self.layers:
                self.layers.pop("layer1")

        def forward(self, x: Any) -> Any:
            for layer in self.layers.values():
                x = layer(x)
            return x

    return Model()


EDITS = ["none", "append", "insert", "slice"]


def edited_accepts(c: Values) -> bool:
    """Whether the layers that are left after the edit take the input."""
    left = c.modules or ""
    if c.edit == "slice":
        left = left[:2] if c.part == "list" else left[:1] + left[2:]
    if c.edit == "append" or (c.edit == "insert" and c.part == "dict"):
        left += "l"
    return chain_accepts(c, left)


MODULES = [
    both(
        "Sequential",
        sequential,
        {"args": [(form, layers) for form in ("numbered", "named") for layers in LAYERS]},
        factors={"shape": BATCHES},
        steps=2,
        accepts=lambda c: chain_accepts(c, c.args[1]),
    ),
    both(
        "ModuleList",
        module_list,
        {"modules": [*LAYERS, None]},
        factors={"edit": EDITS, "shape": BATCHES, "part": ["list"]},
        accepts=edited_accepts,
    ),
    both(
        "ModuleDict",
        module_dict,
        {"modules": [*LAYERS, None]},
        factors={"edit": EDITS, "shape": BATCHES, "part": ["dict"]},
        accepts=edited_accepts,
    ),
]

# ---------------------------------------------------------------- parameters


def parameter(lib: Any, case: Case) -> Any:
    class Model(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            data = lib.ones(4) if case.c.data == "floats" else lib.ones(4, dtype=lib.int64)
            self.scale = lib.nn.Parameter(data, requires_grad=case.c.requires_grad)

        def forward(self, x: Any) -> Any:
            return x * self.scale

    return Model()


def parameters_of(lib: Any, sizes: Any) -> list[Any]:
    return [lib.nn.Parameter(lib.ones(*size)) for size in sizes]


def parameter_list(lib: Any, case: Case) -> Any:
    class Model(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            given = None if case.c.parameters is None else parameters_of(lib, case.c.parameters)
            self.weights = lib.nn.ParameterList(given)
            if case.c.edit == "append":
                self.weights.append(lib.nn.Parameter(lib.ones(4)))
            if case.c.edit == "insert" and len(self.weights):
                self.weights[0] = lib.nn.Parameter(lib.zeros(4))
            if case.c.edit == "slice":
                self.weights = self.weights[:1]

        def forward(self, x: Any) -> Any:
            for index in range(len(self.weights)):
                x = x * self.weights[index]
            return x

    return Model()


def parameter_dict(lib: Any, case: Case) -> Any:
    class Model(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            given = None if case.c.parameters is None else parameters_of(lib, case.c.parameters)
            self.weights = lib.nn.ParameterDict(given and {f"w{i}": each for i, each in enumerate(given)})
            if case.c.edit == "append":
                self.weights["last"] = lib.nn.Parameter(lib.ones(4))
            if case.c.edit == "insert":
                self.weights.update({"w0": lib.nn.Parameter(lib.zeros(4))})
            if case.c.edit == "slice" and "w0" in self.weights:
                del self.weights["w0"]

        def forward(self, x: Any) -> Any:
            for each in self.weights.values():
                x = x * each
            return x

    return Model()


SIZES: list[Any] = [((4,),), ((4,), (3, 4)), (), None]
PARAMETERS = [
    both(
        "Parameter",
        parameter,
        {"data": ["floats", "integers"], "requires_grad": [True, False]},
        factors={"shape": [(3, 4), (4,), (0, 4), (2, 1, 4), (1, 4)]},
        accepts=lambda c: not (c.data == "integers" and c.requires_grad),
    ),
    *(
        both(
            name,
            build,
            {"parameters": SIZES},
            factors={"edit": EDITS, "shape": [(3, 4), (1, 4), (2, 3, 4), (4,)]},
        )
        for name, build in (("ParameterList", parameter_list), ("ParameterDict", parameter_dict))
    ),
]

# ---------------------------------------------------------------- data parallel


def bare(lib: Any, case: Case) -> Any:
    return lib.nn.Sequential(*chain(lib, case.c.module))


def wrapped(lib: Any, case: Case) -> Any:
    c = case.c
    wrap = lib.nn.parallel.DistributedDataParallel
    return wrap(bare(lib, case), broadcast_buffers=c.broadcast_buffers, bucket_size=c.bucket_size)


PARALLEL = row(
    "DistributedDataParallel",
    # One process: the wrapper changes nothing. tests/flowdist compares ranks.
    {"module": ["lr", "lrl", "blr"], "broadcast_buffers": [True, False], "bucket_size": [10, 1, 2]},
    factors={"shape": BATCHES},
    build=wrapped,
    speakers=("Linear", "BatchNorm1d"),
    reference=bare,
    accepts=lambda c: chain_accepts(c, c.module),
)

# ---------------------------------------------------------------- utils


def gradients(c: Values, rng: np.random.Generator) -> list[Any]:
    """Gradients to clip: of several parameters, of one, of none, with one that is infinite or not a number."""
    shapes = {"several": [(3, 4), (2,), ()], "one": [(2, 3)], "single": [(2, 3)], "none": []}[c.parameters]
    found = [np.asarray(rng.standard_normal(shape)) for shape in shapes]
    if c.content != "finite" and found:
        found[0].flat[0] = {"nan": np.nan, "infinite": np.inf}[c.content]
    return found


def clipped(lib: Any, case: Case) -> Any:
    """Clip, then give the norm and what is left of the gradients."""

    def clip(*grads: Any) -> list[Any]:
        made = []
        for grad in grads:
            made.append(lib.nn.Parameter(grad.detach().clone()))
            made[-1].grad = grad.detach()
        given = made[0] if case.c.parameters == "single" else made
        norm = lib.nn.utils.clip_grad_norm_(given, **case.arguments(lib, "parameters"))
        return [norm, *(each.grad for each in made)]

    return clip


CLIP = both(
    "clip_grad_norm_",
    clipped,
    {
        "parameters": ["several", "one", "single", "none"],
        "max_norm": [1.0, 100, 0.1],
        "norm_type": [2.0, 1.0, 3, math.inf, "inf"],
        "error_if_nonfinite": [False, True],
    },
    factors={"content": ["finite", "nan", "infinite"]},
    inputs=gradients,
    constants=lambda c: (0, 1, 2),
    accepts=lambda c: not (c.error_if_nonfinite and c.content != "finite" and c.parameters != "none"),
)


def normed(lib: Any, case: Case) -> Any:
    return lib.nn.utils.weight_norm(layer(lib, case.c.module), name=case.c.name, dim=case.c.dim)


def layer(lib: Any, kind: str) -> Any:
    return {"linear": lambda: lib.nn.Linear(4, 3), "conv": lambda: lib.nn.Conv2d(4, 3, 2)}[kind]()


def taken_back(lib: Any, case: Case) -> Any:
    """Normed until the first forward, plain from there on."""

    class Model(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = lib.nn.utils.weight_norm(layer(lib, case.c.module), dim=case.c.dim)

        def forward(self, x: Any) -> Any:
            lib.nn.utils.remove_weight_norm(self.layer, name=case.c.name)
            return self.layer(x)

    return Model()


def takes(c: Values) -> bool:
    return bool(len(c.shape) == 2 and c.shape[1] == 4 if c.module == "linear" else len(c.shape) == 4)


NORMED_SHAPES: list[Any] = [(3, 4), (0, 4), (2, 4, 3, 3), (1, 4, 2, 3)]

UTILS = [
    CLIP,
    both(
        "weight_norm",
        normed,
        {"module": ["linear", "conv"], "name": ["weight", "missing"], "dim": [0, 1, None, -1]},
        factors={"shape": NORMED_SHAPES},
        steps=2,
        speakers=("Linear", "Conv2d"),
        accepts=lambda c: takes(c) and c.name == "weight",
    ),
    both(
        "remove_weight_norm",
        taken_back,
        {"module": ["linear", "conv"], "name": ["weight", "missing"]},
        factors={"dim": [0, 1, None], "shape": NORMED_SHAPES},
        speakers=("Linear", "Conv2d"),
        accepts=lambda c: takes(c) and c.name == "weight",
    ),
]

ROWS = [*MODULES, *PARAMETERS, PARALLEL, *UTILS]
