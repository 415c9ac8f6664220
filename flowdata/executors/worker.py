"""A worker process, and the messages between consumer, server and workers."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import struct
import threading
import traceback
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, NoReturn, Protocol

import cloudpickle

from flowdata.errors import WorkerError
from flowdata.executors import platform
from flowdata.executors.slots import SlotLayout, SlotMemory
from flowdata.executors.stats import Meter

# A task: slot, first row, number of rows, ticket. All workers read tasks from one pipe; the size divides a page,
# so that a write is never torn and a read always gets whole tasks.
TASK = struct.Struct("<4I")

FAILURE = struct.Struct("<3I")  # before the packed error in a message FAILED: row, worker, its process number

DONE, FAILED, SETUP, SETUP_FAILED, STARTED, DIED = range(6)
_HEADER = struct.Struct("<B3xIQ")
_READ_BYTES = 1 << 18

# What the consumer asks of the server later on: which of these, and the worker's number.
REQUEST = struct.Struct("<2I")
RESPAWN, KILL = range(2)  # with the descriptor of a new connection; the worker is dead; kill it


class Message(NamedTuple):
    """What travels over a socket: ``DONE`` and ``FAILED`` name a task by its ticket."""

    kind: int
    ticket: int = 0
    payload: bytes = b""

    def send(self, connection: socket.socket) -> None:
        """Send it, waiting while the other side does not read."""
        connection.sendall(_HEADER.pack(self.kind, self.ticket, len(self.payload)) + self.payload)


class Inbox:
    """Messages from one socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = bytearray()
        self._read = memoryview(bytearray(_READ_BYTES))  # kept: the system would give and take new memory each time

    def receive(self) -> list[Message] | None:
        """The messages that one read completes, or ``None`` when the other side has gone."""
        try:
            size = self.connection.recv_into(self._read)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            size = 0
        if not size:
            return None
        self._buffer += self._read[:size]
        messages, start = [], 0
        while len(self._buffer) >= start + _HEADER.size:
            kind, ticket, size = _HEADER.unpack_from(self._buffer, start)
            end = start + _HEADER.size + size
            if len(self._buffer) < end:
                break
            messages.append(Message(kind, ticket, bytes(self._buffer[end - size : end])))
            start = end
        del self._buffer[:start]
        return messages


@dataclass(frozen=True)
class Setup:
    """What the consumer tells its server, once. Descriptors are numbers that mean the same in both processes.

    ``tasks`` and ``forward`` are the pipes that each group of workers reads from and writes to, ``groups`` says for
    each worker in which it is.
    """

    path: list[str]
    python_path: str | None
    job: bytes
    layout: SlotLayout
    memory: int
    tasks: list[int]
    forward: list[int | None]
    groups: list[int]
    results: list[int]
    features: frozenset[str]


def pack_error(error: BaseException) -> bytes:
    """An exception, its cause and the text of its traceback, as bytes that :func:`unpack_error` can read."""
    text = "".join(traceback.format_exception(error))
    stand_in = WorkerError(f"{type(error).__qualname__}: {error}")
    for candidate in ((error, error.__cause__), (error, None), (stand_in, None)):
        try:
            data: bytes = cloudpickle.dumps((*candidate, text))
            pickle.loads(data)  # an exception with arguments of its own may pickle and yet not come back
        except Exception:  # the next candidate says less; the last one always passes
            continue
        return data
    raise AssertionError("a WorkerError with a text cannot be pickled")


def unpack_error(payload: bytes, where: str) -> BaseException:
    """The exception, with the traceback of the process it comes from as a note."""
    error, cause, text = pickle.loads(payload)
    assert isinstance(error, BaseException)
    error.__cause__ = cause
    error.add_note(f"\nTraceback in {where}:\n{text.rstrip()}")
    return error


class Watchdog:
    """End this process when nobody holds the other end of a socket, whatever else it is doing.

    The thread sleeps in ``poll``; it costs nothing until then. Nothing may be left to read on the socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._stopped, self._stop = os.pipe()
        self._descriptor = descriptor
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        poller.register(self._stopped, select.POLLIN)
        if self._descriptor in dict(poller.poll()):
            os._exit(1)

    def stop(self) -> None:
        """End the thread, so that the process may fork."""
        os.close(self._stop)
        self._thread.join()
        os.close(self._stopped)


class Assignment(NamedTuple):
    """What a worker is given, besides the job; ``forward`` is the pipe of the next group."""

    number: int
    tasks: int
    results: socket.socket
    memory: int
    layout: SlotLayout
    group: int = 0
    forward: int | None = None


class Job(Protocol):
    """What the workers of a crew do. It travels to them by pickle; the names are for messages.

    ``owner`` is who has workers, ``parts`` what must pickle, ``alternative`` the setting without workers, ``unit`` what
    a worker is busy with.
    """

    owner: ClassVar[str]
    parts: ClassVar[str]
    alternative: ClassVar[str]
    unit: ClassVar[str]

    def open(self) -> None:
        """Load what all workers share; called once, in the server, before it forks them."""
        ...

    def work(self, assignment: Assignment) -> None:
        """Do tasks until the pipe closes; called in each worker."""
        ...


def run_worker(job: Job, assignment: Assignment, parent: int) -> NoReturn:
    """The life of a worker, from right after the fork to the process's end."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        platform.die_with_parent(parent)
        Watchdog(assignment.results.fileno())
        job.work(assignment)
        code = 0
    except (BrokenPipeError, ConnectionResetError):
        code = 0  # the consumer went away while a result was on its way to it
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def next_task(tasks: int, meter: Meter, memory: SlotMemory, number: int) -> bytes:
    """Wait for a task; empty if there will be none, or this worker is one too many."""
    if memory.leaves(number):
        meter.end()
        return b""
    meter.begin_to_wait()
    task = os.read(tasks, TASK.size)
    meter.end_waiting()
    return task
