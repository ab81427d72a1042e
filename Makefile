# Everything is installed into .venv and cached under .cache; nothing else is touched.
PYTHON ?= python3
FUZZ_SECONDS ?= 60
BENCH_PEER ?=
PYTEST_ARGS ?=

BIN := .venv/bin
INPUTS := pyproject.toml constraints.txt scripts/install.py
export BENCH_PEER PYTHON

.DEFAULT_GOAL := help
.NOTPARALLEL:

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

demo: .venv/.ready-demo ## Show batching on a real model server, in under a minute after set-up
	@$(BIN)/python examples/demo/demo.py

test: .venv/.ready-all kubernetes peers ## Run every test (PYTEST_ARGS="..." is passed on)
	$(BIN)/pytest $(PYTEST_ARGS)

kubernetes: .venv/.ready-all ## Build the API server that the tests run against (once, in minutes)
	@$(BIN)/python scripts/kubernetes/build.py

peers: .venv/.ready-all ## Install the model servers of others that the tests run against (once)
	@$(BIN)/python scripts/peers/install.py mlserver triton

images: .venv/.ready-all ## Build the images of the sidecar and of the control plane (docker, podman or buildah)
	@$(BIN)/python scripts/images/build.py $(if $(REGISTRY),--registry $(REGISTRY))

e2e: .venv/.ready-all kubernetes ## Run the tests on a cluster: that of KUBECONFIG, kind, or one made here by root
	$(BIN)/pytest -m cluster tests/cluster $(PYTEST_ARGS)

cluster-up: .venv/.ready-all ## Start a Kubernetes cluster of one node on this machine (root, Linux)
	@$(BIN)/python -m tests.cluster.kit up

cluster-down: .venv/.ready-all ## Remove what cluster-up made
	@$(BIN)/python -m tests.cluster.kit down

lint: .venv/.ready-all ## Check style, types and the layers between the packages
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .cache/import-linter

fuzz: .venv/.ready-all ## Throw hostile bytes at the data port and the codecs for FUZZ_SECONDS (60)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

bench: .venv/.ready-all ## Measure against other proxies (BENCH_PEER="command of another batcher")
	$(BIN)/python -m tests.bench

bench-triton: .venv/.ready-all ## Measure Triton by perf_analyzer, alone and behind the sidecar
	$(BIN)/python -m tests.bench.triton

goldens: .venv/.ready-all kubernetes ## Write anew what becomes of pods and InferenceServices, and what kubectl says (see git diff)
	$(BIN)/pytest --renew-goldens tests/unit/webhook/test_golden.py tests/unit/operator/standalone/test_golden.py tests/apiserver/test_validation.py

constraints: ## Renew the pinned versions in constraints.txt
	$(PYTHON) scripts/install.py --renew-constraints

clean: ## Remove all that the other targets made: .venv, .cache and build leftovers
	rm -rf .venv .cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready-demo: $(INPUTS)
	$(call install,demo sidecar)

.venv/.ready-all: $(INPUTS)
	$(call install,bench demo dev operator sidecar webhook)

# $(1): the extras of pyproject.toml to install
define install
@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: install Python 3.11 or later, or name one with PYTHON=..." >&2; exit 1; }
@$(PYTHON) scripts/install.py $(1)
@touch $@
endef

.PHONY: help demo test kubernetes peers images e2e cluster-up cluster-down lint fuzz bench bench-triton goldens constraints clean
