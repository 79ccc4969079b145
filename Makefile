# `make demo` and `make test` do all their set-up from nothing: Python 3.11+ with venv, make and git are enough.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
AGAIN := make PYTHON=python3.12 $(MAKECMDGOALS)

.PHONY: demo test slow check clean
.DELETE_ON_ERROR:

# A .venv that a failed attempt left without pip is made again.
# torch goes first and exactly: a range would let pip prefer a newer build with gigabytes of CUDA libraries.
$(STAMP): pyproject.toml
	@$(PY) -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "error: $(PYTHON) cannot make a virtual environment"; \
	  echo "  fix: install Python 3.11 or later, on Debian and Ubuntu with the package python3-venv;"; \
	  echo "       if it has another name: $(AGAIN)"; exit 1; } >&2
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(VENV) has a Python older than 3.11, which the host half of edgeattn needs"; \
	  echo "  fix: make clean; $(AGAIN)"; exit 1; } >&2
	@echo "installing into $(VENV): some minutes, once"
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(VENV)/bin/edgeattn compile minilm-hedgehog --target cpu --out build/minilm-hedgehog

test: $(STAMP)
	$(PY) -m pytest -n 2 --dist worksteal -m "not slow"

slow: $(STAMP)
	$(PY) -m pytest -n 2 --dist worksteal -m slow

check: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

clean:
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache
