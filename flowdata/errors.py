"""What can go wrong with data, as four kinds of error.

Each message says who noticed, what was expected, what was found and, where it is not obvious, what to do.
"""


class DataError(Exception):
    """Base class of everything `flowdata` raises on purpose.

    ``summary_only`` tells whoever prints the error that the message says it all and a traceback would only hide it;
    ``exit_code`` is what a program that ends with the error returns.
    """

    summary_only: bool = False
    exit_code: int = 1


class ConfigError(DataError):
    """A pipeline or recipe description is wrong: unknown key, bad value, stages that do not fit together."""

    summary_only = True
    exit_code = 2


class RecordError(DataError):
    """Bytes on disk are not what they should be: broken framing, undecodable message or image, wrong count."""

    summary_only = True


class StageError(DataError):
    """A stage raised while it processed a sample; names stage and record, and carries the original traceback.

    Its ``summary_only`` is that of the stage's own error: bad data needs no traceback, a bug in a stage does.
    ``stage`` is the stage's name.
    """

    stage: str = ""


class WorkerError(DataError):
    """A worker process died or stopped answering; names the signal or exit code and what it was working on."""
