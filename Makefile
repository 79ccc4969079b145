# `make demo` and `make test` do all their set-up from nothing: Python 3.10+, make and git are enough.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: demo test check clean
.DELETE_ON_ERROR:

# torch goes first and exactly: a range would let pip prefer a newer build with gigabytes of CUDA libraries.
$(STAMP): pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(VENV)/bin/edgeattn compile minilm-hedgehog --target cpu --out build/minilm-hedgehog

test: $(STAMP)
	$(PY) -m pytest -n 2 --dist worksteal

check: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

clean:
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache
