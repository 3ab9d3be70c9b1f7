# Every target works on a fresh machine: what it needs is installed into .venv first, once per pyproject.toml.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench sim twins protos docs chaos compose-test matrix ci clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*##[[:space:]]*/  make \1\t/' | expand -t 22

demo: $(VENV)/.runtime  ## a cluster of three processes, one of which is killed: make demo ARGS="--members 5"
	$(BIN)/python -m dbgrains demo $(ARGS)

# Tests wait for leases and processes more than they compute: four at a time on two processors take half as long. But
# leases are promises in real time, and a test may fail for want of a processor: what failed is run again, alone.
test: $(VENV)/.dev  ## all tests: make test ARGS="-k gossip", WORKERS=0 for one after the other
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS) || { [ $$? -eq 1 ] && \
	    echo "*** failed among the others; each is run again by itself, and what fails again counts" && \
	    $(BIN)/python -m pytest --verbose --last-failed --last-failed-no-failures none $(ARGS); }

check: $(VENV)/.dev  ## lint, format, types, import contracts, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/architecture --ignore tests/architecture/test_documentation.py

format: $(VENV)/.dev  ## bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## all benchmarks with their floors and targets: make bench ARGS="local_request --json out.json"
	$(BIN)/python -m benchmarks $(ARGS)

sim: $(VENV)/.dev  ## 20,000 seeded storms over simulated clusters, 100,000 over lookups: make sim ARGS="--first 20000 --seeds 1000"
	nice $(BIN)/python -m tests.simulation $(ARGS)
	nice $(BIN)/python -m tests.simulation.lookups $(ARGS)

twins: $(VENV)/.dev  ## 20,000 random operations on the Lua scripts and on their twin in memory, per server
	DBGRAINS_TWIN_OPERATIONS=20000 nice $(BIN)/python -m pytest -q --timeout 3600 tests/conformance/test_storage_twins.py $(ARGS)

protos: $(VENV)/.dev  ## generate dbgrains/wire from protos/
	$(BIN)/python protos/generate.py

docs: $(VENV)/.dev  ## write docs/configuration.md, run the examples in README.md and docs/, check links
	$(BIN)/python -m tests.architecture.configuration_page
	$(BIN)/python -m pytest -q tests/architecture/test_documentation.py

chaos: $(VENV)/.dev  ## faults against real processes and servers, as a table: make chaos ARGS="--rows 1,11 --lease default"
	$(BIN)/python -m tests.chaos $(ARGS)

compose-test: $(VENV)/.dev  ## compose.yaml under a real Docker engine: load, kill -9 a member, restart Redis
	$(BIN)/python -m tests.compose

matrix:  ## unit, conformance and remote tests on every CPython found, and on the lowest versions allowed
	$(PYTHON) -m tests.matrix $(ARGS)

ci:  ## what the continuous integration runs
	bash .ci/run

clean:  ## remove what was installed and cached
	rm -rf $(VENV) .matrix .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# Where ensurepip is missing (Debian without python3-venv), the pip that is there fills the virtualenv.
# Dependency groups need pip 25.1.
$(BIN)/pip-is-new:
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
	    $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	    $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@$(PIP) install --quiet --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.runtime: pyproject.toml | $(BIN)/pip-is-new
	@echo "installing dbgrains and what the demo needs into $(VENV)"
	@$(PIP) install --quiet --editable ".[cli,embedded,hiredis]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/pip-is-new
	@echo "installing dbgrains and what its development needs into $(VENV)"
	@$(PIP) install --quiet --editable . --group dev
	@touch $@ $(VENV)/.runtime
