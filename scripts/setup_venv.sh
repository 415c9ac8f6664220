#!/bin/sh
# Make a virtual environment and install this clone into it: setup_venv.sh DIRECTORY EXTRA
# Uses uv if it is there, else the newest python3.11+ that can make environments; anything missing is one line, exit 3.
set -eu
venv=$1 extra=$2

usable() {  # a Python new enough, with the module that puts pip into an environment
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ ! -x "$venv/bin/python" ]; then
    python=${PYTHON:-}
    if [ -n "$python" ]; then
        usable "$python" || { echo "flowstack: PYTHON=$python is not a Python >= 3.11 with ensurepip; name another" >&2; exit 3; }
    elif ! command -v uv >/dev/null 2>&1; then
        for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
            if usable "$name"; then python=$name; break; fi
        done
        if [ -z "$python" ]; then
            echo "flowstack: needs Python 3.11 or newer with ensurepip; on Debian and Ubuntu: sudo apt-get install python3 python3-venv" >&2
            exit 3
        fi
    fi
    echo "flowstack: making the virtual environment $venv"
    if [ -n "$python" ]; then "$python" -m venv "$venv"; else uv venv --quiet --seed --python '>=3.11' "$venv"; fi
fi

echo "flowstack: installing with the extra [$extra]"
if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --python "$venv/bin/python" -e ".[$extra]"
else
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$extra]"
fi
touch "$venv/.$extra"
