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
from typing import Any, ClassVar, NamedTuple, NoReturn, Protocol

import cloudpickle

from flowdata.errors import WorkerError
from flowdata.executors import platform
from flowdata.executors.rows import prepare
from flowdata.executors.slots import SlotLayout, SlotMemory
from flowdata.failures import BadSample
from flowdata.pipeline import Pipeline
from flowdata.sample import Array, SampleKey

# A task: slot, first row, number of rows, ticket. All workers read tasks from one pipe; the size divides a page,
# so that a write is never torn and a read always gets whole tasks.
TASK = struct.Struct("<4I")

ROW_AND_PID = struct.Struct("<2I")  # before the packed error in a message FAILED

DONE, FAILED, SETUP, SETUP_FAILED, STARTED, DIED = range(6)
_HEADER = struct.Struct("<B3xIQ")

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

    def receive(self) -> list[Message] | None:
        """The messages that one read completes, or ``None`` when the other side has gone."""
        try:
            data = self.connection.recv(1 << 18)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        self._buffer += data
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
    """What the consumer tells its server, once. Descriptors are numbers that mean the same in both processes."""

    path: list[str]
    python_path: str | None
    job: bytes
    layout: SlotLayout
    memory: int
    tasks: int
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
    """What a worker is given, besides the job."""

    number: int
    tasks: int
    results: socket.socket
    memory: int
    layout: SlotLayout


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


@dataclass(frozen=True)
class PipelineJob:
    """Take the samples of batches through a pipeline, into the batches' slots."""

    pipeline: Pipeline

    owner: ClassVar[str] = "process executor"
    parts: ClassVar[str] = "pipeline: source and stages"
    alternative: ClassVar[str] = "executor: serial"
    unit: ClassVar[str] = "record"

    def open(self) -> None:
        """Load the source's index."""
        self.pipeline.source.open()

    def work(self, assignment: Assignment) -> None:
        """Process chunks of samples."""
        number, tasks, results, descriptor, layout = assignment
        memory = SlotMemory(descriptor, layout)
        specs = self.pipeline.sample_specs()
        carried = tuple(name for name in specs if name not in layout.specs)
        rows_of_slot: dict[int, list[dict[str, Array]]] = {}
        headers = [memory.header(slot) for slot in range(layout.slots)]
        while task := os.read(tasks, TASK.size):
            slot, first, count, ticket = TASK.unpack(task)
            memory.claim(number, ticket)
            if slot not in rows_of_slot:
                arrays = dict(memory.arrays(memory.slot_bytes(slot), layout.rows))
                rows_of_slot[slot] = [{name: arrays[name][row, ...] for name in arrays} for row in range(layout.rows)]
            epoch, *indices = headers[slot][: 1 + first + count].tolist()
            ragged: list[tuple[Any, ...] | None] = []
            bad: list[BadSample] = []
            message = None
            for row in range(first, first + count):
                if memory.ticket(slot, first) != ticket:
                    break
                memory.set_progress(number, slot, row)
                rows = rows_of_slot[slot][row]
                try:
                    values, report = prepare(self.pipeline, SampleKey(epoch, indices[row]), specs, rows)
                except BaseException as error:
                    message = Message(FAILED, ticket, ROW_AND_PID.pack(row, os.getpid()) + pack_error(error))
                    break
                if report is not None:
                    bad.append(report)
                ragged.append(None if values is None else tuple(values[name] for name in carried))
            memory.clear_progress(number)
            if message is None:
                worth_telling = bad or (carried and ragged)
                message = Message(DONE, ticket, pickle.dumps((ragged, bad), protocol=5) if worth_telling else b"")
            message.send(results)
            memory.claim(number, 0)  # until now a task is in the pipe, claimed or answered: none gets lost
