# `make demo` and `make test` are the two commands of the README. Both set up .venv when it is missing or old.

PYTHON      ?=
VENV        := .venv
BIN         := $(VENV)/bin
STAMP       := $(VENV)/.ready
CHECKPOINT  ?= examples/getgan-256.safetensors
CHECKPOINTS ?= getgan=examples/getgan-64.safetensors cyclegan=examples/cyclegan-64.safetensors
CHECKPOINTS_256 ?= getgan=examples/getgan-256.safetensors cyclegan=examples/cyclegan-256.safetensors
TESTS       ?= tests
MINUTES     ?= 30
FUZZ        := $(abspath build/fuzz)
BENCH       := build/bench
SMALL_RATES ?= 5,15,30,45
LARGE_RATES ?= 2,5,8

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo compare test coverage offline fuzz bundle bench matrix check format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## set up .venv with the tested versions

demo: $(STAMP) ## export the shipped checkpoint, translate ultrasounds with the bundle, show them
	@echo "==> getgan demo $(CHECKPOINT) -o build/demo"
	@$(BIN)/getgan demo $(CHECKPOINT) -o build/demo

compare: $(STAMP) ## evaluate the shipped checkpoints on synthetic faces and write a page for 64 and for 256 pixels
	@echo "==> translating rendered ultrasounds of 64 pixels with the shipped checkpoints (two minutes)"
	@$(BIN)/getgan evaluate $(CHECKPOINTS) -o build/compare --scenes 50 --seeds 0,1,2
	@echo "==> the same of 256 pixels (five minutes)"
	@$(BIN)/getgan evaluate $(CHECKPOINTS_256) -o build/compare-256 --scenes 60 --seeds 11,12

# A process for each core, and one thread in each: two of two threads would only wait for each other.
test: check ## check, then run the quick tests
	@echo "==> pytest (the quick tests, on all cores)"
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile $(TESTS)

coverage: $(STAMP) ## which lines the quick tests run
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --cov --cov-report=term $(TESTS)

offline: $(STAMP) ## every command under strace: no connection, nothing left behind (five minutes)
	@command -v strace >/dev/null || { echo "strace is not installed: apt install strace" >&2; exit 1; }
	@$(BIN)/pytest -m slow tests/test_nothing_leaves.py

# The temporary folder holds the failing input, and its name stands in what is printed.
fuzz: $(STAMP) ## throw damaged files at every parser for MINUTES=30; the one that fails stays in build/fuzz
	@mkdir -p $(FUZZ)
	@targets=$$($(BIN)/pytest --collect-only -q tests/test_fuzz_*.py | grep -c ::); \
	each=$$(($(MINUTES) * 60 / targets)); \
	echo "==> pytest, $$targets tests of $$each s for each target (an input may cost 500 MB and 5 s)"; \
	TMPDIR=$(FUZZ) FUZZ_SECONDS=$$each $(BIN)/pytest -x -q tests/test_fuzz_*.py

bundle: $(STAMP) ## make the bundles in examples/ anew from their checkpoints
	@for name in getgan-64 getgan-256; do \
		$(BIN)/getgan export examples/$$name.safetensors -o examples/$$name.getgan --occlusion --overwrite || exit 1; done

# The rates are those of two cores: some that they keep up with, and some that they do not.
bench: $(STAMP) ## measure the shipped bundle and a large network beside all peers, write docs/benchmarks.md (ten minutes)
	@mkdir -p $(BENCH)
	@$(BIN)/python -m pip install -qq --no-input -c constraints.txt ncnn pnnx || echo "ncnn cannot be installed here: the page will say so" >&2
	@echo "==> an untrained network of ResNet-9's size, exported with its gate"
	@$(BIN)/python -m getgan.benchmarks.untrained $(BENCH)/ngf64.safetensors --ngf 64 --size 256
	@$(BIN)/getgan export $(BENCH)/ngf64.safetensors -o $(BENCH)/ngf64.getgan --overwrite
	@echo "==> getgan bench examples/getgan-256.getgan, and the large network under plain ONNX Runtime in the same run"
	@$(BIN)/getgan bench examples/getgan-256.getgan --precision auto,fp32 --checkpoint examples/getgan-256.safetensors \
		--beside $(BENCH)/ngf64.getgan --concurrency 1,2,4 --batch 1,2,4 --rate $(SMALL_RATES) --duration 3 \
		-o $(BENCH)/getgan-256 >$(BENCH)/getgan-256.txt
	@echo "==> getgan bench $(BENCH)/ngf64.getgan"
	@$(BIN)/getgan bench $(BENCH)/ngf64.getgan --precision auto,fp32 --checkpoint $(BENCH)/ngf64.safetensors \
		--concurrency 1,2 --batch 1,2 --rate $(LARGE_RATES) --camera 30 --duration 3 -o $(BENCH)/ngf64 >$(BENCH)/ngf64.txt
	@$(BIN)/python -m getgan.benchmarks.docspage docs $(BENCH)/getgan-256 $(BENCH)/ngf64

matrix: $(STAMP) ## the runtime's tests from the built wheel, on Python 3.10 and 3.12 (ten minutes)
	@$(BIN)/nox || { echo "Was an interpreter not found? Put it on PATH: PATH=/path/to/python3.10/bin:\$$PATH make matrix" >&2; exit 1; }

check: $(STAMP) ## lint, formatting, types, and which room imports which
	@echo "==> ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "Not formatted as ruff does: run 'make format'." >&2; exit 1; }
	@echo "==> mypy --strict (half a minute the first time)"
	@$(BIN)/mypy --no-error-summary
	@echo "==> import rules"
	@out=$$($(BIN)/lint-imports 2>&1) || { printf '%s\n' "$$out" >&2; exit 1; }

format: $(STAMP) ## format the code and sort the imports
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

clean: ## remove .venv, build outputs and caches
	rm -rf $(VENV) build dist src/getgan.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last. A .venv without one is an interrupted set-up, and is made again from nothing.
$(STAMP): pyproject.toml constraints.txt
	@set -eu; \
	start=$$(date +%s); \
	if [ -e $(STAMP) ]; then \
		echo "==> bringing .venv up to date"; \
		rm -f $(STAMP); \
	else \
		python=; \
		for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10); do \
			if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then \
				python=$$candidate; break; \
			fi; \
		done; \
		if [ -z "$$python" ]; then \
			echo "No Python >= 3.10 with the venv module found (tried: $(or $(PYTHON),python3 python3.13 ... python3.10)). Install one (Debian: apt install python3 python3-venv), or say which: make PYTHON=/path/to/python3" >&2; \
			exit 1; \
		fi; \
		echo "==> setting up .venv with $$("$$python" -V) (downloads PyTorch, and 97 MB of TensorRT-RTX for the tests: some minutes)"; \
		"$$python" -m venv --clear $(VENV); \
	fi; \
	$(BIN)/python -m pip install -qq --no-input -c constraints.txt setuptools; \
	$(BIN)/python -m pip install -qq --no-input -c constraints.txt --no-build-isolation -e '.[cpu,export,train,dicom,bench,dev]'; \
	touch $(STAMP); \
	echo "==> .venv is ready ($$(($$(date +%s) - start)) s)"
