#!/bin/sh
# All tests: run_tests.sh PYTHON, as two jobs side by side. One looks at the whole machine: which processes live on and
# what is left in /dev/shm and in the temporary directory; so the other one has a temporary directory of its own and
# holds what leaves nothing elsewhere: the tests that compute, and after them those that start processes, but no MPI
# jobs, and look at these alone. Ops and modules run twice: with the portable kernels, and with those of oneDNN whatever
# the sizes, where it can be loaded.
set -u
python=$1
both="tests/flownn/ops tests/flownn/nn tests/flownn/models tests/parity"
once="tests/flownn/kernels tests/flownn/optim tests/flownn/test_*.py tests/flowdata/codec tests/flowdata/records
      tests/flowdata/stages"
last="tests/flowdata/sources tests/flowdata/interop tests/flowdata/tools tests/flowdata/test_*.py tests/flowdata/bench
      tests/benchmarks/test_compute.py tests/benchmarks/test_figures.py tests/benchmarks/test_sides.py"

own=$(mktemp -d)
trap 'rm -rf "$own"' EXIT
mkdir "$own/tmp"

compute() {
    code=0
    # shellcheck disable=SC2086  # the list is meant to be split
    TMPDIR="$own/tmp" "$python" -m pytest -p no:cacheprovider $once || code=$?
    for kernels in portable onednn; do
        if [ $kernels = onednn ] &&
            ! "$python" -c "import sys; from flownn.kernels.providers import can_load; sys.exit(not can_load('onednn'))"
        then
            echo "oneDNN cannot be loaded here: its kernels are not tested (flowdata doctor says why)"
            continue
        fi
        echo "computing with kernels: $kernels"
        # shellcheck disable=SC2086
        FLOWNN_KERNELS=$kernels TMPDIR="$own/tmp" "$python" -m pytest -p no:cacheprovider $both || code=$?
    done
    # shellcheck disable=SC2086
    TMPDIR="$own/tmp" "$python" -m pytest -p no:cacheprovider $last || code=$?
    return $code
}

compute >"$own/log" 2>&1 &
beside=$!
ignored=""
for each in $both $once $last; do ignored="$ignored --ignore=$each"; done
# shellcheck disable=SC2086
"$python" -m pytest $ignored
code=$?
wait "$beside" || code=$?
cat "$own/log"
exit "$code"
