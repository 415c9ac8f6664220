"""What the tests of the launcher share."""

import os
import sys
from pathlib import Path

import pytest

from flowrun.engines import find_engine
from flowrun.errors import MissingMPI
from flowrun.hosts import Host
from flowrun.plan import LaunchPlan, Program


@pytest.fixture(scope="session")
def mpiexec() -> str:
    """The path of a working ``mpiexec``; without one the test is skipped."""
    plan = LaunchPlan(
        program=Program("x.py"), hosts=(Host("localhost", 2),), run_id="r", log_dir=Path("/logs"), python=sys.executable
    )
    try:
        return find_engine(plan, "mpiexec", os.environ).path
    except MissingMPI as error:
        pytest.skip(str(error))
