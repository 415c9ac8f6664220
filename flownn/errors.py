"""What can go wrong in a computation, as four kinds of error.

Each message says who noticed, what was expected, what was found and, where it is not obvious, what to do. Every
class is also the built-in error of its kind, so ``except ValueError`` keeps working.
"""


class FlowError(Exception):
    """Base class of everything `flownn` raises on purpose."""


class ShapeError(FlowError, ValueError):
    """An array has the wrong number of dims or sizes that do not fit together."""


class DtypeError(FlowError, TypeError):
    """A value has a type that the operation does not take."""


class GradientError(FlowError, RuntimeError):
    """A gradient was asked for that cannot be computed, or the recorded values it needs are gone."""


class DeviceError(FlowError, RuntimeError):
    """An array is on the wrong device, or the device does not exist here."""
