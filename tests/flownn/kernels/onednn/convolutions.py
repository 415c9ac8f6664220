"""What tests of convolutions share."""

from typing import Any

import numpy as np

ONCE = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)  # stride, padding, dilation, groups


def draw(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def errors(entry: Any, *args: Any) -> tuple[float, float]:
    """The root mean squares of the body's errors and of the portable one's."""
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
    reference = entry.portable(np, *wide)
    bodies = entry.provider_body("onednn"), entry.portable
    mine, portable = (float(np.sqrt(np.square(body(np, *args) - reference).mean())) for body in bodies)
    return mine, portable
