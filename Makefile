# make env         build .venv
# make quickstart  train, evaluate and report the embedded dataset
# make test        the tests, minutes
# make test-all    and the slow ones: kills, several processes, long runs
# make parity      against the original implementations, which it installs
# make accelerators  every page's steps through the compilers for GPUs and TPUs, which it installs
# make browser     the pages in Chromium, which must be there (apt-get install chromium)
# make lint, make bench, make clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: env quickstart test test-all parity parity_code accelerators browser lint bench clean

env: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

quickstart: env
	$(BIN)/python -m genre_jax.main --config=configs/quickstart.py --workdir=runs/quickstart

# What these tests compile is not optimised, which takes half the time; slow tests and parity compile as a
# user's run does.
test: env
	XLA_FLAGS="$$XLA_FLAGS --xla_backend_optimization_level=0" $(BIN)/python -m pytest -m "not slow"

test-all: test
	$(BIN)/python -m pytest -m slow

parity: parity_code
	$(BIN)/python -m pytest --override-ini=addopts=-ra --numprocesses=2 --dist=loadfile tests/parity

parity_code: env
	$(BIN)/python -m pip install --quiet -r requirements-parity.txt
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target=$(VENV)/parity_code \
		-r requirements-parity-code.txt

# The compilers (2.7 GB) in an environment of their own, which finds everything else in .venv.
accelerators: .venv-accelerators/installed
	.venv-accelerators/bin/python -m pytest --override-ini=addopts=-ra --numprocesses=2 tests/accelerators

.venv-accelerators/installed: $(VENV)/installed requirements-accelerators.txt
	$(PYTHON) -m venv .venv-accelerators
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > \
		$$(.venv-accelerators/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/venv.pth
	.venv-accelerators/bin/python -m pip install --quiet -r requirements-accelerators.txt
	touch $@

browser: env
	$(BIN)/python -m pip install --quiet -r requirements-browser.txt
	$(BIN)/python -m pytest --override-ini=addopts=-ra --numprocesses=2 --dist=loadfile tests/browser

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: parity_code
	$(BIN)/python -m benchmarks.single_channel_conv
	$(BIN)/python -m benchmarks.frontends
	$(BIN)/python -m benchmarks.models
	$(BIN)/python -m benchmarks.freezing
	$(BIN)/python -m benchmarks.loading
	$(BIN)/python -m benchmarks.sweep

clean:
	rm -rf $(VENV) .venv-accelerators site runs prepared .pytest_cache .ruff_cache
