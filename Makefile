# Everything a person or a machine does with this repository. `make help` lists the targets.
#
# Variables: PYTHON (the interpreter to start from), VENV, ARGS (passed on to pytest or to the benchmark),
# SEED (of the simulated scenarios), JOBS (test processes at a time), TRANSPORT_REQUIRE_EXT=1 (a module that does not
# compile is an error).

PYTHON     ?= python3
VENV       ?= .venv
BENCH_VENV ?= .venv-bench
JOBS       ?= 1
ARGS       ?=
SEED       ?= 1-100

PY       := $(VENV)/bin/python
BENCH_PY := $(BENCH_VENV)/bin/python
PIP      := -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# By themselves and without the constraints: built from source by Cythons older than ours, which they bring along.
SOURCES  := pyenet==1.3.17 kcp==0.1.6
# Building these would take many minutes.
WHEELS   := --only-binary aioquic,cryptography,grpcio,pylsqpack,pynng,qh3
PIP_SELF := $(PIP) --no-build-isolation --editable
PYTEST   := -m pytest $(if $(filter-out 0 1,$(JOBS)),--numprocesses $(JOBS)) $(ARGS)
INPUTS   := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help bench test quick test-pure sim build pure lint types fmt cov check sdist wheel clean clean-venv

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the two commands ---------------------------------------------------------------------------------------------

bench: $(BENCH_VENV)/.stamp build ## compare the transports with their peers on real sockets (ARGS="latency --peers tcp")
	@$(BENCH_PY) -m bench $(ARGS)

test: $(VENV)/.stamp-test build ## every test, on the compiled modules where there is a compiler
	@$(PY) $(PYTEST)

# --- more tests ---------------------------------------------------------------------------------------------------

quick: $(VENV)/.stamp-test build ## the tests that take less than a second each
	@$(PY) $(PYTEST) -m "not slow"

test-pure: $(VENV)/.stamp-test ## every test, on the Python sources
	@TRANSPORT_PURE=1 $(PY) $(PYTEST)

sim: $(VENV)/.stamp-test build ## seeded scenarios of reliable UDP in virtual time (SEED=7, SEED=1-5000, ARGS="--quiet")
	@$(PY) -m tests.soak $(SEED) $(ARGS)

cov: $(VENV)/.stamp-test ## line coverage of transport/, interpreted; fails below 95 %
	@rm -f .coverage .coverage.*
	@TRANSPORT_PURE=1 $(PY) -m coverage run -m pytest --timeout 120 $(ARGS)
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report --fail-under=95

lint: $(VENV)/.stamp-test ## style: rules and formatting
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(VENV)/.stamp-test ## static types, strict
	@$(PY) -m mypy

fmt: $(VENV)/.stamp-test ## format, and mend what can be mended
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

check: lint types test ## what has to pass before a change goes in

# --- building -----------------------------------------------------------------------------------------------------

build: $(VENV)/.stamp ## compile what changed; without a compiler it says so, and everything runs interpreted
	@$(PY) setup.py --quiet build_ext --inplace

pure: ## remove the compiled modules
	@find transport \( -name '*.so' -o -name '*.pyd' -o -name '*.c' \) -delete
	@rm -rf build

sdist: $(VENV)/.stamp ## a source distribution that carries the generated C
	@$(PY) setup.py --quiet sdist

wheel: $(VENV)/.stamp ## a wheel for this machine
	@$(PY) -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: pure ## remove everything that was made, but for the environments
	@rm -rf dist *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

clean-venv: ## remove the environments
	@rm -rf $(VENV) $(BENCH_VENV)

# --- environments: made once, renewed when the pinned versions change ------------------------------------------------

# $(call environment,FOLDER): a working virtual environment there, also where Python came without ensurepip.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "transport needs Python 3.11 or newer; say which with PYTHON=..." >&2; exit 1; }
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || { \
	  echo "making $(1)"; \
	  $(PYTHON) -m venv --clear $(1) >/dev/null 2>&1 \
	    || { $(PYTHON) -m venv --clear --without-pip $(1) && $(PYTHON) -m pip --python $(1)/bin/python install --quiet pip; } \
	    || { echo "no virtual environment could be made: install Python's venv module, or pip" >&2; exit 1; }; }
endef

$(VENV)/.stamp: $(INPUTS)
	$(call environment,$(VENV))
	@$(PY) $(PIP) setuptools Cython
	@TRANSPORT_PURE=1 $(PY) $(PIP_SELF) '.[ws]'
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp
	@echo "installing the test tools into $(VENV)"
	@TRANSPORT_PURE=1 $(PY) $(PIP_SELF) '.[test,msgspec]'
	@touch $@

LIST_PEERS := import tomllib; \
  print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'])

# The peers live apart from the project's tools: some bring old versions of what we use.
$(BENCH_VENV)/.stamp: $(INPUTS)
	$(call environment,$(BENCH_VENV))
	@echo "installing the benchmark's peers into $(BENCH_VENV)"
	@$(BENCH_PY) $(PIP) setuptools
	@TRANSPORT_PURE=1 $(BENCH_PY) $(PIP) $(WHEELS) --no-build-isolation --editable '.[bench]' || { \
	  echo "not every peer could be installed; going on with those that can"; \
	  TRANSPORT_PURE=1 $(BENCH_PY) $(PIP_SELF) . && for peer in $$($(BENCH_PY) -c "$(LIST_PEERS)"); do \
	    $(BENCH_PY) $(PIP) $(WHEELS) "$$peer" || echo "$$peer will be missing from the tables"; done; }
	@for peer in $(SOURCES); do \
	  $(BENCH_PY) -m pip --disable-pip-version-check install --quiet "$$peer" \
	    || echo "$$peer could not be built, it will be missing from the tables"; done
	@touch $@
