"""Options and fixtures that every test may use."""

import random
import secrets
import signal
from collections.abc import Callable, Iterator

import pytest

Campaign = Callable[[int, int], Iterator[random.Random]]


def pytest_configure(config: pytest.Config) -> None:
    """Programs that tests start answer Ctrl-C, also where a shell started the tests in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("campaigns")
    group.addoption("--soak", action="store_true", help="run campaigns at full count")
    group.addoption("--seed", type=int, help="seed of the campaigns; a new one is drawn and printed without it")
    group.addoption("--from", type=int, default=0, dest="first_round", help="round to start with")


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Campaign:
    """``for rng in campaign(full, part)``: ``full`` rounds with --soak, else ``part``, each with a random stream.

    Round k of a seed is the same whatever came before it, so a failure is repeated by ``--seed S --from K``.
    """
    option = request.config.getoption
    seed = option("--seed") if option("--seed") is not None else secrets.randbelow(10**9)

    def rounds(full: int, part: int) -> Iterator[random.Random]:
        for number in range(option("first_round"), full if option("--soak") else part):
            print(f"--seed {seed} --from {number}")
            yield random.Random(f"{seed} {number}")

    return rounds


@pytest.fixture
def soak_only(request: pytest.FixtureRequest) -> None:
    """For tests that time something: they want a machine to themselves, and are no part of `make test`."""
    if not request.config.getoption("--soak"):
        pytest.skip("it times something; `make soak` runs it")
