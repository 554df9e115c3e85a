## Both install what they need into .venv, and are quick after that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data/speechocean762/train
BASE ?= openai/whisper-base
FAST ?= openai/whisper-tiny.en
OUT ?= runs
## a model that has not heard the development speakers, for what is measured on them
FOLD_MODEL ?= $(OUT)/models/base0

.PHONY: help run test lint types unit train eval fit-scores tune-alignment tune-reading bench-corpus bench-robustness bench-heard bench-rivals bench-voices bench soak clean

help:
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /: /'

$(VENV)/installed-run: pyproject.toml
	@echo "Installing Elocute into $(VENV) (the first time takes a minute or two) ..."
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml
	@echo "Installing Elocute and its tests' tools into $(VENV) (the first time takes a minute or two) ..."
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/installed-run

run: $(VENV)/installed-run ## install and serve on HOST:PORT
	@exec $(BIN)/python -m app

test: lint types unit ## lint, types and tests: what CI runs

lint: $(VENV)/installed-dev
	@echo "Checking style ..."
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .

types: $(VENV)/installed-dev
	@echo "Checking types ..."
	@$(BIN)/mypy

unit: $(VENV)/installed-dev
	@echo "Running the tests ..."
	@$(BIN)/python -m pytest

train: $(VENV)/installed-dev ## both models, those of the folds, calibration and report: DATA=folder BASE= FAST= Whispers
	$(BIN)/python -m training --data $(DATA) --base $(BASE) --fast $(FAST) --out $(OUT) $(ARGS)

eval: $(VENV)/installed-dev ## score every speaker by the models of the folds, and report: DATA=folder OUT=folder
	$(BIN)/python -m training.score_folds --data $(DATA) --models $(OUT)/models --out $(OUT)/scores/base-int8.npz
	$(BIN)/python -m training.report --scores $(OUT)/scores/base-int8.npz --plot benchmarks/accuracy.png

fit-scores: $(VENV)/installed-dev ## fit the rules for models without a head anew and write them: DATA=folder
	$(BIN)/python -m training.fit_scores --data $(DATA) --model $(FOLD_MODEL) --write

tune-alignment: $(VENV)/installed-dev ## compare alignment penalties: DATA=folder
	$(BIN)/python -m training.tune_alignment --data $(DATA) --model $(FOLD_MODEL) $(ARGS)

tune-reading: $(VENV)/installed-dev ## compare the costs of changes in what was heard: DATA=folder
	$(BIN)/python -m training.tune_reading --data $(DATA) $(ARGS)

bench-corpus: $(VENV)/installed-dev ## every recording through a running service's HTTP: DATA=folder
	$(BIN)/python -m benchmarks.corpus_over_http --data $(DATA) $(ARGS)

bench-robustness: $(VENV)/installed-dev ## recordings that differ from their text: DATA=folder
	$(BIN)/python -m benchmarks.robustness --data $(DATA) --model $(FOLD_MODEL) $(ARGS)

bench-heard: $(VENV)/installed-dev ## whether the probabilities of heard mean what they say: DATA=folder
	$(BIN)/python -m benchmarks.heard_reliability --data $(DATA) --model $(FOLD_MODEL) $(ARGS)

bench-rivals: $(VENV)/installed-dev ## beside faster-whisper and pocketsphinx, if installed (see benchmarks/rivals.py)
	$(BIN)/python -m benchmarks.rivals --plot benchmarks/rivals.png $(ARGS)

bench-voices: $(VENV)/installed-dev ## voices compared, those that are installed (see benchmarks/voices.py)
	$(BIN)/python -m benchmarks.voices --plot benchmarks/voices.png $(ARGS)

bench: $(VENV)/installed-dev ## all other figures, about half an hour: voice, audio cache, request cost, cleanup, flood, allocator
	-$(BIN)/python -m benchmarks.round_trip --plot benchmarks/round_trip.png
	-$(BIN)/python -m benchmarks.audio_cache
	$(BIN)/python -m benchmarks.request_cost --plot benchmarks/request_cost.png
	-$(BIN)/python -m benchmarks.cleanup_cost
	-$(BIN)/python -m benchmarks.flood
	$(BIN)/python -m benchmarks.allocator --requests 60 --plot benchmarks/allocator.png

soak: $(VENV)/installed-dev ## hours in minutes: mixed requests in a memory cgroup of their own (ARGS="--requests 3000 ...")
	$(BIN)/python -m benchmarks.soak --plot benchmarks/soak.png $(ARGS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
