# make sim    sets up what is missing, then a policy drives the simulated Panda; the last line is the report's path
# make test   sets up what is missing, then the tests
# make lint   ruff and mypy
# make docs   builds the pages into build/docs
VENV ?= .venv
EPISODES ?= 10
TASK ?= lift
PYTEST_ARGS ?=
export VENV

.PHONY: help setup sim test lint docs clean
help:
	@sed -n '1,/^$$/{s/^# //p}' Makefile

setup:
	@tools/setup.sh

sim: setup
	@tools/run.sh d2ppo evaluate $(TASK) --in stack --episodes $(EPISODES)

test: setup
	@tools/run.sh python tools/run_tests.py $(PYTEST_ARGS)

lint: setup
	@tools/run.sh ruff check .
	@tools/run.sh ruff format --check .
	@tools/run.sh mypy

docs: setup
	@NO_MKDOCS_2_WARNING=1 tools/run.sh mkdocs build --strict --site-dir build/docs
	@echo "build/docs/index.html"

clean:
	@[ ! -e "$(VENV)" ] || [ -e "$(VENV)/pyvenv.cfg" ] || { echo "$(VENV) is no Python environment; it stays" >&2; exit 2; }
	rm -rf "$(VENV)" "$(VENV).lock" build dist *.egg-info
