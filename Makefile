# make demo | make test: all set-up on a fresh machine, then the demo or every test.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
WORKERS ?= 2
CLIENTS := tests/clients/node_modules/.ready

.PHONY: setup demo test lint bench docs clean lock

setup: .venv/.ready $(CLIENTS)
	@$(BIN)/python tools/debian.py dcmtk invesalius-examples chromium
	@$(BIN)/python -m demo.cranium .assets/cranium
	@$(BIN)/python -m tools.examples .assets/r4-examples

.venv/.ready: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(CLIENTS): tests/clients/package.json
	@cd tests/clients && npm install --omit=optional --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

demo: setup
	@$(BIN)/python -m demo $(ARGS)

test: setup
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: setup
	@$(BIN)/python -m bench $(ARGS)

docs: .venv/.ready
	@PYTHONPATH=. $(BIN)/python tools/manual.py

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra embedded --group dev pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv .assets data build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
