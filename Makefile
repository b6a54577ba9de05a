PYTHON ?= python3
BIN := .venv/bin


.PHONY: test lint types audit lock demo clean

# One thread a process: tests run processes side by side, and on two cores threads would wait. Each
# process compiles all of bcsim, a fifth of its start, unless the first one may keep the bytecode.
# Tests are dealt out by files, so that the fixtures of a module are made once, and in the order of
# collection, whose last files are short.
test: export OMP_NUM_THREADS := 1
test: export PYTHONDONTWRITEBYTECODE :=
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

# Known vulnerabilities in what the lock file names.
audit: .venv/installed
	$(BIN)/python .ci/audit.py

# To take newer versions, delete their lines in the lock file first, or all of it. Wants a .venv.
lock:
	$(BIN)/python .ci/lock.py

# Exactly the files whose hashes are in the lock file, then bcsim itself, editable. pesq comes as
# source: it is built by what was installed before it, so that nothing comes in without a hash.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	sed '/^pesq==/,/[^\\]$$/d' requirements.lock | $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --require-hashes --only-binary :all: -r /dev/stdin
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--no-build-isolation -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv build dist demo_out *.egg-info
