# make env | quickstart | test | lint | bench | clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: env quickstart test lint bench clean

env: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

quickstart: env
	$(BIN)/python -m genre_jax.main --config=configs/quickstart.py --workdir=runs/quickstart

test: env
	$(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: env
	$(BIN)/python -m benchmarks.single_channel_conv

clean:
	rm -rf $(VENV) runs prepared .pytest_cache .ruff_cache
