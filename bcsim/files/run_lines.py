"""JSON lines that several runs write to one file, each in place of its own earlier ones."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from bcsim.files.atomic import environment_faults, replacing


class RunLines:
    """Writer of the lines of a run, one by one: there may be more of them than fit into memory.

    They take the place of those that the same run left in the file before, when the block of its
    `with` ends. Lines of other runs, and lines that are not bcsim's, stay as they are. A file
    without any line left is removed.

    Args:
        path: path of the file of JSON lines.
        run: name of the run, such as "fit-response throat.sensor", which every line has under the
            key "run".

    Raises:
        EnvironmentFault: from any method, if the file cannot be read or written.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path, self._run = path, run
        self._stack = contextlib.ExitStack()
        self._file: TextIO | None = None

    def __enter__(self) -> "RunLines":
        return self

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write the line of an entry, which is as JSON holds it."""
        self._write(json.dumps({"run": self._run, **entry}, ensure_ascii=False) + "\n")

    def __exit__(self, *raised: Any) -> None:
        with environment_faults(self._path):
            if self._file is None and raised[0] is None and self._path.is_file():
                if not any(True for _ in self._others()):
                    self._path.unlink()
                elif any(_run_of(line) == self._run for line in self._there()):
                    self._write("")
        self._stack.__exit__(*raised)

    def _write(self, line: str) -> None:
        if self._file is None:
            temporary = self._stack.enter_context(replacing(self._path))
            self._file = self._stack.enter_context(
                temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="\n")
            )
            self._file.writelines(self._others())
        self._file.write(line)

    def _others(self) -> Iterator[str]:
        for line in self._there():
            if _run_of(line) != self._run:
                yield line if line.endswith("\n") else f"{line}\n"

    def _there(self) -> Iterator[str]:
        """Yield the lines of the file with their ends, if there is one."""
        if self._path.is_file():
            with self._path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
                yield from lines


def _run_of(line: str) -> Any:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):  # somebody else's may be nested without end
        return None
    return entry.get("run") if isinstance(entry, dict) else None
