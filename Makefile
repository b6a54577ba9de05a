PYTHON ?= python3
BIN := .venv/bin
# One thread a process: on two cores, more of them wait for each other.
export OMP_NUM_THREADS := 1

.PHONY: test lint types check demo clean

test: .venv/installed lint types
	bash tests/packaging/use_wheel.sh
	$(BIN)/python -m pytest

demo: .venv/installed
	$(BIN)/bcsim demo --out demo_out

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/basedpyright

# Exactly what is in the lock file, then bcsim itself, editable.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv build dist demo_out *.egg-info
