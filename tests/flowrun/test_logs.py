"""Log files followed as whole lines."""

import io
import random

import pytest

from flowrun.logs import LONGEST_LINE, LineCutter, LogFollower, Screen, Tee, last_lines


def cut(chunks: list[bytes]) -> list[bytes]:
    cutter = LineCutter()
    lines = [line for chunk in chunks for line in cutter.feed(chunk)]
    return lines + cutter.finish()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"a\nbc\n\nd", [b"a", b"bc", b"", b"d"]),
        (b"dos\r\nline\r\n", [b"dos", b"line"]),
        (b"\r 10%\r 50%\r100%\ndone\n", [b"100%", b"done"]),
        (b"\r 10%\r 50%", [b" 50%"]),
        (b"\r 10%\r 50%\r", [b" 50%"]),
        (b"", []),
    ],
)
def test_lines_and_progress_bars_however_they_arrive(text, lines):
    assert cut([text]) == lines
    assert cut([text[i : i + 1] for i in range(len(text))]) == lines
    for seed in range(5):
        ends = sorted(random.Random(seed).choices(range(len(text) + 1), k=3))
        assert cut([text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]) == lines


def test_an_endless_line_does_not_grow_for_ever():
    lines = cut([b"x" * (LONGEST_LINE + 1), b"y\n"])
    assert lines == [b"x" * (LONGEST_LINE + 1), b"y"]


def test_follower_prefixes_whole_lines_and_leaves_the_failure_to_the_report(tmp_path):
    out, err = io.BytesIO(), io.BytesIO()
    limits: dict[int, int] = {}
    follower = LogFollower(
        tmp_path, Tee(stdout=(0,), stderr=(0, 1)), with_prefix=True, out=Screen(out), err=Screen(err),
        stderr_limits=lambda: limits,
    )  # fmt: skip
    assert not follower.pump()  # no files yet
    with (tmp_path / "rank-00000.out").open("wb") as zero, (tmp_path / "rank-00001.err").open("wb") as one:
        zero.write(b"one line\npart")
        one.write(b"warning\nTraceback")
        zero.flush()
        limits[1] = len(b"warning\n")
        one.flush()
        assert follower.pump()
        assert (out.getvalue(), err.getvalue()) == (b"[0] one line\n", b"[1] warning\n")
        zero.write(b"ial")
        one.write(b" more\n")
    (tmp_path / "rank-00001.out").write_bytes(b"not shown\n")
    follower.finish()
    assert (out.getvalue(), err.getvalue()) == (b"[0] one line\n[0] partial\n", b"[1] warning\n")


def test_last_lines(tmp_path):
    path = tmp_path / "log"
    assert last_lines(path, 3) == []
    path.write_bytes(b"".join(b"line %d\n" % i for i in range(2000)) + b"\r1%\r2%")
    assert last_lines(path, 3) == ["line 1998", "line 1999", "2%"]
    assert last_lines(path, 0) == []
