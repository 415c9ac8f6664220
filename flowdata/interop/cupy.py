"""The batches of a loader as CuPy arrays, uploaded while the GPU computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cupy
import cupyx
import numpy as np

from flowdata.loader import Loader
from flowdata.sample import Array, Batch

_BUFFERS = 2


class UploadingLoader:
    """Iterate over batches whose arrays are on the current device, one batch ahead of the consumer.

    While the consumer works with a batch, the next one is copied from pinned memory on a stream of its own. Arrays are
    ordered with the stream that is current where the iterator is advanced: work launched there may use them at once.
    They are the consumer's, for as long as it keeps them. Breaking out of a loop makes the batch ahead again later.

    Args:
        loader: What to iterate over; whoever opened it closes it.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self._state = loader.state_dict()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._staging: list[dict[str, Array]] = [{} for _ in range(_BUFFERS)]
        self._copied: list[Any] = [None] * _BUFFERS  # event after which a buffer may be written again
        self._turn = 0

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch, see :meth:`flowdata.Loader.__iter__`."""
        self.loader.load_state_dict(self._state)
        ahead: tuple[Batch, Any, dict[str, Any]] | None = None
        try:
            for batch in self.loader:
                following = (*self._start(batch), self.loader.state_dict())
                del batch  # its memory is free for the workers again
                if ahead is not None:
                    yield self._hand_over(*ahead)
                ahead = following
            if ahead is not None:
                yield self._hand_over(*ahead)
        finally:
            self._stream.synchronize()  # nothing is written any more into memory that is about to be free

    def _start(self, batch: Batch) -> tuple[Batch, Any]:
        """Begin to copy a batch; returns it with its device arrays, and the event of their completion."""
        self._turn = (self._turn + 1) % _BUFFERS
        if self._copied[self._turn] is not None:
            self._copied[self._turn].synchronize()
        # Freshly allocated memory may still be in use by what the consumer launched before it let go of it.
        self._stream.wait_event(cupy.cuda.get_current_stream().record())
        arrays: dict[str, Any] = {}
        for name, value in batch.items():
            if isinstance(value, list):
                arrays[name] = [cupy.asarray(each) for each in value]
                continue
            arrays[name] = cupy.empty(value.shape, value.dtype)
            if value.size:  # a rank's part of a small batch may be empty
                pinned = self._pinned(name, value)
                np.copyto(pinned, value)
                arrays[name].set(pinned, stream=self._stream)
        self._copied[self._turn] = event = self._stream.record()
        return batch.replace(**arrays), event

    def _pinned(self, name: str, like: Array) -> Array:
        buffers = self._staging[self._turn]
        if name not in buffers or buffers[name].nbytes < like.nbytes:
            buffers[name] = cupyx.empty_pinned(like.nbytes, np.uint8)
        return buffers[name][: like.nbytes].view(like.dtype).reshape(like.shape)

    def _hand_over(self, batch: Batch, event: Any, state: dict[str, Any]) -> Batch:
        cupy.cuda.get_current_stream().wait_event(event)
        self._state = state
        return batch

    def set_epoch(self, epoch: int) -> None:
        """Continue with the first batch of an epoch."""
        self.loader.seek(epoch)
        self._state = self.loader.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer is; the batch ahead does not count."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where :meth:`state_dict` was called."""
        self.loader.load_state_dict(state)
        self._state = dict(state)


def upload(loader: Loader) -> UploadingLoader:
    """The batches of ``loader`` on the current device."""
    return UploadingLoader(loader)
