"""The batches of a loader as PyTorch tensors, for programs that use PyTorch for everything else."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import torch

from flowdata.errors import DataError
from flowdata.loader import Loader

Tensors = dict[str, Any]


class TorchLoader(torch.utils.data.IterableDataset[Tensors]):  # type: ignore[misc]
    """Iterate over batches as dictionaries of tensors, which share the memory of the batch.

    One iteration is one epoch, as of :class:`flowdata.Loader`. It is its own data loader: it has workers, collation
    and shuffling already. Where a program insists on one, ``DataLoader(TorchLoader(loader), batch_size=None)`` passes
    the batches through.

    Args:
        loader: What to iterate over; :meth:`close` closes it.

    Raises:
        DataError: it is iterated over in a worker process of PyTorch's.
    """

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self.loader = loader

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Tensors]:
        """The rest of the current epoch: a tensor for each array, a list of tensors for a ragged value."""
        if torch.utils.data.get_worker_info() is not None:
            raise DataError(
                "TorchLoader: it has workers of its own; use DataLoader(..., batch_size=None, num_workers=0)"
            )
        for batch in self.loader:
            tensors = {name: _tensor(value) for name, value in batch.items()}
            del batch  # the tensors alone decide how long its memory is in use
            yield tensors

    def set_epoch(self, epoch: int) -> None:
        """Continue with the first batch of an epoch, as ``DistributedSampler.set_epoch``."""
        self.loader.seek(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer is, see :meth:`flowdata.Loader.state_dict`."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where :meth:`state_dict` was called."""
        self.loader.load_state_dict(state)

    def close(self) -> None:
        """Close the loader; tensors stay valid."""
        self.loader.close()

    def __enter__(self) -> TorchLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def as_torch(loader: Loader) -> TorchLoader:
    """The batches of ``loader`` as dictionaries of tensors."""
    return TorchLoader(loader)


def _tensor(value: Any) -> torch.Tensor | list[torch.Tensor]:
    if isinstance(value, list):
        return [torch.from_numpy(np.ascontiguousarray(each)) for each in value]
    return torch.from_numpy(value)
