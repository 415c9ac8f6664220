"""Elementwise functions, gates and softmaxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.parity.spec import PRECISIONS, WITH_INTEGERS, Case, Row, Values, accept_all, row, without_unknown

SHAPES: list[tuple[int, ...]] = [(3, 4), (), (5,), (2, 3, 4), (2, 3, 1, 5), (0, 3), (2, 1, 2, 3, 2)]
CONTENTS = ["normal", "large", "kinks", "infinite", "nan"]
# Where a function of the table bends or jumps, for some value of its arguments.
KINKS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 6.0, 20.0, 0.2, -0.2]
EXTREMES = [np.inf, -np.inf, 0.0, 1e-30, -1e-30, 88.0, -88.0, 1e4, -1e4]
# PyTorch's vectorised loops and the loops over what is left treat these differently.
UNSETTLED_NAN_GRADIENT = set("ReLU6 SELU ELU CELU Hardswish Hardsigmoid Hardshrink Softshrink Hardtanh".split())
TAKES_INTEGERS = {"ReLU", "ReLU6", "Softsign", "Sigmoid", "Tanh", "Threshold", "Hardtanh"}
UNSETTLED_INFINITY = {"GELU", "Softsign"}  # inf / inf in some of PyTorch's code, the limit in other


def numbers(c: Values, rng: np.random.Generator) -> list[Any]:
    """Normal numbers, large ones beside one that is not, those where functions bend, extremes, or some nan."""
    x = np.asarray(rng.standard_normal(c.shape) * (40 if c.content == "large" else 2))
    if c.content in ("kinks", "infinite"):
        x = np.asarray(rng.choice(KINKS if c.content == "kinks" else EXTREMES, c.shape))
    if c.content in ("large", "infinite", "nan") and x.size:
        x.flat[0] = np.nan if c.content == "nan" else 0.5  # something of usual size: tolerances follow the largest
    return [x]


def shifted(c: Values, rng: np.random.Generator) -> list[Any]:
    """Normal numbers, far from zero if they are to be large."""
    return [rng.standard_normal(c.shape) + (1000 if c.content == "large" else 0)]


def takes_integers(name: str, c: Values) -> bool:
    """Some do; Softsign gives fractions, which do not fit into the input's memory."""
    return name in TAKES_INTEGERS and not (name == "Softsign" and c.inplace)


def elementwise(name: str, arguments: Mapping[str, Sequence[Any]], **others: Any) -> Row:
    """A row whose input is of any shape and has contents that ask for the corners of such functions."""
    accepts = others.pop("accepts", accept_all)
    others["accepts"] = lambda c: accepts(c) and (c.precision != "int64" or takes_integers(name, c))
    contents = [each for each in CONTENTS if each != "infinite" or name not in UNSETTLED_INFINITY]
    options: dict[str, Any] = {
        "factors": {"shape": SHAPES, "content": contents},
        "inputs": numbers,
        "reference": reference,
        "precisions": WITH_INTEGERS,
    }
    if name in UNSETTLED_NAN_GRADIENT:
        options["constants"] = lambda c: (0,) if c.content == "nan" else ()
    return row(name, arguments, **{**options, **others})


def reference(lib: Any, case: Case) -> Any:
    """PyTorch's class; where that cannot work in place, the input is overwritten by what it gives."""
    module = without_unknown(lib, case)
    function = module
    if case.row.name == "Hardsigmoid" and case.c.precision == "float64":  # its gradient has the sixth of float32
        function = lambda x: lib.nn.functional.relu6(x + 3) / 6  # noqa: E731
    slope = getattr(case.c, "alpha", getattr(case.c, "negative_slope", 0))
    if not getattr(case.c, "inplace", False) or (hasattr(module, "inplace") and function is module and slope >= 0):
        return function
    module.inplace = False

    def overwrite(x: Any) -> Any:
        y = function(x.clone())
        if y.dtype != x.dtype:
            raise TypeError("the result does not fit into the input")
        return x.copy_(y)

    return overwrite


INPLACE = {"inplace": [False, True]}

ELEMENTWISE = [
    *(elementwise(name, INPLACE) for name in ("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Softsign", "Hardsigmoid")),
    elementwise("Hardswish", INPLACE),
    *(elementwise(name, {}) for name in ("Sigmoid", "Tanh", "LogSigmoid")),
    elementwise(
        "GELU",
        {"approximate": ["none", "tanh", "erf"]},
        accepts=lambda c: c.approximate != "erf",
    ),
    elementwise("ELU", {"alpha": [1.0, 0.5, 0.0, 2.0, -1.0], **INPLACE}),
    elementwise("CELU", {"alpha": [1.0, 0.5, 2.0, 0.0, -1.0], **INPLACE}, accepts=lambda c: c.alpha != 0),
    elementwise("LeakyReLU", {"negative_slope": [0.01, 0.5, 0.0, 1.5, -0.5], **INPLACE}),
    elementwise("Hardshrink", {"lambd": [0.5, 0.2, 0.0, 2.0, -1.0], **INPLACE}),
    elementwise("Softshrink", {"lambd": [0.5, 0.2, 0.0, 2.0, -1.0], **INPLACE}, accepts=lambda c: c.lambd >= 0),
    elementwise("Softplus", {"beta": [1, 2, 0.5, -1], "threshold": [20, 1, 0]}),
    elementwise("Threshold", {"threshold": [0.0, 0.5, -1.0, 20], "value": [0.0, 0.2, -3, 20]}),
    elementwise(
        "Hardtanh",
        {
            "min_val": [-1, -2.0, 0.5, 3],
            "max_val": [1, 2.0, 3],
            "inplace": [False, True],
            "min_value": [None, -0.5, 2.0],
            "max_value": [None, 0.5, -2.0],
        },
        accepts=lambda c: (
            (c.min_val if c.min_value is None else c.min_value) < (c.max_val if c.max_value is None else c.max_value)
        ),
    ),
]


# ---------------------------------------------------------------- along a dim


def has_dim(c: Values) -> bool:
    if isinstance(c.dim, float):
        return False
    return c.dim is None or -max(len(c.shape), 1) <= c.dim < max(len(c.shape), 1)


def splits(c: Values) -> bool:
    return bool(c.shape) and has_dim(c) and c.shape[c.dim] % 2 == 0


def prelu_accepts(c: Values) -> bool:
    channels = c.shape[1] if len(c.shape) > 1 else 1
    return c.dtype in (None, c.precision) and c.num_parameters in (1, channels) and c.num_parameters > 0


def prelu(lib: Any, case: Case) -> Any:
    dtype = case.c.dtype and getattr(lib, case.c.dtype)
    module = lib.nn.PReLU(**case.arguments(lib, "dtype"), dtype=dtype)
    return module if dtype else module.to(getattr(lib, case.c.precision))


ALONG = [
    elementwise(
        "GLU",
        {"dim": [-1, 0, 1, 2, -3]},
        factors={"shape": [(3, 4), (4, 6, 2), (2, 2), (8,), (), (0, 4), (2, 4, 2, 6)], "content": CONTENTS},
        accepts=splits,
    ),
    *(
        elementwise(
            name,
            {"dim": [None, 0, 1, -1, -2, 3, 1.0]},
            factors={"shape": [(3, 4), (), (5,), (2, 3, 4), (2, 3, 1, 5), (0, 3)], "content": ["normal", "large"]},
            inputs=shifted,
            accepts=has_dim,
        )
        for name in ("Softmax", "LogSoftmax")
    ),
    elementwise(
        "PReLU",
        {
            "num_parameters": [1, 3, 4, 0],
            "init": [0.25, -0.5, 0.0],
            "device": [None, "cpu"],
            "dtype": [None, "float32", "float64"],
        },
        build=prelu,
        reference=prelu,
        convert=False,
        precisions=PRECISIONS,
        accepts=prelu_accepts,
    ),
]

ROWS = [*ELEMENTWISE, *ALONG]
