#!/bin/sh
# All tests: run_tests.sh PYTHON. Those that only compute run beside those that mostly start and watch other processes,
# which also look at what is left in the temporary directory; so the former have one of their own.
set -u
python=$1
computing="tests/flownn/ops tests/flownn/nn tests/flownn/models tests/parity"

own=$(mktemp -d)
trap 'rm -rf "$own"' EXIT
mkdir "$own/tmp"
# shellcheck disable=SC2086  # the list is meant to be split
TMPDIR="$own/tmp" "$python" -m pytest -p no:cacheprovider $computing >"$own/log" 2>&1 &
beside=$!
ignored=""
for each in $computing; do ignored="$ignored --ignore=$each"; done
# shellcheck disable=SC2086
"$python" -m pytest $ignored
code=$?
wait "$beside" || code=$?
cat "$own/log"
exit "$code"
