# Everything a person types. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export DAGSTER_HOME := $(CURDIR)

.PHONY: help env demo ui test test-all bench lift replay docs lint parse raw sandbox sandbox-stop clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: $(READY) ## create the environment in .venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11 or the like")'
	@echo "Creating the environment in $(VENV) (once, a minute or two)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(READY) ## run the whole path on the sample company, into the sandbox
	@$(BIN)/python -m orchestration.demo

ui: $(READY) ## open Dagster on http://127.0.0.1:3000 (and the sandbox beside it)
	@$(BIN)/reverse-etl sandbox --detach
	@PYTHONWARNINGS=ignore $(BIN)/dagster dev --module-name orchestration.definitions --host 127.0.0.1 --port 3000

test: $(READY) ## run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: $(READY) ## run the tests, the slow ones too
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(READY) ## measure what one more day costs, what planning and pushing cost beside floors, and the fast lane
	@$(BIN)/python -m benchmarks.daily_run
	@$(BIN)/python -m benchmarks.reverse_etl_engine
	@$(BIN)/python -m benchmarks.fast_lane

lift: $(READY) ## measure whether lift recovers what was planted in 50 companies of 10,000 customers (half an hour)
	@$(BIN)/python -m benchmarks.lift_recovery

lint: $(READY) ## sqlfluff, ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@cd dbt_project && WAREHOUSE_PATH=:memory: ../$(BIN)/sqlfluff lint models data_tests --processes 2

parse: $(READY) ## read the dbt project anew, so that reverse-etl sees a changed model
	@$(BIN)/dbt --quiet parse --project-dir $(CURDIR)/dbt_project --profiles-dir $(CURDIR)/dbt_project

raw: $(READY) ## land seeds/raw in the warehouse, for working with dbt alone
	@$(BIN)/python -m orchestration.landing

replay: $(READY) ## what other rules would have flagged: make replay RULES=folder [DAYS=90]
	@$(BIN)/python -m orchestration.replay --rules "$(RULES)" --days $(or $(DAYS),90)

docs: $(READY) ## write the documentation of every model and column to dbt_project/target/static_index.html
	@$(BIN)/python -m orchestration.playbooks
	@cd dbt_project && WAREHOUSE_PATH=$(CURDIR)/data/warehouse.duckdb ../$(BIN)/dbt --quiet docs generate --static

sandbox: $(READY) ## run the tools' sandbox in the foreground
	@$(BIN)/reverse-etl sandbox

sandbox-stop: $(READY) ## stop a sandbox that runs in the background
	@$(BIN)/reverse-etl sandbox --stop

clean: ## remove warehouse, ledger, sandbox and caches, not the environment
	@if [ -x $(BIN)/reverse-etl ]; then $(BIN)/reverse-etl sandbox --stop || true; fi
	rm -rf data .dagster dbt_project/target dbt_project/logs logs
