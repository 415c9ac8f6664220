"""The process that workers are forked from: ``python -m flowdata.executors.server DESCRIPTOR``.

It is started by fork and exec, so it has none of the consumer's threads, locks, MPI connections or descriptors, and
it never runs the user's main module. It loads what all workers share once (libraries, the source's index), forks
them from its only thread and then does nothing but report how they end, and replace them when asked to. It ends when
the consumer does.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import select
import signal
import socket
import sys
from collections.abc import Sequence

from flowdata.executors import platform
from flowdata.executors.worker import (
    DIED,
    KILL,
    REQUEST,
    SETUP,
    SETUP_FAILED,
    STARTED,
    Assignment,
    Inbox,
    Job,
    Message,
    Setup,
    Watchdog,
    pack_error,
    run_worker,
)


def main(descriptor: int) -> None:
    """Serve the consumer at the other end of the socket ``descriptor`` until it goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the consumer decides
    control = socket.socket(fileno=descriptor)
    setup = _receive_setup(control)
    if setup is None:
        return
    workers: dict[int, int] = {}
    try:
        watchdog = Watchdog(control.fileno())  # opening a source may take long
        job = _load(setup)
        watchdog.stop()
        wake = _wake_on_child_end()
        results = [socket.socket(fileno=descriptor) for descriptor in setup.results]
        for number, own in enumerate(results):
            _fork_worker(setup, job, number, own, [control, wake, *results], workers)
        _close(results)
    except BaseException as error:
        _end(workers)
        Message(SETUP_FAILED, payload=pack_error(error)).send(control)
        return
    try:
        _tell_pids(control, workers)
        _serve(setup, job, control, wake, workers)
    except (BrokenPipeError, ConnectionResetError):
        return  # the consumer has gone
    finally:
        _end(workers)


def _receive_setup(control: socket.socket) -> Setup | None:
    inbox = Inbox(control)
    messages: list[Message] | None = []
    while messages == []:
        messages = inbox.receive()
    if messages is None:
        return None
    assert len(messages) == 1, "the consumer sends one message only"
    assert messages[0].kind == SETUP, f"expected the set-up, got a message of kind {messages[0].kind}"
    setup = pickle.loads(messages[0].payload)
    assert isinstance(setup, Setup)
    return setup


def _load(setup: Setup) -> Job:
    sys.path[:] = setup.path
    if setup.python_path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = setup.python_path
    platform.use_features(setup.features)
    platform.keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)  # whole lines, not lost with the worker
    job: Job = pickle.loads(setup.job)
    if images := sys.modules.get("cv2"):
        images.setNumThreads(0)  # a worker is one thread; more of them would only fight for its core
    job.open()
    gc.collect()
    gc.freeze()  # collections in workers leave the shared pages alone
    return job


def _wake_on_child_end() -> socket.socket:
    """A socket that becomes readable when a child ends."""
    wake, wakeup = socket.socketpair()
    wake.setblocking(False)
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return wake


def _fork_worker(
    setup: Setup,
    job: Job,
    number: int,
    own: socket.socket,
    inherited: Sequence[socket.socket],
    workers: dict[int, int],
) -> None:
    server = os.getpid()
    if (pid := os.fork()) == 0:
        # Nobody but this worker may hold its end: the consumer must see it close, as must the server's.
        _close([each for each in inherited if each is not own])
        group = setup.groups[number]
        assignment = Assignment(
            number, setup.tasks[group], own, setup.memory, setup.layout, group, setup.forward[group]
        )  # fmt: skip
        run_worker(job, assignment, server)
    workers[pid] = number


def _tell_pids(control: socket.socket, workers: dict[int, int]) -> None:
    Message(STARTED, payload=pickle.dumps(sorted(workers, key=lambda pid: workers[pid]))).send(control)


def _close(connections: Sequence[socket.socket]) -> None:
    for each in connections:
        each.close()


def _serve(setup: Setup, job: Job, control: socket.socket, wake: socket.socket, workers: dict[int, int]) -> None:
    """Report deaths and do what the consumer asks, until it goes away."""
    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(wake, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if wake.fileno() in ready:
            _report_deaths(control, wake, workers)
        if control.fileno() in ready:
            data, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 1)
            if not data:
                return
            request, number = REQUEST.unpack(data)
            if request == KILL:
                for pid, each in workers.items():  # one that was not reaped yet: the number is still its own
                    if each == number:
                        os.kill(pid, signal.SIGKILL)
                continue
            with socket.socket(fileno=descriptors[0]) as own:
                _fork_worker(setup, job, number, own, [control, wake], workers)
            _tell_pids(control, workers)


def _report_deaths(control: socket.socket, wake: socket.socket, workers: dict[int, int]) -> None:
    try:
        wake.recv(4096)
    except BlockingIOError:
        return
    while workers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        number = workers.pop(pid)
        Message(DIED, payload=pickle.dumps((number, pid, os.waitstatus_to_exitcode(status)))).send(control)


def _end(workers: dict[int, int]) -> None:
    """Kill and reap: a worker has nothing to save, and a stage may run for as long as it likes."""
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for pid in workers:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
