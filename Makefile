# One command makes the images, one passes the tests; both bring what they need. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON     ?= python3
VENV       ?= .venv
IMAGES     ?= build/images
# All connectors of a release are more than a gigabyte: pulsar-all gets these. CONNECTORS=all brings the rest.
CONNECTORS ?= kafka,jdbc-postgres
RELEASE    ?= 2.6.0

FUZZ_EXAMPLES ?= 20000

BIN       := $(VENV)/bin
READY     := $(VENV)/.ready
PYTEST    := $(BIN)/python -m pytest
SYSTEM    := mmdebstrap qemu-user-static

.PHONY: help image ci-local test e2e lint fuzz bench port-all dist clean system

help: ## List the commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

image: $(READY) system ## Build and verify arm64 images of pulsar and pulsar-all out of the real release
	@echo "pulsar-all gets the connectors $(CONNECTORS); make image CONNECTORS=all brings every one (1.15 GB)."
	$(BIN)/pulsar-arm build --from $(RELEASE) --images pulsar,pulsar-all --connectors $(CONNECTORS) \
	    --output $(IMAGES) --force
	$(BIN)/pulsar-arm verify $(IMAGES)/pulsar-$(RELEASE)-linux-arm64.tar
	$(BIN)/pulsar-arm verify $(IMAGES)/pulsar-all-$(RELEASE)-linux-arm64.tar

ci-local: $(READY) system ## What CI does for users, with this machine's engine: scan, build, verify, run; PUSH=true TAG=... pushes
	PATH="$(abspath $(BIN)):$$PATH" FROM=$(RELEASE) CONNECTORS=$(CONNECTORS) OUTPUT=$(IMAGES) IMAGES=pulsar,pulsar-all RUN=true \
	    bash .ci/images

test: $(READY) system ## Lint, unit tests, and one pass over the real 2.6.0: scan, port, image, load
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -m "not e2e and not goldens"

e2e: $(READY) system ## Start the server of the image under emulation (minutes)
	$(PYTEST) -m e2e -s

goldens: $(READY) ## Hold the scan of 38 releases and connectors against what readelf says of them (5 GB to download)
	$(PYTEST) -m goldens

lint: $(READY) ## Style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(READY) ## Try the readers with FUZZ_EXAMPLES broken inputs for each property; stops at the first that breaks
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) -m hypothesis -x

bench: $(READY) system ## Print speed and memory as ratios of one run; gates nothing
	$(BIN)/python tests/bench.py

port-all: $(READY) ## Port every distribution and connector, and write docs/ports.md (an hour, 4 GB once)
	$(BIN)/python tests/port_all.py docs/ports.md

dist: $(READY) ## Make the wheel and the sdist
	$(BIN)/python -m build

clean: ## Remove what the commands above made, but for the cache
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# What the two commands need from the system: installed where that is allowed, else named.
system:
	@missing=""; \
	command -v mmdebstrap >/dev/null || missing="$$missing mmdebstrap"; \
	[ "$$(uname -m)" = aarch64 ] || command -v qemu-aarch64-static >/dev/null \
	    || command -v qemu-aarch64 >/dev/null || missing="$$missing qemu-user-static"; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "+ apt-get install$$missing"; \
	    apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -qy --no-install-recommends $$missing >/dev/null; \
	else \
	    echo "Missing on this machine:$$missing. Run: sudo apt-get install$$missing" >&2; exit 7; \
	fi

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@
