# Two commands set up everything they need: `make demo` and `make test`.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export LITELLM_LOCAL_MODEL_COST_MAP := True

.PHONY: help demo test check lint types contracts wheel study bench-speed bench-serving bench-mutation \
	bench-load bench-attack bench-fuzz bench-faults bench-crash bench-cancellation bench-reliability clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/uv:
	@command -v $(PYTHON) >/dev/null || { echo "needs Python 3.11 or newer as $(PYTHON)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'

$(STAMP): pyproject.toml | $(BIN)/uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --editable '.[classify,local,metrics,postgres,ray,redis,serve,telemetry]' --group dev
	@touch $(STAMP)

demo: $(STAMP) ## set up and decide real tasks with real local models; no key
	$(BIN)/consensus models pull qwen2.5-coder-0.5b-instruct
	$(BIN)/consensus models pull qwen2.5-coder-1.5b-instruct
	$(BIN)/python -m benchmarks.demo

test: $(STAMP) ## set up and run the tests
	$(BIN)/python -m pytest -q -n logical --maxprocesses 4

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

wheel: $(STAMP) ## build sdist and wheel, install outside the checkout, read a default of each kind
	bash tests/wheel.sh $(abspath $(BIN))

check: lint types contracts test wheel ## what CI runs

study: $(STAMP) ## replay the study over the recorded data sets into benchmarks/RESULTS.md
	$(BIN)/consensus bench study --out benchmarks/RESULTS.md

bench-speed: $(STAMP) ## measure our speed beside SDKs and peers into benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.speed --out benchmarks/RESULTS.md

bench-serving: $(STAMP) ## several serving processes under faults, one killed
	$(BIN)/python -m benchmarks.serving --write

bench-mutation: $(STAMP) ## wrong edits to the code that decides: how many the tests notice
	$(BIN)/python -m benchmarks.reliability mutation --sample 500 --seed 7 --write

bench-attack: $(STAMP) ## judged texts that try to steer the judge, on real local models; resumable
	$(BIN)/consensus models pull qwen2.5-coder-0.5b-instruct
	$(BIN)/consensus models pull qwen2.5-coder-1.5b-instruct
	$(BIN)/python -m benchmarks.reliability attack --write

bench-fuzz: $(STAMP) ## every reader of strangers' replies and files, coverage-guided
	$(BIN)/python -m benchmarks.reliability fuzz --seconds 180 --write

bench-load: $(STAMP) ## ten thousand decisions in flight at once, and an hour of service compressed
	$(BIN)/python -m benchmarks.reliability load --write
	$(BIN)/python -m benchmarks.reliability soak --write

bench-faults: $(STAMP) ## 20,000 calls of a provider that does everything wrong
	$(BIN)/python -m benchmarks.reliability faults --calls 20000 --seed 7 --write

bench-crash: $(STAMP) ## kill -9 two hundred times; full disks (needs root)
	$(BIN)/python -m benchmarks.reliability crash --kills 200 --seed 7 --write

bench-cancellation: $(STAMP) ## decide cancelled at a thousand random moments
	$(BIN)/python -m benchmarks.reliability cancellation --points 1000 --seed 7 --write

bench-reliability: bench-faults bench-crash bench-cancellation ## these three

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
