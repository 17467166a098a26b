# Two commands: `make demo` and `make test`. Each makes the environment it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

.PHONY: demo test lint wheel picture bench fuzz test-kills test-deploys clean

demo: $(VENV)/ready
	@$(BIN)/python -m integralgit.demo

test: $(VENV)/ready-for-tests
	$(BIN)/python -m twisted.trial --jobs 3 $(or $(TESTS),tests)

lint: $(VENV)/ready-for-lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

wheel: $(VENV)/ready
	$(BIN)/python -m pip --disable-pip-version-check --quiet wheel --no-deps --wheel-dir dist .

$(VENV)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/ready: $(VENV)/python setup.py constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/ready-for-tests: $(VENV)/ready
	$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/ready-for-lint: $(VENV)/ready-for-tests
	$(PIP) --editable '.[dev,lint]'
	@touch $@

fuzz: $(VENV)/ready-for-tests
	$(BIN)/python -m tests.hooks.fuzz $(or $(EXAMPLES),100000)

test-kills: $(VENV)/ready-for-tests
	ROUNDS=$(or $(ROUNDS),100) $(BIN)/python -m twisted.trial tests.integration.test_kills

test-deploys: $(VENV)/ready-for-tests
	COUNT=$(or $(COUNT),1000) $(BIN)/python -m twisted.trial tests.integration.test_deploys

clean:
	rm -rf $(VENV) build dist demo *.egg-info

picture: $(VENV)/ready-for-tests
	$(BIN)/python docs/picture.py

bench: $(VENV)/ready-for-tests
	PYTHONPATH=. $(BIN)/python -m benchmarks.run $(if $(ONLY),--only $(ONLY))
