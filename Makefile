## Both install what they need into .venv, and are quick after that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data/speechocean762/train
ENCODER ?= openai/whisper-base
OUT ?= runs/acoustic
## the second stage: recordings joined to up to 28 s, so that long ones are heard as well as short ones
LONG := --epochs 4 --encoder-lr 4e-5 --head-lr 1e-4 --warmup-steps 30 --join-seconds 28

.PHONY: help run test lint types unit train-acoustic eval-acoustic fit-scores tune-alignment tune-reading bench-corpus bench-voices bench soak clean

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

train-acoustic: $(VENV)/installed-dev ## fine-tune the acoustic model: DATA=folder ENCODER=folder-or-id OUT=folder
	$(BIN)/python -m training.train_acoustic --data $(DATA) --encoder $(ENCODER) --out $(OUT)/short
	$(BIN)/python -m training.train_acoustic --data $(DATA) --encoder $(OUT)/short/model --out $(OUT)/long $(LONG)

eval-acoustic: $(VENV)/installed-dev ## phoneme error rate and correlations on the development speakers: DATA=folder
	$(BIN)/python -m training.fit_scores --data $(DATA) $(ARGS)

fit-scores: $(VENV)/installed-dev ## fit the score rules anew and write them: DATA=folder
	$(BIN)/python -m training.fit_scores --data $(DATA) --write

tune-alignment: $(VENV)/installed-dev ## compare alignment penalties: DATA=folder
	$(BIN)/python -m training.tune_alignment --data $(DATA)

tune-reading: $(VENV)/installed-dev ## compare the costs of changes in what was heard: DATA=folder
	$(BIN)/python -m training.tune_reading --data $(DATA) $(ARGS)

bench-corpus: $(VENV)/installed-dev ## every recording through a running service's HTTP: DATA=folder
	$(BIN)/python -m benchmarks.corpus_over_http --data $(DATA) $(ARGS)

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
