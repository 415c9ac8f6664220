"""Every test here must leave no process, no shared memory and no file behind, as those of the executors."""

from tests.flowdata.executors.conftest import gone, token

__all__ = ["gone", "token"]
