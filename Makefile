# What can be done here? `make` lists it. Everything runs in .venv, which is made when it is needed.

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?=
ARGS   ?=
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint types audit docs bench faults clean

help: ## list what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=/path/to/python3 chooses the interpreter; ARGS='...' is handed on: make test ARGS='-k budget'"

venv: $(VENV)/.dev ## make .venv with all that development needs

demo: $(VENV)/.demo ## read receipts with a real OCR engine and watch it (about 400 MB to install)
	@$(BIN)/python -m examples.receipts $(ARGS)

test: $(VENV)/.dev ## run the tests but the slow ones
	@$(BIN)/python -m pytest -q -m "not slow" $(ARGS)

faults: $(VENV)/.dev ## run the fault tests, the slow ones too (about 40 minutes)
	@$(BIN)/python -m pytest -q -o faulthandler_timeout=2400 tests/faults $(ARGS)

lint: $(VENV)/.dev ## ruff
	@$(BIN)/ruff check . $(ARGS)
	@$(BIN)/ruff format --check --quiet .

types: $(VENV)/.dev ## mypy --strict
	@$(BIN)/mypy $(ARGS)

audit: $(VENV)/.dev ## look for dangerous code (bandit) and for known faults in what is installed (pip-audit; asks the network)
	@$(PIP) install --quiet bandit pip-audit
	@$(BIN)/bandit --quiet --recursive --severity-level medium --skip B104 toolweaver_monitor
	@$(BIN)/pip-audit --skip-editable $(ARGS)

docs: $(VENV)/.dev ## write the made pages of the reference, and the outputs shown in the documents
	@$(BIN)/python docs/generate.py
	@$(BIN)/python tests/docs/test_documents.py

bench: $(VENV)/.dev ## measure what watching costs
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove .venv, caches and what runs left behind
	rm -rf $(VENV) .nox .mypy_cache .ruff_cache .pytest_cache .hypothesis examples/*/output

# A stamp says what was installed, so that a second run starts at once.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing what development needs ..."
	@$(PIP) install --quiet --editable '.[dev]'
	@touch $@

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing what the demo needs (about 400 MB, once) ..."
	@$(PIP) install --quiet --editable '.[demo]'
	@touch $@

# The first interpreter that is new enough and can make an environment. A name on the path may be a shim that cannot run.
$(BIN)/python:
	@for python in $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3); do \
		if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "Making $(VENV) with $$($$python -c 'import sys; print(sys.executable, sys.version.split()[0])')"; \
			exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "No usable Python was found: it must be 3.11 or later and have its venv module." >&2; \
	echo "Install one (Debian, Ubuntu: apt-get install python3-venv; macOS: brew install python)," >&2; \
	echo "or name it: make demo PYTHON=/path/to/python3" >&2; \
	exit 1
