"""Tensors with automatic differentiation, modules and optimizers, on NumPy or CuPy; ``import flownn as flow``."""

from __future__ import annotations

import importlib
from math import e, inf, nan, pi
from typing import TYPE_CHECKING, Any

from flownn import autograd, cuda, functions, linalg
from flownn.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from flownn.backend import device
from flownn.dtypes import (
    bfloat16,
    char,
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    record,
    set_default_dtype,
    short,
    tensor_buffer,
    uint8,
)
from flownn.dtypes import bool_ as bool
from flownn.dtypes import float32 as float
from flownn.dtypes import int32 as int
from flownn.errors import DeviceError, DtypeError, FlowError, GradientError, ShapeError
from flownn.functions import *  # noqa: F403 - listed there, one by one
from flownn.kernels.providers import backends, use_kernels
from flownn.kernels.threads import get_num_threads, set_num_threads
from flownn.memory import keep_freed_memory
from flownn.ops.layout import channels_last, channels_last_3d, contiguous_format, memory_format, preserve_format
from flownn.printing import set_printoptions
from flownn.random import Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from flownn.tensor import Size, Tensor

if TYPE_CHECKING:
    from flownn import models, nn, optim, utils
    from flownn.nn.functional import (
        celu,
        hardshrink,
        one_hot,
        pixel_shuffle,
        pixel_unshuffle,
        prelu,
        selu,
        threshold,
    )
    from flownn.serialize import load, save

    placement: Any  # of flowdist, which nothing else here needs
    sbp: Any

__all__ = [
    "DeviceError",
    "DtypeError",
    "FlowError",
    "Generator",
    "GradientError",
    "ShapeError",
    "Size",
    "Tensor",
    "autograd",
    "backends",
    "bfloat16",
    "bool",
    "celu",
    "channels_last",
    "channels_last_3d",
    "char",
    "contiguous_format",
    "cuda",
    "default_generator",
    "device",
    "double",
    "dtype",
    "e",
    "enable_grad",
    "finfo",
    "float",
    "float16",
    "float32",
    "float64",
    "get_default_dtype",
    "get_num_threads",
    "get_rng_state",
    "half",
    "hardshrink",
    "iinfo",
    "inf",
    "inference_mode",
    "initial_seed",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "keep_freed_memory",
    "linalg",
    "load",
    "long",
    "manual_seed",
    "memory_format",
    "models",
    "nan",
    "nn",
    "no_grad",
    "one_hot",
    "optim",
    "pi",
    "pixel_shuffle",
    "pixel_unshuffle",
    "placement",
    "prelu",
    "preserve_format",
    "promote_types",
    "record",
    "save",
    "sbp",
    "seed",
    "selu",
    "set_default_dtype",
    "set_grad_enabled",
    "set_num_threads",
    "set_printoptions",
    "set_rng_state",
    "short",
    "tensor_buffer",
    "threshold",
    "uint8",
    "use_kernels",
    "utils",
]
__all__ += functions.__all__

_SUBMODULES = ("models", "nn", "optim", "utils")
_FUNCTIONAL = (
    "celu",
    "hardshrink",
    "one_hot",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "selu",
    "threshold",
)
_LAZY = {"load": "serialize", "save": "serialize"} | dict.fromkeys(_FUNCTIONAL, "nn.functional")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    if name == "placement":  # on first use, as all that needs flowdist
        return importlib.import_module("flowdist.placement").Placement
    if name == "sbp":
        return importlib.import_module("flowdist.sbp")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
