"""Random numbers: generators whose state can be stored, and the process's default one."""

from __future__ import annotations

import secrets
import threading
from typing import Any

import numpy as np

from flownn import dtypes

_WORD = (1 << 64) - 1


class Generator:
    """A stream of random numbers (Philox), the same on every platform and device for one seed.

    Threads may share one: each draw is atomic, though their order is not fixed.

    Args:
        seed: Where the stream starts; None for a place that nobody can foresee.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self.manual_seed(secrets.randbits(63) if seed is None else seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream again, at ``seed``.

        Args:
            seed: Any integer; equal modulo 2**64 means equal streams.
        """
        with self._lock:
            self._seed = int(seed)
            self.rng = np.random.Generator(np.random.Philox(key=self._seed & _WORD))
        return self

    def seed(self) -> int:
        """Start the stream again at a place that nobody can foresee, and return its seed."""
        self.manual_seed(secrets.randbits(63))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that the stream was started with."""
        return self._seed

    def get_state(self) -> dict[str, Any]:
        """Where the stream is, as a dict of integers and lists that JSON can hold."""
        with self._lock:
            state = self.rng.bit_generator.state
        return {
            "seed": self._seed,
            "counter": state["state"]["counter"].tolist(),
            "key": state["state"]["key"].tolist(),
            "buffer": state["buffer"].tolist(),
            "buffer_pos": int(state["buffer_pos"]),
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }

    def set_state(self, state: dict[str, Any]) -> Generator:
        """Continue where `get_state` was called.

        Args:
            state: What it returned.

        Raises:
            ValueError: the state has other entries.
        """
        expected = {"seed", "counter", "key", "buffer", "buffer_pos", "has_uint32", "uinteger"}
        if set(state) != expected:
            raise ValueError(f"Generator.set_state: expected the entries {sorted(expected)}, got {sorted(state)}")
        inner = {name: np.asarray(state[name], np.uint64) for name in ("counter", "key")}
        with self._lock:
            self._seed = int(state["seed"])
            self.rng.bit_generator.state = {
                "bit_generator": "Philox",
                "state": inner,
                "buffer": np.asarray(state["buffer"], np.uint64),
                **{name: int(state[name]) for name in ("buffer_pos", "has_uint32", "uinteger")},
            }
        return self

    def uniform(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Numbers from [0, 1) that ``dtype`` can hold, each drawn with the digits it has."""
        if dtype.itemsize == 2:
            bits = 11 if dtype.kind == "f" else 8
            return (self.rng.integers(0, 1 << bits, shape) / (1 << bits)).astype(dtype)
        return np.asarray(self.rng.random(shape, dtype=dtype.type))

    def normal(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Normally distributed numbers with mean 0 and standard deviation 1."""
        drawn = self.rng.standard_normal(shape, dtype=dtypes.accumulator(dtype) or dtype.type)
        return np.asarray(drawn).astype(dtype, copy=False)

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Any:
        """Integers from ``low`` to ``high - 1`` as int64."""
        return np.asarray(self.rng.integers(low, high, shape))

    def permutation(self, n: int) -> Any:
        """The integers from 0 to ``n - 1`` in random order as int64."""
        return self.rng.permutation(n)


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Start the default generator of this process again at ``seed``, and return it."""
    return default_generator.manual_seed(seed)


def get_rng_state() -> dict[str, Any]:
    """Where the default generator of this process is; see `Generator.get_state`."""
    return default_generator.get_state()


def set_rng_state(state: dict[str, Any]) -> None:
    """Let the default generator of this process continue where `get_rng_state` was called."""
    default_generator.set_state(state)


def seed() -> int:
    """Start the default generator of this process at a place that nobody can foresee, and return its seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default generator of this process was started with."""
    return default_generator.initial_seed()
