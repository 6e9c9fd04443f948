# `make check` is what every change must pass; it expects the environment of the README's test command.
PYTHON ?= .venv/bin/python

.PHONY: check docs format linkcheck oldest release-check test

check:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -c "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -m "not slow"

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test:
	$(PYTHON) -m pytest

# The site, tutorials run; a warning is an error. Into docs/_build/html, from requirements/docs.txt and nothing from the network.
docs:
	$(PYTHON) -m sphinx -W --keep-going -q -j 2 -b html docs docs/_build/html

# Asks the host of every link on the site whether the page is there; needs a network. Tutorials are not run.
linkcheck:
	$(PYTHON) -m sphinx -q -D nb_execution_mode=off -b linkcheck docs docs/_build/linkcheck

# The oldest allowed versions, in an environment of their own; what they warn of is not an error.
oldest:
	python3.11 -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -q -r requirements/oldest.txt -r requirements/test.txt -e .
	.venv-oldest/bin/python -m pytest -m "not slow and not peer" -W default

# What a release uploads: both distributions built and checked, and its notes. Needs `pip install build twine`.
release-check:
	$(PYTHON) -m build --outdir build/release
	$(PYTHON) -m twine check --strict build/release/*
	$(PYTHON) scripts/release_notes.py
