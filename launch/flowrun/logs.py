"""The ranks' log files, followed and shown as whole lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

READ_BYTES = 1 << 20  # per file and round, so that one chatty rank does not silence the others
LONGEST_LINE = 1 << 16  # a line without an end is shown in pieces of this size


@dataclass(frozen=True, slots=True)
class Tee:
    """Which ranks' streams are shown while the job runs; everything is in the log files anyway."""

    stdout: Collection[int]
    stderr: Collection[int]


class LineCutter:
    """Cut a stream of bytes into whole lines, keeping of a progress bar what it shows at the end of its line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, without their ends."""
        *lines, rest = (self._rest + data).split(b"\n")
        # A carriage return at the very end may be the first half of "\r\n" or of the next drawing.
        drawn, returned, _ = rest.rpartition(b"\r") if rest.endswith(b"\r") else (rest, b"", b"")
        self._rest = _last_drawing(drawn) + returned
        lines = [_last_drawing(line) for line in lines]
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def finish(self) -> list[bytes]:
        """What is left when the stream has ended."""
        rest, self._rest = _last_drawing(self._rest), b""
        return [rest] if rest else []


def _last_drawing(line: bytes) -> bytes:
    return line.rstrip(b"\r").rpartition(b"\r")[2]


class Screen:
    """One of flowrun's own output streams. A reader that goes away (``| head``) does not end the job."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream: BinaryIO | None = stream

    def write(self, lines: list[bytes]) -> None:
        """Write whole lines at once."""
        if self._stream is None or not lines:
            return
        try:
            self._stream.write(b"\n".join([*lines, b""]))
            self._stream.flush()
        except BrokenPipeError:
            # What is still buffered goes nowhere; Python would complain once more when it flushes at exit.
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)
            self._stream = None


class _Followed:
    """One log file: how far it was read, and which line is incomplete."""

    def __init__(self, path: Path, rank: int, is_stderr: bool, prefix: bytes, screen: Screen) -> None:
        self.rank, self.is_stderr = rank, is_stderr
        self._path, self._prefix, self._screen = path, prefix, screen
        self._file: BinaryIO | None = None
        self._position = 0
        self._cutter = LineCutter()

    def read(self) -> bytes:
        if self._file is None:
            if not self._path.exists():
                return b""
            self._file = self._path.open("rb", buffering=0)
        return self._file.read(READ_BYTES)

    def show(self, data: bytes, limit: int | None) -> None:
        """Show what was read, but nothing from byte ``limit`` of the file on."""
        if limit is not None:
            data = data[: max(0, limit - self._position)]
        self._position += len(data)
        self._screen.write([self._prefix + line for line in self._cutter.feed(data)])

    def finish(self) -> None:
        self._screen.write([self._prefix + line for line in self._cutter.finish()])
        if self._file is not None:
            self._file.close()


class LogFollower:
    """Show the chosen ranks' log files while they grow.

    Args:
        log_dir: Where the ranks write ``rank-00000.out`` and ``.err``.
        tee: The streams to show.
        with_prefix: Whether each line starts with ``[rank]``.
        out: Where the ranks' stdout goes; ``err`` the same for stderr.
        stderr_limits: Gives for failed ranks the byte of stderr from which on the failure is described; that part is
            left to the failure report. Asked after reading, so that a failure between two rounds is not missed.
    """

    def __init__(
        self,
        log_dir: Path,
        tee: Tee,
        *,
        with_prefix: bool,
        out: Screen,
        err: Screen,
        stderr_limits: Callable[[], Mapping[int, int]],
    ) -> None:
        self._stderr_limits = stderr_limits
        self._files = [
            _Followed(
                log_dir / f"rank-{rank:05d}.{suffix}", rank, is_stderr, b"[%d] " % rank if with_prefix else b"", screen
            )
            for is_stderr, suffix, ranks, screen in (
                (False, "out", tee.stdout, out),
                (True, "err", tee.stderr, err),
            )
            for rank in sorted(ranks)
        ]

    def pump(self) -> bool:
        """Show what was written since the last call; tell whether there was anything."""
        found = [(file, data) for file in self._files if (data := file.read())]
        if found:
            limits = self._stderr_limits()
            for file, data in found:
                file.show(data, limits.get(file.rank) if file.is_stderr else None)
        return bool(found)

    def finish(self) -> None:
        """Show the rest, incomplete lines too."""
        while self.pump():
            continue
        for file in self._files:
            file.finish()


def last_lines(path: Path, count: int) -> list[str]:
    """The end of a log file, progress bars collapsed; nothing when there is no such file."""
    if count <= 0 or not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count * 1024))
        cutter = LineCutter()
        lines = cutter.feed(file.read()) + cutter.finish()
    return [line.decode(errors="replace") for line in lines[-count:]]
