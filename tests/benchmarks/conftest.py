"""Benchmarks are scripts, not modules: loaded by path."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from bcsim.workers.pool import Workers

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def load_benchmark(load_script) -> Callable[[str], ModuleType]:
    return lambda name: load_script(FOLDER / f"{name}.py")


@pytest.fixture
def run_benchmark(load_benchmark, monkeypatch) -> Callable[..., str]:
    """Return a function that runs a benchmark and returns what it prints.

    All in this process, its workers and the runs that it gives processes of their own as well: how
    fast things are is not tested, and the start of a process takes seconds.
    """

    def printed(main: Callable[[], object], *options: object) -> str:
        with monkeypatch.context() as patched, contextlib.redirect_stdout(io.StringIO()) as stdout:
            patched.setattr(sys, "argv", ["benchmark", *map(str, options)])
            main()
        return stdout.getvalue()

    def run(name: str, *options: object) -> str:
        module = load_benchmark(name)

        def here(command: list[object], **_: object) -> subprocess.CompletedProcess[str]:
            assert [str(word) for word in command[:2]] == [sys.executable, module.__file__]
            return subprocess.CompletedProcess([], 0, printed(module.main, *command[2:]))

        if hasattr(module, "subprocess"):
            instead = SimpleNamespace(run=here, PIPE=subprocess.PIPE)
            monkeypatch.setattr(module, "subprocess", instead)
        if hasattr(module, "Workers"):
            monkeypatch.setattr(module, "Workers", lambda *_, **__: Workers())
        return printed(module.main, *options)

    return run
