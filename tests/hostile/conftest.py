"""What the tests of hostile input share; the modules here are imported as `tests.hostile.NAME`."""

import hashlib
import importlib
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.fixture
def bcsim(monkeypatch, capsys, caplog) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; returns exit code, stdout and stderr with all warnings."""
    run = importlib.import_module("bcsim_cli.main").run

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bcsim", *map(str, arguments)])
        caplog.clear()
        code = run()
        shown = capsys.readouterr()
        return code, shown.out, "\n".join([*caplog.messages, shown.err])

    return call


@pytest.fixture(scope="session")
def fingerprint() -> Callable[[Path], dict[str, str]]:
    """What every name below a folder is: the hash of a file, the target of a link, or its kind."""

    def of(path: Path) -> str:
        if path.is_symlink():
            return f"to {path.readlink()}"
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return f"{mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        return f"{mode:o}"

    return lambda folder: {str(path): of(path) for path in sorted(folder.rglob("*"))}
