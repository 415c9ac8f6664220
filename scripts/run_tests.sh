#!/bin/sh
# All tests: run_tests.sh PYTHON. Those that only compute run beside those that mostly start and watch other processes,
# which also look at what is left in the temporary directory; so the former have one of their own. Ops and modules run
# twice: with the portable kernels, and with those of oneDNN whatever the sizes, where it can be loaded.
set -u
python=$1
both="tests/flownn/ops tests/flownn/nn tests/flownn/models tests/parity"
once="tests/flownn/kernels tests/flownn/optim tests/flownn/test_*.py tests/flowdata/codec tests/flowdata/records
      tests/flowdata/stages"

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
    return $code
}

compute >"$own/log" 2>&1 &
beside=$!
ignored=""
for each in $both $once; do ignored="$ignored --ignore=$each"; done
# shellcheck disable=SC2086
"$python" -m pytest $ignored
code=$?
wait "$beside" || code=$?
cat "$own/log"
exit "$code"
