"""Host lists and host files of every MPI, read by one parser.

Understood are ``name``, ``name:4`` (MPICH) and ``name slots=4`` (Open MPI), ranges as in ``node[01-04,7]``,
comments after ``#`` and blank lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from flowrun.errors import LaunchError

_BETWEEN_HOSTS = re.compile(r",(?![^\[]*\])")  # a comma that is not inside a range
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_RANGE = re.compile(r"([^\[\]]*)\[([0-9,-]+)\]([^\[\]]*)")


@dataclass(frozen=True, slots=True)
class Host:
    """A machine and the number of ranks it takes."""

    name: str
    slots: int


def parse_host_list(text: str, where: str = "--hosts") -> list[Host]:
    """Read ``h1:4,h2:4`` as given on the command line.

    Raises:
        LaunchError: an entry is not understood, or a host is named twice.
    """
    hosts = [host for entry in _BETWEEN_HOSTS.split(text) for host in _parse_entry(entry.strip(), where)]
    return _unique((host, where) for host in hosts)


def parse_hostfile(text: str, path: str) -> list[Host]:
    """Read a host file; ``path`` only serves to name the line in an error.

    Raises:
        LaunchError: a line is not understood, a host is named twice, or there is none.
    """
    found: list[tuple[Host, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{path}, line {number}"
        words = line.split("#", 1)[0].split()
        if words:
            found += [(host, where) for host in _parse_line(words, where)]
    if not found:
        raise LaunchError(f"{path}: expected at least one host, found none")
    return _unique(found)


def _parse_line(words: list[str], where: str) -> list[Host]:
    entry, *settings = words
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key != "slots" or not equals:
            raise LaunchError(f"{where}: unknown setting {setting!r}; expected 'name', 'name:4' or 'name slots=4'")
        if ":" in entry:
            raise LaunchError(f"{where}: {entry!r} already states its slots; leave out {setting!r}")
        entry = f"{entry}:{value}"
    return _parse_entry(entry, where)


def _parse_entry(entry: str, where: str) -> list[Host]:
    name, colon, count = entry.partition(":")
    if "@" in name:
        raise LaunchError(f"{where}: user names are not taken ({entry!r}); set User for the host in ~/.ssh/config")
    if colon and not (count.isdecimal() and int(count) > 0):
        raise LaunchError(f"{where}: slots of {name!r} must be a positive number, got {count!r}")
    names = _expand(name, where)
    for one in names:
        if not _NAME.fullmatch(one):
            raise LaunchError(f"{where}: expected a host such as 'node1' or 'node1:4', got {entry!r}")
    return [Host(one, int(count) if colon else 1) for one in names]


def _expand(name: str, where: str) -> list[str]:
    """``node[01-03]`` -> node01, node02, node03, with the zeros of the first number."""
    if "[" not in name and "]" not in name:
        return [name]
    match = _RANGE.fullmatch(name)
    if match is None:
        raise LaunchError(f"{where}: expected one range such as 'node[01-04,7]', got {name!r}")
    before, ranges, after = match.groups()
    names = []
    for part in ranges.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise LaunchError(f"{where}: expected a rising range such as '01-04', got {part!r} in {name!r}")
        names += [f"{before}{number:0{len(first)}d}{after}" for number in range(int(first), int(last) + 1)]
    return names


def _unique(found: Iterable[tuple[Host, str]]) -> list[Host]:
    seen: dict[str, tuple[Host, str]] = {}
    for host, where in found:
        if host.name in seen:
            first, first_where = seen[host.name]
            raise LaunchError(
                f"{where}: host {host.name!r} was given already ({first.slots} slots, {first_where}); "
                "name each host once, with all its slots"
            )
        seen[host.name] = (host, where)
    return [host for host, _ in seen.values()]
