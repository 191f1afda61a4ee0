# `make` lists what can be done. Everything runs in .venv, which is made when it is needed.

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?=
ARGS   ?=
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help venv demo test system lint format fix types coverage audit picture docs bench faults clean

help: ## list what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=/path/to/python3 chooses the interpreter; ARGS='...' is passed on: make test ARGS='-k budget'"

venv: $(VENV)/.dev ## make .venv with all that development needs

# A spent budget (3) and a Ctrl-C (130) are no errors of the demo, and it has said them itself.
demo: $(VENV)/.demo ## read receipts with a real OCR engine, monitored (about 400 MB to install)
	@$(BIN)/python -m examples.receipts $(ARGS) || case $$? in 3|130) ;; *) exit $$?; esac

test: $(VENV)/.dev ## run the tests that need nothing but Python
	@$(BIN)/python -m pytest -q -m "not slow and not system" $(ARGS)

system: $(VENV)/.dev ## run the tests with real servers, real W&B runs, forks, signals and full disks
	@$(BIN)/python -m pytest -q -m "system and not slow" $(ARGS)

faults: $(VENV)/.dev ## run the fault tests, the slow ones too (about 40 minutes)
	@$(BIN)/python -m pytest -q -o faulthandler_timeout=2400 tests/faults $(ARGS)

lint: $(VENV)/.dev ## ruff and codespell
	@$(BIN)/ruff check . $(ARGS)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/codespell
	@$(BIN)/validate-pyproject pyproject.toml >/dev/null

format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff format .

fix: $(VENV)/.dev ## mend what ruff can mend by itself, and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.dev ## mypy --strict
	@$(BIN)/mypy $(ARGS)

coverage: $(VENV)/.dev ## run the tests and show which lines and branches they miss
	@$(BIN)/coverage run -m pytest -q -m "not slow and not system" $(ARGS)
	@$(BIN)/coverage report

audit: $(VENV)/.dev ## look for dangerous code (bandit) and for known faults in what is installed (pip-audit; asks the network)
	@$(PIP) install --quiet bandit pip-audit
	@$(BIN)/bandit --quiet --recursive --severity-level medium --skip B104 toolweaver_monitor
	@$(BIN)/pip-audit --skip-editable $(ARGS)

picture: $(VENV)/.dev ## make docs/page.png, the picture of the page, in the system's Chromium
	@PAGE_PICTURES=docs $(BIN)/python -m pytest -q -k "pictures and page]" tests/integration/test_page_in_browser.py

docs: $(VENV)/.dev ## write the generated pages of the reference, and the outputs shown in the documents
	@$(BIN)/python docs/generate.py
	@$(BIN)/python tests/docs/test_documents.py

bench: $(VENV)/.dev ## measure what monitoring costs
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove .venv, caches and what runs left behind
	rm -rf $(VENV) .nox .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov examples/*/output

# A stamp records what was installed, so that a second run starts at once. Dependency groups need pip 25.1.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing what development needs ..."
	@$(PIP) install --quiet --upgrade 'pip>=25.1'
	@$(PIP) install --quiet --editable '.[all]' --group dev
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
