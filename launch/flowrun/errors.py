"""Errors of the launcher: a message for the user and the exit code of the command."""

from __future__ import annotations


class LaunchError(Exception):
    """The job cannot be started as asked: wrong arguments, hosts or files."""

    exit_code = 2
    summary_only = True  # a rank that raises it shows the message without a traceback


class MissingMPI(LaunchError):
    """More than one rank was asked for and no MPI that works was found."""

    exit_code = 3
