# What people type. Every target sets up what it needs; nothing has to be installed by hand but Python 3.11+, make and git.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARTS := $(sort $(wildcard libs/*/pyproject.toml services/*/pyproject.toml jobs/*/pyproject.toml cluster/pyproject.toml cli/pyproject.toml))
SOURCES := $(patsubst %/pyproject.toml,%/src,$(PARTS))
IMAGES := $(patsubst %/Dockerfile,%,$(wildcard services/*/Dockerfile jobs/*/Dockerfile))
UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

.DEFAULT_GOAL := help
.PHONY: help demo demo-break demo-fix demo-status down dev cluster-up cluster-down setup fmt lint typecheck layers workflows postgres-server node chromium histories unit parts charts integration e2e test bench crds docs lock

help: ## shows this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# --- the main job ----------------------------------------------------------------------------------------------------

demo: setup ## from nothing to the whole loop on a kind cluster, with the matrix at the end
	@$(BIN)/python -m pact_cluster demo

demo-break: setup ## a consumer expects a field that no provider serves: see which contract breaks, and why
	@$(BIN)/python -m pact_cluster demo-break

demo-fix: setup ## the FastAPI provider learns to serve it: its contract turns green by itself
	@$(BIN)/python -m pact_cluster demo-fix

demo-status: setup ## the matrix as it stands
	@$(BIN)/python -m pact_cluster demo-status

down: setup ## removes the cluster and everything that was started (PURGE=1: the caches too)
	@$(BIN)/python -m pact_cluster down $(if $(PURGE),--purge)

dev: setup ## skaffold dev on the kind cluster: every edit is built, deployed and verified
	@$(BIN)/python -m pact_cluster up
	@eval "$$($(BIN)/python -m pact_cluster skaffold-env)" && \
	  { [ -z "$$SKAFFOLD_PROFILE" ] || $(BIN)/python -m pact_cluster load postgres --tag local > /dev/null; } && \
	  exec skaffold dev

cluster-up: setup ## only the kind cluster, with nothing deployed
	@$(BIN)/python -m pact_cluster up

cluster-down: down

# --- the checks ------------------------------------------------------------------------------------------------------

test: lint typecheck layers workflows postgres-server node chromium ## everything that CI checks, the whole loop on kind included
	@$(BIN)/python -m pact_cluster tools helm helm-unittest kubectl kind etcd kube-apiserver
	@$(BIN)/python -m pytest libs services jobs cluster cli tests

lint: setup
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && echo "ruff: clean"

fmt: setup ## formats and mends what can be mended
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

typecheck: setup
	@$(BIN)/mypy libs services jobs cluster cli tests docs

layers: setup
	@$(BIN)/lint-imports && $(BIN)/lint-imports --config services/operator/pyproject.toml

workflows: setup
	@$(BIN)/python -m pact_cluster tools actionlint > /dev/null
	@eval "$$($(BIN)/python -m pact_cluster env)" && actionlint && echo "actionlint: clean"

postgres-server:
	@ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || command -v initdb > /dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && echo "installing postgresql, for the tests of broker_lite ..." && \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql > /dev/null; } || \
	  { echo "The tests of broker_lite need PostgreSQL's server; on Debian: apt-get install postgresql" >&2; exit 1; }

node:
	@{ command -v node && command -v npm; } > /dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && echo "installing Node, for the tests of broker_lite ..." && \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nodejs npm > /dev/null; } || \
	  { echo "The tests of broker_lite need Node and npm; on Debian: apt-get install nodejs npm" >&2; exit 1; }

chromium:
	@{ { command -v chromium || command -v google-chrome; } && command -v chromedriver; } > /dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && echo "installing chromium, for the tests of broker_lite's pages ..." && \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium chromium-driver > /dev/null; } || \
	  { echo "The tests of broker_lite's pages need Chromium and its driver; on Debian: apt-get install chromium chromium-driver" >&2; exit 1; }

histories: setup ## the operator through 10,000 seeded histories of faults
	@SIMULATION_HISTORIES=$${SIMULATION_HISTORIES:-10000} $(BIN)/python -m pytest services/operator/tests/simulation

unit: setup ## the fast tests: pure core, parts without a cluster
	@$(BIN)/python -m pytest libs services jobs cluster cli tests/unit

charts: setup ## the charts: lint, schema, rendered manifests
	@$(BIN)/python -m pytest tests/charts

integration: setup ## the whole operator against a real API server
	@$(BIN)/python -m pytest tests/integration

e2e: setup ## the whole loop on a kind cluster
	@$(BIN)/python -m pytest tests/e2e

bench: setup ## figures, as ratios in one run; needs the demo's cluster
	@$(BIN)/python -m tests.bench

# --- generated files -------------------------------------------------------------------------------------------------

crds: setup ## generates the CRDs from the models
	@$(BIN)/python -m pact_operator.api.crds charts/pact-operator/files/crds

docs: setup ## generates the reference pages
	@$(BIN)/python docs/generate.py

lock: ## pins every dependency of every part, with hashes
	@$(UV_COMPILE) --group dev pyproject.toml $(PARTS) -o requirements.lock
	@for image in $(IMAGES); do \
	  extra=$$(grep -q 'libs/brokerclient' $$image/Dockerfile && echo libs/brokerclient/pyproject.toml); \
	  echo "lock $$image"; \
	  $(UV_COMPILE) $$image/pyproject.toml $$extra -c requirements.lock -o $$image/requirements.lock || exit 1; \
	done

# --- the environment -------------------------------------------------------------------------------------------------

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is older. Say which one to use: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module of Python is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@printf '%s\n' $(abspath $(SOURCES)) > $$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')/pact_operator_workspace.pth
	@touch $@
