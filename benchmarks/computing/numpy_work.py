"""Bare NumPy's side: what the arithmetic alone costs, without a tensor around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.computing.work import Work


def prepare(part: str, side: str, sizes: Mapping[str, Any]) -> Work:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((sizes["side"], sizes["side"]), np.float32) for _ in range(2))

    def by_hand() -> tuple[Any, Any]:
        (a * b).sum()
        return np.broadcast_to(np.float32(1), a.shape) * b, np.broadcast_to(np.float32(1), a.shape) * a

    return Work({"numpy": np.__version__}, {"a + b": lambda: a + b, "(a * b).sum().backward()": by_hand})
