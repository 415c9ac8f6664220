"""The consumer's side of its worker processes: starting them, talking to them, how they ended, ending them."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Sequence

import cloudpickle

from flowdata.errors import ConfigError, DataError, WorkerError
from flowdata.executors import platform
from flowdata.executors.slots import SlotLayout, SlotMemory
from flowdata.executors.worker import (
    DIED,
    KILL,
    REQUEST,
    RESPAWN,
    SETUP,
    SETUP_FAILED,
    STARTED,
    TASK,
    Inbox,
    Job,
    Message,
    Setup,
    unpack_error,
)

_TASKS_PER_WRITE = select.PIPE_BUF // TASK.size  # such a write goes in whole or not at all
_MPI_VARIABLES = ("PMI", "OMPI_", "MPI", "HYDRA")  # with these in sight, a library would join the rank's MPI job
_SINGLE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
_DEATH_NOTICE_S = 1.0  # from a connection's end to the server's word about it
_log = logging.getLogger(__name__)
_STOP_S = 1.0  # from the server's connection's end to its own


class Crew:
    """A server and the workers that it forked, until :meth:`stop`.

    Workers read tasks from one pipe, so that whoever is free takes the next. Each answers over its own socket, whose
    other end is in nobody else's hands: its closing tells either side that the other has gone.

    A worker that dies is replaced, ``max_restarts`` times in all; what it had been doing is then in ``lost``.

    Args:
        job: What the workers do.
        layout: The shared memory; ``descriptor`` leads to it, and to as much behind it as a job wants.
        max_restarts: Workers that may be replaced before a death is an error.
        groups: How many of the workers are in each group, in order; a group gets its tasks from the one before it, the
            first from here. By default all are in one.

    Raises:
        ConfigError: the job cannot be pickled, or there is too little memory.
    """

    def __init__(
        self, job: Job, layout: SlotLayout, max_restarts: int = 0, groups: Sequence[int] | None = None
    ) -> None:
        self._job = job
        if not sys.executable:
            raise ConfigError(f"{job.owner}: this interpreter does not know its executable; use {job.alternative}")
        try:
            pickled = cloudpickle.dumps(job)
        except Exception as error:
            raise ConfigError(
                f"{job.parts} travel to the workers by pickle, which failed: {type(error).__name__}: "
                f"{error}; keep files, locks and connections out of them, or use {job.alternative}"
            ) from error
        self._owner = os.getpid()
        self._stopped = False
        self.pids: list[int] = []
        self.unsent: deque[bytes] = deque()
        self.lost: list[int] = []
        self.replaced = 0
        self._most_replaced = max_restarts
        self._died: dict[int, tuple[int, int]] = {}
        self._stuck: dict[int, float] = {}
        self._activity: dict[int, tuple[tuple[int, ...], float]] = {}
        self._left: set[int] = set()
        self._may_leave: set[int] = set()
        sizes = [layout.workers] if groups is None else groups
        self.group_of = [group for group, size in enumerate(sizes) for _ in range(size)]
        self.descriptor = descriptor = platform.unnamed_memory(layout.nbytes)
        try:
            self.memory = SlotMemory(descriptor, layout)
            tasks, forward, theirs = self._start(len(sizes), layout.workers, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        setup = Setup(
            sys.path, os.environ.get("PYTHONPATH"), pickled, layout, descriptor, tasks, forward, self.group_of, theirs,
            platform.features,
        )  # fmt: skip
        try:
            with contextlib.suppress(BrokenPipeError):  # why is learnt by reading
                Message(SETUP, payload=pickle.dumps(setup)).send(self._control.connection)
            _reserve(descriptor, layout)
        except BaseException:
            self.stop()
            raise
        self._poller = select.poll()
        self._by_descriptor: dict[int, int] = {}
        for number, inbox in enumerate([*self._results, self._control]):
            inbox.connection.setblocking(False)
            self._poller.register(inbox.connection, select.POLLIN)
            self._by_descriptor[inbox.connection.fileno()] = number

    def _start(self, groups: int, workers: int, memory: int) -> tuple[list[int], list[int | None], list[int]]:
        """Start the server; returns the descriptors that it has inherited: each group's two pipes, and for results."""
        with contextlib.ExitStack() as inherited, contextlib.ExitStack() as own:
            first, self._tasks = os.pipe()
            inherited.callback(os.close, first)
            own.callback(os.close, self._tasks)
            os.set_blocking(self._tasks, False)
            self._later = [os.pipe() for _ in range(groups - 1)]  # kept open, to see how much is in them
            for descriptor in (each for pipe in self._later for each in pipe):
                own.callback(os.close, descriptor)
            tasks = [first, *(pipe[0] for pipe in self._later)]
            forward = [*(pipe[1] for pipe in self._later), None]
            pairs = [socket.socketpair() for _ in range(1 + workers)]
            for pair in pairs:
                own.enter_context(pair[0])
                inherited.enter_context(pair[1])
            control, *theirs = [pair[1].fileno() for pair in pairs]
            self._control, *self._results = [Inbox(pair[0]) for pair in pairs]
            self._server = subprocess.Popen(
                [sys.executable, "-P", *["-O"] * sys.flags.optimize, "-m", "flowdata.executors.server", str(control)],
                stdin=subprocess.DEVNULL,
                env=_environment(),
                pass_fds=[control, memory, first, *(each for pipe in self._later for each in pipe), *theirs],
                process_group=0,  # a terminal's Ctrl-C is the consumer's affair
            )
            own.pop_all()  # they stay open
        _live.add(self)
        return tasks, forward, theirs

    @property
    def stopped(self) -> bool:
        """Whether its processes and its memory are given up."""
        return self._stopped

    # -- tasks and results -------------------------------------------------------------------------------------------

    def send(self, tasks: Sequence[bytes]) -> None:
        """Queue tasks; those that do not fit into the pipe follow while :meth:`receive` waits."""
        self.unsent.extend(tasks)
        self._send_some()

    def _send_some(self) -> None:
        while self.unsent:
            part = [self.unsent[k] for k in range(min(len(self.unsent), _TASKS_PER_WRITE))]
            try:
                os.write(self._tasks, b"".join(part))
            except BlockingIOError:
                self._poller.register(self._tasks, select.POLLOUT)
                return
            except BrokenPipeError:
                break  # no worker is left; why is learnt by reading
            for _ in part:
                self.unsent.popleft()
        with contextlib.suppress(KeyError):
            self._poller.unregister(self._tasks)

    def check(self) -> None:
        """Refuse to go on without workers.

        Raises:
            DataError: they were stopped, or this is a forked child of the process that they belong to.
        """
        if self._stopped:
            raise DataError("Loader: its workers were ended or belong to the parent process; open a new loader")

    def wait(self, seconds: float | None = None) -> None:
        """Sleep until there is something to receive, or for so long.

        An exception raised meanwhile by a signal handler does no harm.
        """
        self._poller.poll(None if seconds is None else seconds * 1e3)

    def in_pipe(self, group: int = 0) -> int:
        """Tasks that no worker of a group has read yet; 0 where the system does not tell."""
        descriptor = self._tasks if group == 0 else self._later[group - 1][0]
        return platform.bytes_in_pipe(descriptor) // TASK.size

    def between_groups(self) -> int:
        """Tasks that one group has done and no worker of the next has read."""
        return sum(self.in_pipe(group) for group in range(1, 1 + len(self._later)))

    def claims(self) -> set[int]:
        """Tickets of the tasks that workers say they have."""
        return {self.memory.claimed(number) for number in range(len(self._results))}

    def receive(self) -> list[Message]:
        """What has come from workers.

        Raises:
            WorkerError: the server died, a worker did and may not be replaced, or they could not be set up.
            DataError: what the server's set-up raised on purpose.
        """
        self.check()
        received: list[Message] = []
        for descriptor, _ in self._poller.poll(0):
            if descriptor == self._tasks:
                self._send_some()
                continue
            number = self._by_descriptor[descriptor]
            if number == len(self._results):
                self._read_control()
                continue
            messages = self._results[number].receive()
            if messages is None:
                self._await_notice(number)
            else:
                received += messages
        for number in list(self._died):
            received += self._replace(number)
        return received

    # -- replacing them ----------------------------------------------------------------------------------------------

    def _await_notice(self, number: int) -> None:
        """Learn from the server how a worker ended that has closed its connection."""
        poller = select.poll()
        poller.register(self._control.connection, select.POLLIN)
        deadline = time.monotonic() + _DEATH_NOTICE_S
        while number not in self._died:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WorkerError(
                    f"{self._job.owner}: worker {number} closed its connection {self._occupation(number)}"
                )
            if poller.poll(left * 1000):
                self._read_control()

    def _replace(self, number: int) -> list[Message]:
        """Ask for a new worker in place of a dead one; returns what that one had still said.

        Raises:
            WorkerError: it is one too many.
        """
        pid, code = self._died.pop(number)
        stuck = self._stuck.pop(number, None)
        if code == 0 and number in self._may_leave and not any(self.memory.activity(number)[:2]):
            return self._note_leaving(number)
        how = _how(code) if stuck is None else (
            f"did not get on for {stuck:.1f} s, which is more than sample_deadline, and was killed"
        )  # fmt: skip
        story = f"worker {number} (pid {pid}) {how} {self._occupation(number)}"
        if self.replaced >= self._most_replaced:
            spent = f"; {self.replaced} had been replaced already (max_worker_restarts)" if self.replaced else ""
            raise WorkerError(f"{self._job.owner}: {story}{self._hint(code) if stuck is None else ''}{spent}")
        self.replaced += 1
        _log.warning("%s: %s; a new worker takes its place", self._job.owner, story)
        said = self._disconnect(number)
        # What a worker had that hands on its tasks may have been handed on already.
        if (ticket := self.memory.claimed(number)) != 0 and self.group_of[number] == len(self._later):
            self.lost.append(ticket)
        self.memory.claim(number, 0)
        self.memory.clear_progress(number)
        self._start_again(number)
        return said

    def _disconnect(self, number: int) -> list[Message]:
        """Close the connection of a worker that has ended; returns what it had still said."""
        inbox = self._results[number]
        del self._by_descriptor[inbox.connection.fileno()]
        self._poller.unregister(inbox.connection)
        said = _last_words(inbox)
        inbox.connection.close()
        self._activity.pop(number, None)
        return said

    def _start_again(self, number: int) -> None:
        own, theirs = socket.socketpair()
        with theirs:
            self._ask(RESPAWN, number, [theirs.fileno()])
        self._results[number] = Inbox(own)
        own.setblocking(False)
        self._poller.register(own, select.POLLIN)
        self._by_descriptor[own.fileno()] = number

    # -- having fewer of them ----------------------------------------------------------------------------------------

    def resize(self, sizes: Sequence[int]) -> None:
        """Have this many workers in each group, at most as many as at first; those too many leave after a task."""
        places = [0] * len(sizes)
        for number, group in enumerate(self.group_of):
            leaves = places[group] >= sizes[group]
            places[group] += 1
            self.memory.set_leaves(number, leaves)
            if leaves:
                self._may_leave.add(number)
            elif number in self._left:
                self._left.remove(number)
                self._start_again(number)

    def _note_leaving(self, number: int) -> list[Message]:
        """A worker has left as it should, unless it is wanted again by now."""
        said = self._disconnect(number)
        if self.memory.leaves(number):
            self._left.add(number)
        else:
            self._start_again(number)
        return said

    # -- how they are doing ------------------------------------------------------------------------------------------

    def _ask(self, request: int, number: int, descriptors: list[int]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the server has gone; how is learnt by reading
            socket.send_fds(self._control.connection, [REQUEST.pack(request, number)], descriptors)

    def begin_to_wait(self) -> None:
        """Start to measure anew who does not get on."""
        self._activity.clear()

    def end_stuck(self, deadline: float) -> None:
        """Kill workers that have something to do and did not get on for ``deadline`` seconds of waiting."""
        now = time.monotonic()
        work = [self.in_pipe(group) > 0 for group in range(1 + len(self._later))]
        for number in range(len(self._results) if self.pids else 0):
            if number in self._left:
                continue
            state = self.memory.activity(number)
            known, since = self._activity.get(number, (None, now))
            if known != state or not (work[self.group_of[number]] or any(state[:2])):
                self._activity[number] = state, now
            elif now - since > deadline and number not in self._stuck:
                self._stuck[number] = now - since
                self._ask(KILL, number, [])

    # -- how they ended ----------------------------------------------------------------------------------------------

    def _read_control(self) -> None:
        messages = self._control.receive()
        if messages is None:
            raise WorkerError(f"{self._job.owner}: the workers' server (pid {self._server.pid}) {self._server_end()}")
        for message in messages:
            if message.kind == STARTED:
                self.pids = pickle.loads(message.payload)
            elif message.kind == SETUP_FAILED:
                error = unpack_error(message.payload, f"the workers' server (pid {self._server.pid})")
                if isinstance(error, DataError):
                    raise error
                raise WorkerError(
                    f"{self._job.owner}: the workers could not be set up: {type(error).__name__}: {error}"
                ) from error
            else:
                assert message.kind == DIED, f"unexpected message of kind {message.kind} from the server"
                number, pid, code = pickle.loads(message.payload)
                self._died[number] = pid, code

    def _server_end(self) -> str:
        try:
            code = self._server.wait(_DEATH_NOTICE_S)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        before = "" if self.pids else " before it had started the workers; what it wrote to stderr may say why"
        return f"{_how(code)}{before}{self._hint(code)}"

    def _occupation(self, number: int) -> str:
        if (busy := self.memory.progress(number)) is None:
            return f"between two {self._job.unit}s"
        epoch, index = busy
        return f"while processing {self._job.unit} {index} of epoch {epoch}"

    def _hint(self, code: int) -> str:
        if code == -signal.SIGKILL:
            return "; if nobody did that by hand, memory ran out: look at dmesg and at the job's memory limit"
        if code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGABRT, -signal.SIGFPE):
            return f"; native code crashed: run the {self._job.unit} with {self._job.alternative} to find where"
        return ""

    # -- ending them -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End all processes and give the shared memory back; what consumers still hold of it stays valid."""
        if self._stopped or os.getpid() != self._owner:
            return
        self._stopped = True
        self._close_pipes()
        for inbox in (self._control, *self._results):
            with contextlib.suppress(OSError):  # it has gone already
                inbox.connection.shutdown(socket.SHUT_WR)
        _wait_for_end([self._control], _STOP_S)
        try:
            self._server.wait(_STOP_S / 10)
        except subprocess.TimeoutExpired:
            self._server.kill()  # it is stopped or stuck in native code; its end ends the workers
            self._server.wait()
        _wait_for_end([each for k, each in enumerate(self._results) if k not in self._left], _STOP_S)
        self._forget()

    def abandon(self) -> None:
        """In a forked child: let go of everything, so that the parent's end is still seen by its workers."""
        if not self._stopped:
            self._stopped = True
            self._close_pipes()
            self._server.returncode = 0  # it is no child of this process, which therefore cannot wait for it
            self._forget()

    def _close_pipes(self) -> None:
        for descriptor in (self._tasks, *(each for pipe in self._later for each in pipe)):
            os.close(descriptor)

    def _forget(self) -> None:
        for inbox in (self._control, *self._results):
            inbox.connection.close()
        os.close(self.descriptor)
        del self.memory


def _wait_for_end(inboxes: Sequence[Inbox], seconds: float) -> None:
    """Wait until the other sides have gone, which is when their processes end, but not for ever."""
    deadline = time.monotonic() + seconds
    for inbox in inboxes:
        inbox.connection.settimeout(max(0.001, deadline - time.monotonic()))
        with contextlib.suppress(TimeoutError):
            while inbox.receive() is not None:
                pass


def _last_words(inbox: Inbox) -> list[Message]:
    """What a dead process had sent before."""
    messages: list[Message] = []
    inbox.connection.settimeout(_DEATH_NOTICE_S)  # for the case that a child of its own still holds the other end
    with contextlib.suppress(TimeoutError):
        while (more := inbox.receive()) is not None:
            messages += more
    return messages


def _reserve(descriptor: int, layout: SlotLayout) -> None:
    try:
        platform.reserve(descriptor, 0, layout.nbytes)
    except OSError as error:
        raise ConfigError(
            f"process executor: {layout.slots} batches of {layout.slot_bytes / 2**20:.1f} MiB do not fit into "
            f"shared memory ({error}); lower prefetch_batches or batch_size"
        ) from error


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_MPI_VARIABLES)}
    return kept | _SINGLE_THREAD | {"PYTHONPATH": os.pathsep.join(sys.path)}


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _how(code: int) -> str:
    return f"was killed by {_signal_name(code)}" if code < 0 else f"exited with code {code}"


_live: weakref.WeakSet[Crew] = weakref.WeakSet()


def _abandon_all() -> None:
    for crew in list(_live):
        crew.abandon()


os.register_at_fork(after_in_child=_abandon_all)
