"""What can go wrong between ranks.

Each message says who noticed, what was expected, what was found and, where it is not obvious, what to do.
"""


class DistError(Exception):
    """Base class of everything `flowdist` raises on purpose."""


class RankFailed(DistError):
    """Another rank gave up, so a collective that needs it can never finish; names that rank and its error."""


class DistributedModelMismatchError(DistError):
    """The ranks hold different models; the same text on every rank, naming the first difference and who has what."""


class UnusedParameterError(DistError):
    """A backward ended without a gradient for some parameter on some rank; the same text on every rank."""


class PlacementError(DistError, ValueError):
    """A placement or sbp cannot mean anything: unknown device type, repeated rank, a dim that does not exist."""
