# Everything a newcomer types. `make quickstart` and `make test` need Python 3.11+ and nothing else.
VENV ?= .venv
PYTHON ?=
RUN = $(VENV)/bin/python
PYTEST_ARGS ?=

.PHONY: quickstart test test-gpu check soak bench clean

quickstart: $(VENV)/.quickstart
	@$(RUN) -m flowdata quickstart $(ARGS)

# PYTEST_ARGS="tests/flowdata -x" runs a part.
test: $(VENV)/.test
	@$(if $(strip $(PYTEST_ARGS)),$(RUN) -m pytest $(PYTEST_ARGS),sh scripts/run_tests.sh $(RUN))

# Install CuPy first, with the extra that fits the driver: cuda12 or cuda13.
test-gpu: $(VENV)/.test
	@$(RUN) -m pytest -m gpu tests/flownn/test_gpu.py $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest -q tests/test_architecture.py

# The campaigns at full count. Each prints its seed; ARGS="--seed S --from K" starts again at round K of it.
soak: $(VENV)/.test
	@$(RUN) -m pytest -m campaign --soak $(ARGS) $(PYTEST_ARGS)

bench: $(VENV)/.test
	@$(RUN) benchmarks/preprocess.py $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist

$(VENV)/.%: pyproject.toml scripts/setup_venv.sh
	@PYTHON="$(PYTHON)" sh scripts/setup_venv.sh $(VENV) $*
