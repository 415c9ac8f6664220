from pathlib import Path

import pytest

from tests.helpers import jobs


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as OFRecords: 1437 to train, 360 to test."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    directory = tmp_path_factory.mktemp("digits") / "data"
    done = jobs.run("flowdata", "make", "digits", directory, cwd=directory.parent)
    assert done.returncode == 0, done.stderr
    return directory
