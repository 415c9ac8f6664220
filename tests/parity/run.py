"""Do the same with both libraries, and compare everything that comes out."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import flownn as flow
from tests.parity.exceptions import difference
from tests.parity.spec import Case

RTOL = {"float32": 1e-4, "float64": 1e-9}
ATOL = {"float32": 1e-5, "float64": 1e-12}  # times the largest finite magnitude of the reference

PACKAGE = Path(flow.__file__).parent
ON_PURPOSE = (flow.FlowError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError, RuntimeError)


@dataclass
class Run:
    """What a module gave, as arrays."""

    outputs: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)  # as they were left
    input_grads: list[Any] = field(default_factory=list)
    parameter_grads: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


def laid_out(array: Any, layout: str) -> Any:
    """The same values in memory of their own with other strides."""
    if layout == "strided" and array.ndim:
        room = np.empty((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
        view = room[..., 1::2]
        view[...] = array
        return view
    if layout == "channels_last" and array.ndim > 1:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
    return np.array(array, order="C")


def inputs_of(case: Case) -> list[Any]:
    """The arguments of forward: floating point arrays in the case's precision, all arrays in its layout."""
    given = case.row.inputs(case.c, case.rng())
    return [
        laid_out(np.asarray(in_precision(each, case.c.precision)), case.c.layout) if is_array(each) else each
        for each in given
    ]


def is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic))


def in_precision(array: Any, precision: str) -> Any:
    if array.dtype.kind != "f":
        return array
    if precision == "int64":
        return np.nan_to_num(array, posinf=9, neginf=-9).astype(np.int64)
    return array.astype("float64" if precision == "mixed" else precision)


def constructed(lib: Any, case: Case, build: Callable[[Any, Case], Any]) -> Any:
    module = build(lib, case)
    if hasattr(module, "state_dict"):
        if case.row.convert and case.c.precision != "int64":
            module.to(getattr(lib, "float32" if case.c.precision == "mixed" else case.c.precision))
        if "training" not in case.row.arguments:
            module.train(case.c.training)
    return module


def go(lib: Any, case: Case, module: Any) -> Run:
    """Forward and back, as often as the row says, and everything that is left afterwards."""
    run = Run()
    leaves = [lib.from_numpy(each) if isinstance(each, np.ndarray) else each for each in inputs_of(case)]
    for index, leaf in enumerate(leaves):
        if hasattr(leaf, "requires_grad_") and leaf.is_floating_point() and index not in case.row.constants(case.c):
            leaf.requires_grad_(True)
    for step in range(case.row.steps):
        inplace = getattr(case.c, "inplace", False)
        arguments = [leaf.clone() if inplace else leaf for leaf in leaves]
        result = module(*arguments)
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        run.outputs += [each.detach().numpy().copy() for each in outputs]
        run.inputs = [each.detach().numpy() for each in arguments if hasattr(each, "detach")]
        rng = np.random.default_rng(step)
        roots = [each for each in outputs if each.requires_grad]
        seeds = [rng.standard_normal(tuple(each.shape)).astype(str(each.dtype).split(".")[-1]) for each in roots]
        seeds = [lib.from_numpy(laid_out(np.asarray(seed), case.c.layout)) for seed in seeds]
        if roots:
            lib.autograd.backward(roots, seeds)
    run.input_grads = [array_of(leaf.grad) for leaf in leaves if hasattr(leaf, "grad")]
    if hasattr(module, "state_dict"):
        run.parameter_grads = {name: array_of(p.grad) for name, p in module.named_parameters()}
        run.state = state_of(module)
    return run


def array_of(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().numpy()


def state_of(module: Any) -> dict[str, Any]:
    return {name: np.array(value.detach().numpy()) for name, value in module.state_dict().items()}


def randomize(module: Any, case: Case) -> None:
    """Random parameters and statistics, in the PyTorch module; other buffers are arguments and stay."""
    import torch

    rng = case.rng("state")
    with torch.no_grad():
        for _, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(parameter.shape)))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.from_numpy(rng.standard_normal(buffer.shape)))
            elif name.endswith("running_var"):
                buffer.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, buffer.shape)))
            elif name.endswith("num_batches_tracked"):
                buffer.fill_(3)
            elif name.endswith(("moving_max", "moving_min")) and not case.c.fresh:
                buffer.fill_(float(rng.uniform(1, 2)) * (1 if name.endswith("max") else -1))


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of either library to its users; what arithmetic warns of is an error in ours."""
    with warnings.catch_warnings():
        for kind in (UserWarning, DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        yield


def run_theirs(case: Case) -> tuple[Run, dict[str, Any], dict[str, Any]]:
    """What PyTorch gives; the state it started from; and those initial values that no random numbers decide."""
    import torch

    with quiet():
        module, start, fixed = constructed(torch, case, case.row.reference), {}, {}
        if hasattr(module, "state_dict"):
            again = state_of(constructed(torch, case, case.row.reference))
            fixed = {n: v for n, v in state_of(module).items() if np.array_equal(v, again[n], equal_nan=True)}
            randomize(module, case)
            start = state_of(module)
        return go(torch, case, module), start, fixed


def run_ours(case: Case, start: dict[str, Any] | None, fixed: dict[str, Any]) -> Run:
    """What we give, from the same state; from our own where PyTorch has none because it refused."""
    with quiet():
        module = constructed(flow, case, case.row.build)
        if start is not None and hasattr(module, "state_dict"):
            initial = state_of(module)
            assert list(initial) == list(start), "names of the state"
            for name, value in fixed.items():
                close(f"initial {name}", initial[name], value)
            module.load_state_dict(start, strict=True)
        return go(flow, case, module)


def close(what: str, ours: Any, theirs: Any) -> None:
    """Equal shape and type; integers equal, floating point numbers within the tolerances, nan and infinity in place."""
    assert (ours is None) == (theirs is None), f"{what}: {ours} here, {theirs} in PyTorch"
    if theirs is None:
        return
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape} here, {theirs.shape} in PyTorch"
    assert ours.dtype == theirs.dtype, f"{what}: {ours.dtype} here, {theirs.dtype} in PyTorch"
    if theirs.dtype.kind != "f":
        np.testing.assert_array_equal(ours, theirs, err_msg=what)
        return
    finite = np.abs(theirs[np.isfinite(theirs)])
    kind = str(theirs.dtype)
    atol = ATOL[kind] * float(finite.max(initial=0))
    np.testing.assert_allclose(ours, theirs, rtol=RTOL[kind], atol=atol, equal_nan=True, err_msg=what)


def compare(case: Case, ours: Run, theirs: Run) -> None:
    assert len(ours.outputs) == len(theirs.outputs)
    for index, pair in enumerate(zip(ours.outputs, theirs.outputs, strict=True)):
        close(f"output {index}", *pair)
    for index, pair in enumerate(zip(ours.inputs, theirs.inputs, strict=True)):
        close(f"input {index} afterwards", *pair)
    for index, pair in enumerate(zip(ours.input_grads, theirs.input_grads, strict=True)):
        close(f"gradient of input {index}", *pair)
    assert list(ours.parameter_grads) == list(theirs.parameter_grads)
    for name, grad in theirs.parameter_grads.items():
        close(f"gradient of {name}", ours.parameter_grads[name], grad)
    for name, value in theirs.state.items():
        close(f"state {name} afterwards", ours.state[name], value)


def check_message(case: Case, error: Exception) -> None:
    """An error raised on purpose, by our own code, whose message names the class or one of its arguments."""
    assert isinstance(error, ON_PURPOSE), f"{type(error).__name__} is no error for users"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    assert PACKAGE in Path(frame.filename).parents, f"raised in {frame.filename}"
    assert (frame.line or "").startswith("raise"), f"not raised on purpose: {frame.line}"
    name = case.row.name
    words = {name, re.sub(r"\dd$", "", name), *case.row.arguments, *case.row.speakers}
    said = {plain(word) for word in re.findall(r"\w+", str(error))}
    assert said & {plain(word) for word in words}, f"message names neither {name} nor an argument: {error}"


def plain(word: str) -> str:
    return word.lower().replace("_", "")


def check(case: Case) -> None:
    """Both give the same or both refuse, unless the reviewed list of differences says otherwise."""
    refusal = None
    try:
        theirs, start, fixed = run_theirs(case)
    except Exception as error:
        refusal = error
    known = difference(case.row.name, case.c)
    if known is None:
        assert (refusal is None) == case.accepted, f"the row is wrong about PyTorch, which says: {refusal}"
    if known is not None or refusal is not None:
        expected = known.here if known is not None else "refused"
        error = refusal_of(case)
        assert (error is None) == (expected == "accepted"), f"{expected} here: {error}; PyTorch: {refusal}"
        if error is not None:
            check_message(case, error)
        return
    compare(case, run_ours(case, start, fixed), theirs)


def refusal_of(case: Case) -> Exception | None:
    """What we raise, if we do."""
    try:
        run_ours(case, None, {})
    except Exception as error:
        return error
    return None
