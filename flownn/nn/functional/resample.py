"""Resampling as a function."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flownn.errors import DtypeError, ShapeError
from flownn.nn.arguments import Sizes, ntuple
from flownn.ops.pool import adaptive_avg_pool
from flownn.ops.resample import resample
from flownn.tensor import Tensor

__all__ = ["Factors", "check_resizing", "interpolate"]

Factors = float | Sequence[float]  # the same for all spatial dims, or one for each

# mode -> what the op calls it, the numbers of spatial dims it is for
_MODES = {
    "nearest": ("nearest", (1, 2, 3)),
    "nearest-exact": ("nearest-exact", (1, 2, 3)),
    "area": ("area", (1, 2, 3)),
    "linear": ("linear", (1,)),
    "bilinear": ("linear", (2,)),
    "trilinear": ("linear", (3,)),
    "bicubic": ("cubic", (2,)),
}


def check_resizing(
    name: str, size: Sizes | None, scale_factor: Factors | None, mode: str, align_corners: bool | None
) -> None:
    """Refuse arguments of a resize that contradict each other.

    Raises:
        DtypeError: a factor that is no number.
        ValueError: an unknown mode, not exactly one of size and factor, or ``align_corners`` for a mode without.
    """
    for factor in scale_factor if isinstance(scale_factor, Sequence) else (scale_factor,):
        if factor is not None and not hasattr(factor, "__float__"):
            raise DtypeError(f"{name}: expected scale_factor as a number or a sequence of them, got {scale_factor!r}")
    if mode not in _MODES:
        raise ValueError(f"{name}: expected a mode of {', '.join(_MODES)}, got {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{name}: expected either size or scale_factor, got {size} and {scale_factor}")
    if align_corners is not None and _MODES[mode][0] not in ("linear", "cubic"):
        raise ValueError(f"{name}: align_corners is for the linear and cubic modes; leave it out for {mode!r}")


def interpolate(
    input: Tensor,
    size: Sizes | None = None,
    scale_factor: Factors | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resample sequences (N, C, L), images (N, C, H, W) or volumes (N, C, D, H, W) to another size.

    Args:
        input: The samples; floating point, or uint8 in the "nearest" modes.
        size: Positions per spatial dim of the result, one int for all or one for each; or else
        scale_factor: that many times those of the input, rounded down.
        mode: "nearest" (the position at or before), "nearest-exact" (at the centre), "linear", "bilinear",
            "trilinear" (for 1, 2, 3 spatial dims), "bicubic" (2), or "area" (mean of the covered positions).
        align_corners: Align the centres of the first and last positions instead of their outer edges; for the linear
            and cubic modes.
        recompute_scale_factor: Use the ratio of the sizes for positions instead of ``scale_factor`` as given. They
            differ where the size was rounded.
        antialias: Where the result is smaller, let every position of the input count; for "bilinear" and "bicubic".

    Raises:
        ValueError: arguments that contradict each other.
        ShapeError: the input has a number of dims that the mode is not for, or a size would be 0.

    Reference:
        ``torch.nn.functional.interpolate``. As there for images, a dim that keeps its size is copied in the linear
        modes, in "nearest" and with ``antialias``, and one of twice the size doubled in "nearest", whatever the
        factor; for sequences and volumes PyTorch's "nearest" does so in the gradient only.

    >>> import flownn as flow
    >>> interpolate(flow.tensor([[[1.0, 2.0]]]), scale_factor=2, mode="linear")
    tensor([[[1.0000, 1.2500, 1.7500, 2.0000]]], dtype=flownn.float32)
    """
    check_resizing("interpolate", size, scale_factor, mode, align_corners)
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias is for the modes bilinear and bicubic, got {mode!r}")
    spatial = tuple(input.data.shape[2:])
    name, allowed = _MODES[mode]
    if len(spatial) not in allowed or 0 in spatial:
        shapes = " or ".join(f"(N, C, {', '.join('DHW'[-n:])})" for n in allowed)
        raise ShapeError(
            f"interpolate: expected input {shapes} with no empty spatial dim for mode {mode!r}, "
            f"got shape {tuple(input.data.shape)}"
        )
    factors: tuple[float, ...] | None = None
    if scale_factor is not None:
        factors = _factors(scale_factor, len(spatial))
        sizes = tuple(math.floor(old * factor) for old, factor in zip(spatial, factors, strict=True))
        if min(sizes) < 1:
            raise ShapeError(f"interpolate: scale_factor {scale_factor} leaves nothing of {spatial}")
        if recompute_scale_factor:
            factors = None
    else:
        if recompute_scale_factor:
            raise ValueError("interpolate: recompute_scale_factor is for scale_factor; leave it out with size")
        if isinstance(size, Sequence) and len(size) != len(spatial):
            raise ValueError(f"interpolate.size: expected an int or {len(spatial)} ints, got {size}")
        sizes = ntuple(size, len(spatial), "interpolate.size", minimum=1)
    if name == "area":
        result: Tensor = adaptive_avg_pool(input, output_size=sizes)
        return result
    return resample(input, size=sizes, mode=name, align_corners=bool(align_corners), scale=factors, antialias=antialias)


def _factors(scale_factor: Factors, n: int) -> tuple[float, ...]:
    given = tuple(scale_factor) if isinstance(scale_factor, Sequence) else (scale_factor,) * n
    if len(given) != n or not all(factor > 0 for factor in given):
        raise ValueError(f"interpolate: expected a positive scale_factor or {n} of them, got {scale_factor}")
    return tuple(float(factor) for factor in given)
