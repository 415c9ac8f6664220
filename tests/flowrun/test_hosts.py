"""One parser for the host lists and host files of every MPI."""

import pytest

from flowrun.errors import LaunchError
from flowrun.hosts import Host, parse_host_list, parse_hostfile


def test_host_list_takes_slots_and_ranges():
    assert parse_host_list("h1:4,h2,gpu[08-10,2].lan:2") == [
        Host("h1", 4), Host("h2", 1),
        Host("gpu08.lan", 2), Host("gpu09.lan", 2), Host("gpu10.lan", 2), Host("gpu2.lan", 2),
    ]  # fmt: skip


def test_both_dialects_of_host_files_mean_the_same():
    mpich = "# nodes\nnode1:4   # fast\n\nnode2:2\nnode3\n"
    open_mpi = "node1 slots=4\n\t node2   slots=2 # slow\nnode3"
    assert parse_hostfile(mpich, "f") == parse_hostfile(open_mpi, "f") == [
        Host("node1", 4), Host("node2", 2), Host("node3", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:2\nb:two", "hosts.txt, line 2: slots of 'b' must be a positive number, got 'two'"),
        ("a:0", "line 1: slots of 'a' must be a positive number"),
        ("a:", "line 1: slots of 'a' must be a positive number, got ''"),
        ("\n\na max_slots=4", "line 3: unknown setting 'max_slots=4'"),
        ("a b", "line 1: unknown setting 'b'"),
        ("a:2 slots=2", "line 1: 'a:2' already states its slots"),
        ("a:2\nb\na:3", r"line 3: host 'a' was given already \(2 slots, hosts.txt, line 1\)"),
        ("n[3-1]", "line 1: expected a rising range"),
        ("n[1-2", "line 1: expected one range"),
        ("me@a:2", "line 1: user names are not taken"),
        ("a_b!", "line 1: expected a host"),
        ("# nothing", "hosts.txt: expected at least one host"),
    ],
)
def test_a_bad_line_is_named_with_its_number(text, said):
    with pytest.raises(LaunchError, match=said):
        parse_hostfile(text, "hosts.txt")


@pytest.mark.parametrize("text", ["", "a,,b", "a,a:2"])
def test_a_bad_host_list_is_refused(text):
    with pytest.raises(LaunchError, match="--hosts"):
        parse_host_list(text)
