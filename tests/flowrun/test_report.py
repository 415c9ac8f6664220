"""Which failure is the cause, and what is said about it."""

import json
import signal

import pytest

from flowrun.records import Failure, Records
from flowrun.report import describe_failure, root_cause


def failure(rank: int, **changes) -> Failure:
    given = {"rank": rank, "host": "h", "time": float(rank), "exit_code": 1, "what": "ValueError: bad"}
    return Failure(**(given | changes))


@pytest.mark.parametrize(
    ("failures", "rank"),
    [
        ([failure(0, time=5.0), failure(1, time=4.0)], 1),
        ([failure(0, time=1.0, secondary=True), failure(1, time=4.0)], 1),
        ([failure(0, time=3.0, secondary=True), failure(1, time=2.0, secondary=True)], 1),
    ],
)
def test_root_cause_is_the_earliest_that_is_no_consequence(failures, rank):
    assert root_cause(failures).rank == rank


def report(root, others=(), finished=(), nprocs=1, **changes):
    given = {"log_dir": changes.pop("log_dir"), "shown": True, "tail_lines": 2, **changes}
    return describe_failure(root, [root, *others], set(finished), nprocs=nprocs, **given)


def test_report_shows_the_traceback_once_and_groups_the_others(tmp_path):
    root = failure(4, traceback="Traceback\nValueError: bad\n")
    others = [failure(5), failure(6), failure(0, what="killed by signal 15 (SIGTERM)", secondary=True)]
    assert report(root, others, finished=[3], nprocs=8, log_dir=tmp_path) == [
        "flowrun: rank 4 of 8 on h failed: ValueError: bad",
        "Traceback",
        "ValueError: bad",
        "flowrun: ranks 0-2,7: ended after rank 4 failed",
        "flowrun: rank 3: finished",
        "flowrun: ranks 5-6: the same",
        f"flowrun: log of rank 4: {tmp_path}/rank-00004.err",
    ]


def test_an_error_of_configuration_is_its_message_only(tmp_path):
    root = failure(0, summary="a.yaml: line 3: unknown key", traceback="Traceback\n")
    assert report(root, [failure(1)], nprocs=2, log_dir=tmp_path) == ["flowrun: error: a.yaml: line 3: unknown key"]


def test_the_end_of_the_log_is_shown_only_if_it_was_not_yet(tmp_path):
    (tmp_path / "rank-00000.err").write_text("one\ntwo\nthree\n")
    root = failure(0, what="killed by signal 9 (SIGKILL)", hint="memory")
    head, tail = "flowrun: rank 0 of 1 on h failed: killed by signal 9 (SIGKILL)", f"{tmp_path}/rank-00000.err"
    end = ["flowrun: memory", f"flowrun: log of rank 0: {tail}"]
    assert report(root, log_dir=tmp_path) == [head, *end]
    assert report(root, log_dir=tmp_path, shown=False) == [head, "  two", "  three", *end]


def write(folder, rank, name, **values):
    record = {"rank": rank, "host": "h", "time": 1.0, "attendant": 100 + rank, **values}
    (folder / f"rank-{rank:05d}.{name}.json").write_text(json.dumps(record))


def test_records_become_failures(tmp_path):
    records = Records(tmp_path)
    records.refresh()
    assert records.failures() == []
    write(tmp_path, 0, "exit", exit_code=0)
    write(tmp_path, 1, "exit", exit_code=-signal.SIGKILL, max_rss_bytes=2**31, oom_kills=1)
    write(tmp_path, 2, "exit", exit_code=7)
    write(tmp_path, 3, "exit", exit_code=1)
    write(tmp_path, 3, "error", kind="exception", type="KeyError", message="'x'", traceback="T", exit_code=1,
          summary_only=False, secondary=True, stderr_bytes=5)  # fmt: skip
    records.refresh()
    assert records.finished() == {0}
    assert records.stderr_limits() == {3: 5}
    killed, left, raised = records.failures()
    assert (killed.exit_code, killed.what) == (137, "killed by signal 9 (SIGKILL)")
    assert "want of memory (the rank's peak was 2.00 GiB)" in killed.hint
    assert (left.exit_code, left.what) == (7, "exit code 7")
    assert (raised.what, raised.traceback, raised.secondary) == ("KeyError: 'x'", "T", True)


def test_what_the_engine_ended_is_told_from_what_failed_on_its_own():
    assert failure(0, secondary=True).is_echo
    assert not failure(0, secondary=True, traceback="RankFailed").is_echo
    assert not failure(0).is_echo


def test_a_rank_whose_attendant_was_killed_is_named_by_the_engine(tmp_path):
    for rank in (0, 1):
        write(tmp_path, rank, "started")
    records = Records(tmp_path)
    records.refresh()
    banner = "=   PID 101 RUNNING AT localhost\n=   EXIT CODE: 9\n... EXIT STRING: Killed (signal 9)\n"
    vanished = records.vanished(banner)
    assert vanished is not None
    assert (vanished.rank, vanished.exit_code) == (1, 137)
    assert "it may have been another one" in vanished.hint
    assert records.vanished("mpiexec: something else") is None
