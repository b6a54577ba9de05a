PYTHON ?= python3
BIN := .venv/bin


.PHONY: test lint types check demo clean

# One thread a process: tests run processes side by side, and on two cores threads would wait.
# Tests are dealt out by files, so that the fixtures of a module are made once, and in the order of
# collection, whose last files are short.
test: export OMP_NUM_THREADS := 1
test: .venv/installed lint types
	bash tests/packaging/use_wheel.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

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
