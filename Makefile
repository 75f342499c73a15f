# `make` lists the targets.

BIN := .venv/bin
# Without uv it comes into the environment itself: a system's own Python is not ours to change.
UV := $(or $(shell command -v uv),$(BIN)/uv)
# PyQGIS lives in the system's Python, next to QGIS; the project in its own environment.
QGIS_PYTHON ?= /usr/bin/python3
# The project's pytest settings and fixtures are for the environment's pytest, not the system's.
# An activated environment is left: QGIS would take the first Python on the path for its own.
OUTSIDE := env -u VIRTUAL_ENV PATH="$${PATH\#$${VIRTUAL_ENV:+$$VIRTUAL_ENV/bin:}}"
QGIS_PYTEST := $(QGIS_PYTHON) -m pytest -c /dev/null --rootdir=. --confcutdir=tests/qgis -p no:cacheprovider

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint audit docs plugin

help: ## List the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/ready ## Make the environment in .venv, if it is not there or out of date

.venv/ready: pyproject.toml constraints.txt
	command -v uv >/dev/null || { python3 -m venv .venv && $(BIN)/python -m pip install -q uv; }
	test -x $(BIN)/python || $(UV) venv --python ">=3.11" .venv
	$(UV) pip install --python $(BIN)/python -e ".[dev,docs,bench,cluster]" -c constraints.txt
	touch $@

demo: setup ## Train on a small Landsat scene, map it, and assess the map
	$(BIN)/m3amba-geo demo demo

test: setup ## Run the tests; those of the plugin inside QGIS where PyQGIS is installed
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile -m "not gpu and not qgis"
	@if $(QGIS_PYTHON) -c "import qgis.core" 2>/dev/null; then \
		$(OUTSIDE) QT_QPA_PLATFORM=offscreen M3AMBA_PYTHON=$(CURDIR)/$(BIN)/python $(QGIS_PYTEST) -m qgis tests/qgis; \
	elif [ "$$M3AMBA_REQUIRE_QGIS" = 1 ]; then \
		echo "M3AMBA_REQUIRE_QGIS=1, but $(QGIS_PYTHON) has no PyQGIS." >&2; exit 1; \
	else \
		echo "Skipped the tests inside QGIS: $(QGIS_PYTHON) has no PyQGIS (python3-qgis, python3-pytest)."; \
	fi

lint: setup ## Check style, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff check --target-version py39 qgis_plugin scripts/build_plugin.py
	$(BIN)/bandit -q -r qgis_plugin
	$(BIN)/flake8 --isolated --max-line-length 100 --extend-ignore E203 qgis_plugin
	$(BIN)/detect-secrets-hook --no-verify $$(git ls-files --cached --others --exclude-standard qgis_plugin metadata.txt)
	$(BIN)/python scripts/translations.py --check
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: setup ## Look for known vulnerabilities of what is installed; passed over where no service answers
	$(BIN)/python scripts/audit.py

docs: setup ## Build the documentation into docs/_build
	$(BIN)/sphinx-build -W -q -E docs docs/_build

plugin: ## Pack the QGIS plugin into dist/m3amba.zip
	python3 scripts/build_plugin.py
