"""How many threads a kernel may compute with."""

from __future__ import annotations

import os

__all__ = ["get_num_threads", "set_num_threads", "thread_settings"]


class _Settings:
    """The process-wide number; ``generation`` tells threads that it has changed."""

    def __init__(self) -> None:
        self.count: int | None = None
        self.generation = 0


thread_settings = _Settings()


def usable_cpus() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_num_threads(count: int) -> None:
    """Compute with this many threads from now on, in the BLAS behind NumPy as in the kernels of a provider.

    Results may differ in the last bit between numbers of threads.

    Args:
        count: 1 or more; no more are used than this process may run on processors.

    Raises:
        ValueError: ``count`` is not a positive int.
    """
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"set_num_threads: expected an int of 1 or more, got {count!r}")
    from threadpoolctl import threadpool_limits

    threadpool_limits(min(count, usable_cpus()))
    thread_settings.count = min(count, usable_cpus())
    thread_settings.generation += 1


def get_num_threads() -> int:
    """How many threads compute: what was set, else what the BLAS behind NumPy was told, else the processors.

    A limit that `threadpoolctl` or an environment variable put on the BLAS counts from the first time that this is
    asked, or that a provider's kernel runs.
    """
    if thread_settings.count is None:
        from threadpoolctl import threadpool_info

        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        thread_settings.count = min([usable_cpus(), *pools])
    return thread_settings.count
