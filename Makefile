# Everything a fresh machine needs: `make demo` runs the main job, `make test` passes the tests.
# Both create .venv first, if it is not there or older than the lists of what it holds.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Real data sets that some tests and recipes use, where they are present: a folder with fashion_mnist/, emoji_domains/.
export SYNOPTIC_SHARED_DATA ?= $(abspath $(wildcard ../shared/data))
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-slow lint bench bench-peers bench-deploy bench-grpo results map docs clean
.DEFAULT_GOAL := demo

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,docs]"
	touch $@

demo: $(READY)  ## tune a shared adapter over five clients on real handwriting, then compare methods; a minute or two
	$(BIN)/synoptic run fedavg
	$(BIN)/synoptic compare zeroshot local fedavg promptfl --seeds 3 --report demo-report.html
	@echo "open demo-report.html in a browser"

test: $(READY) lint  ## what CI runs, in two processes
	OMP_NUM_THREADS=1 $(BIN)/pytest -q --numprocesses 2 --dist worksteal

test-slow: $(READY)  ## minutes each
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m slow --timeout 1800

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## the engine's figures, to benchmarks/results/engine.json; wants a quiet machine
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.table > docs/benchmarks.md

bench-peers: $(READY)  ## the same workload on other engines, each in an environment of its own
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.table > docs/benchmarks.md

bench-deploy: $(READY)  ## real sites: asks, stock nodes, faults, a soak of 200 rounds; half an hour on a quiet machine
	$(BIN)/python -m benchmarks.deploy --only asks,stock,faults,soak

bench-grpo: $(READY)  ## GRPO on a generative model beside TRL's, which gets an environment of its own
	$(BIN)/python -m benchmarks.grpo

results: $(READY)  ## every suite over its seeds, to benchmarks/results/suites and docs/results.md
	$(BIN)/python -m benchmarks.results

map: $(READY)  ## which method for which sites: the sweeps of benchmarks/maps, to docs/which-method.md
	$(BIN)/python -m benchmarks.map

docs: $(READY)  ## the documentation site into build/site; a broken link or reference fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open build/site/index.html in a browser"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
