"""Connectionist temporal classification: the probability of a label sequence, whatever its alignment (Graves, 2006).

The labels of a sample, with a blank before, between and after, are the states of a path that at every time step emits
the label of its state. It may stay, go on to the next state, or skip a blank between two different labels. ``alpha``
sums over the beginnings of all paths and ``beta`` over their ends. Both are logarithms of which each time step's
largest is subtracted (and remembered in float64), so that float32 loses no digits on long inputs.

Samples and states are axes of arrays; time is a Python loop, as each step needs the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flownn.autograd import TensorBase, op
from flownn.backend import CPU, Array, to_device
from flownn.errors import DtypeError, ShapeError
from flownn.kernels.channels import compute_dtype
from flownn.ops.loss.reduction import check_reduction, reduced

if TYPE_CHECKING:
    from flownn.tensor import Tensor

__all__ = ["ctc_loss"]

Lengths = Any  # a tensor or array of integers, a sequence of ints, or an int


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    *,
    blank: int,
    reduction: str,
    zero_infinity: bool,
) -> Tensor:
    """``-log`` of the probability of each target, from log-probabilities (T, N, C), or (T, C) for one sample.

    Reduction "mean" divides each loss by its target's length (at least 1) and takes the mean over samples. Targets are
    (N, S), or one after the other in one dim. With ``zero_infinity`` targets that do not fit into their input count 0.

    The gradient is the derivative with respect to ``log_probs`` as they are. (PyTorch adds ``exp(log_probs)``, as if
    a log-softmax always came before; through a log-softmax both give the same gradient.)
    """
    name = "CTCLoss"
    check_reduction(name, reduction)
    shape = tuple(log_probs.data.shape)
    if len(shape) not in (2, 3) or 0 in shape:
        raise ShapeError(f"{name}: expected log-probabilities (T, N, C) or (T, C), none of them 0, got shape {shape}")
    steps, samples, classes = shape if len(shape) == 3 else (shape[0], 1, shape[1])
    if not 0 <= blank < classes:
        raise ValueError(f"{name}: expected a blank from 0 to {classes - 1}, got {blank}")
    lengths = _lengths(name, "input_lengths", input_lengths, samples, steps)
    shape = tuple(targets.data.shape)
    if targets.data.dtype.kind not in "iu":
        raise DtypeError(f"{name}: expected integer targets, got {targets.data.dtype}")
    if len(shape) == 2 and shape[0] == samples:
        label_counts = _lengths(name, "target_lengths", target_lengths, samples, shape[1])
    elif len(shape) == 1:
        label_counts = _lengths(name, "target_lengths", target_lengths, samples, shape[0])
        if label_counts.sum() != shape[0]:
            raise ShapeError(
                f"{name}: expected as many targets as target_lengths sum to, {label_counts.sum()}, got {shape[0]}"
            )
    else:
        raise ShapeError(f"{name}: expected targets ({samples}, S) or (sum of target_lengths,), got shape {shape}")
    return _ctc_loss(
        log_probs,
        targets,
        input_lengths=lengths,
        target_lengths=label_counts,
        blank=blank,
        reduction=reduction,
        zero_infinity=zero_infinity,
    )


def _lengths(name: str, role: str, given: Lengths, samples: int, limit: int) -> Any:
    """One length per sample, in host memory, where they are checked."""
    lengths = np.asarray(to_device(given.data, CPU) if isinstance(given, TensorBase) else given)
    if lengths.dtype.kind not in "iu":
        raise DtypeError(f"{name}: expected integer {role}, got {lengths.dtype}")
    if lengths.size != samples:
        raise ShapeError(f"{name}: expected {role} for {samples} samples, got {lengths.size}")
    lengths = lengths.reshape(-1).astype(np.int64)
    if lengths.min() < 0 or lengths.max() > limit:
        raise ValueError(f"{name}: expected {role} from 0 to {limit}, got {lengths.tolist()}")
    return lengths


class _Paths(NamedTuple):
    """What the states (N, L) of all samples are."""

    labels: Array  # class that each state emits
    exists: Array  # false beyond the last state of the sample
    skips: Array  # may be entered from two states before
    ends: Array  # a path may end here


def _paths(name: str, xp: Any, targets: Array, counts: Array, blank: int, classes: int) -> _Paths:
    targets = targets.astype(np.int64)
    longest = int(counts.max())
    columns = xp.arange(longest)
    if targets.ndim == 1:
        first = (xp.cumsum(counts) - counts)[:, None]
        targets = targets[xp.minimum(first + columns, max(len(targets) - 1, 0))]
    given = columns < counts[:, None]
    chosen = xp.where(given, targets[:, :longest], blank)
    wrong = given & ((chosen < 0) | (chosen >= classes) | (chosen == blank))
    if wrong.any():
        raise ValueError(
            f"{name}: expected targets from 0 to {classes - 1} without the blank {blank}, got {int(chosen[wrong][0])}"
        )
    labels = xp.full((len(counts), 2 * longest + 1), blank, dtype=np.int64)
    labels[:, 1::2] = chosen
    skips = xp.zeros(labels.shape, dtype=bool)
    skips[:, 3::2] = chosen[:, 1:] != chosen[:, :-1]
    state, last = xp.arange(labels.shape[1]), 2 * counts[:, None]
    return _Paths(labels, state <= last, skips, (state == last) | (state == last - 1))


@op(quiet_floats=True)
def _ctc_loss(
    xp: Any,
    log_probs: Array,
    targets: Array,
    *,
    input_lengths: Any,
    target_lengths: Any,
    blank: int,
    reduction: str,
    zero_infinity: bool,
) -> Any:
    name = "CTCLoss"
    wide = log_probs.astype(compute_dtype(name, log_probs.dtype), copy=False)
    wide = wide if wide.ndim == 3 else wide[:, None]
    steps, samples, classes = wide.shape
    shape, dtype = log_probs.shape, wide.dtype
    paths = _paths(name, xp, targets, xp.asarray(target_lengths), blank, classes)
    emitted = xp.where(paths.exists, wide[:, xp.arange(samples)[:, None], paths.labels], -np.inf)  # (T, N, L)
    alpha, scale = _alpha(xp, emitted, paths)

    last = xp.asarray(np.maximum(input_lengths - 1, 0))
    sample = xp.arange(samples)
    ending = xp.where(paths.ends, alpha[last, sample], -np.inf)
    losses = -(scale[last, sample] + _log_sum(xp, ending, axis=1))
    empty = xp.asarray(np.where(target_lengths == 0, 0.0, np.inf))  # what an input of no time steps costs
    losses = xp.where(xp.asarray(input_lengths == 0), empty, losses)
    impossible = xp.isinf(losses)
    if zero_infinity:
        losses = xp.where(impossible, 0, losses)
    share = xp.asarray(1 / (samples * np.maximum(target_lengths, 1))) if reduction == "mean" else 1

    def vjp(g: Array) -> Any:
        seed = (g.reshape(-1) * share).astype(dtype)
        visits = _visits(xp, emitted, alpha, paths, input_lengths)
        if zero_infinity:
            visits = xp.where(impossible[:, None], 0, visits)
        cell = (xp.arange(steps)[:, None, None] * samples + sample[:, None]) * classes + paths.labels
        sums = xp.bincount(cell.reshape(-1), (visits * seed[:, None]).reshape(-1), minlength=steps * samples * classes)
        return -sums.reshape(shape).astype(dtype), None

    losses = (losses * share).astype(dtype)
    if log_probs.ndim == 2 and reduction == "none":
        losses = losses.reshape(())
    return reduced(losses, "sum" if reduction == "mean" else reduction, 1).astype(log_probs.dtype), vjp


def _alpha(xp: Any, emitted: Array, paths: _Paths) -> tuple[Any, Any]:
    """Logarithm of the sum over the beginnings of paths, (T, N, L), less ``scale`` (T, N) in float64."""
    alpha, scale = xp.empty_like(emitted), xp.empty(emitted.shape[:2])
    total = xp.zeros(emitted.shape[1])
    for t in range(len(emitted)):
        if t == 0:
            now = xp.where(xp.arange(emitted.shape[2]) < 2, emitted[0], -np.inf)
        else:
            now = emitted[t] + _entered(xp, alpha[t - 1], paths)
        largest = now.max(axis=1)
        largest = xp.where(xp.isfinite(largest), largest, 0)
        total = total + largest
        alpha[t], scale[t] = now - largest[:, None], total
    return alpha, scale


def _entered(xp: Any, before: Array, paths: _Paths) -> Any:
    """The logarithm of what comes into each state: from itself, the state before it and the one before that."""
    come = xp.full((3, *before.shape), -np.inf, dtype=before.dtype)
    come[0] = before
    come[1, :, 1:] = before[:, :-1]
    come[2, :, 2:] = xp.where(paths.skips[:, 2:], before[:, :-2], -np.inf)
    return _log_sum(xp, come, axis=0)


def _left(xp: Any, after: Array, paths: _Paths) -> Any:
    """The logarithm of what goes out of each state: to itself, the next state and the one after that."""
    go = xp.full((3, *after.shape), -np.inf, dtype=after.dtype)
    go[0] = after
    go[1, :, :-1] = after[:, 1:]
    go[2, :, :-2] = xp.where(paths.skips[:, 2:], after[:, 2:], -np.inf)
    return _log_sum(xp, go, axis=0)


def _visits(xp: Any, emitted: Array, alpha: Array, paths: _Paths, input_lengths: Any) -> Any:
    """The probability (T, N, L) that a path of the target is in each state; nan if there is no path, 0 after the end.

    As at every time step these sum to 1, only ``alpha + beta`` up to a constant is needed.
    """
    visits = xp.zeros_like(emitted)
    final = xp.asarray(input_lengths)[:, None] - 1
    at_end = xp.where(paths.ends, 0, -np.inf).astype(emitted.dtype)
    beta = at_end
    for t in range(len(emitted) - 1, -1, -1):
        if t + 1 < len(emitted):
            beta = xp.where(final == t, at_end, _left(xp, beta + emitted[t + 1], paths))
            largest = beta.max(axis=1, keepdims=True)
            beta = beta - xp.where(xp.isfinite(largest), largest, 0)
        both = alpha[t] + beta
        visits[t] = xp.where(t <= final, xp.exp(both - _log_sum(xp, both, axis=1)[:, None]), 0)
    return visits


def _log_sum(xp: Any, x: Array, axis: int) -> Any:
    """``log(sum(exp(x)))`` along an axis; -inf where all are."""
    largest = x.max(axis=axis, keepdims=True)
    largest = xp.where(xp.isfinite(largest), largest, 0)
    return xp.squeeze(largest, axis=axis) + xp.log(xp.exp(x - largest).sum(axis=axis))
