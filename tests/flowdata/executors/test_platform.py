"""Calls that differ between operating systems."""

import subprocess
import sys

import pytest

from flowdata.executors import platform

FAULTS = """
import resource, sys
import numpy as np
from flowdata.executors import platform
platform.use_features(platform.features if sys.argv[1] == "keep" else frozenset())
platform.keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def picture():
    arrays = [np.empty(600_000, np.uint8) for _ in range(4)]
    for each in arrays:
        each[::4096] = 1
for _ in range(20):
    picture()
before = faults()
for _ in range(100):
    picture()
print((faults() - before) / 100)
"""


def faults_per_picture(mode):
    result = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
    return float(result.stdout)


@pytest.mark.skipif("keep_freed_memory" not in platform.features, reason="there is no mallopt here")
def test_freed_memory_is_used_again():
    assert faults_per_picture("give back") > 300  # of some 580 pages that are touched
    assert faults_per_picture("keep") < 10
