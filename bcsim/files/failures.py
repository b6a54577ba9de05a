"""`failures.jsonl`: the items that failed and why, one JSON line each."""

import json
from pathlib import Path
from typing import Any

from bcsim.files.atomic import environment_faults, write_text
from bcsim.files.paths import printable

FAILURES_NAME = "failures.jsonl"


def write_failures(path: Path, run: str, failures: dict[str, str]) -> None:
    """Write a line for each item that failed, in place of what the same run left there before.

    Lines of other runs, and lines that are not bcsim's, stay as they are. A file without any line
    left is removed.

    Args:
        path: path of `failures.jsonl`.
        run: name of the run, such as "fit-response throat.sensor".
        failures: reason of the failure by name of the item.
    """
    with environment_faults(path):
        before = path.read_text("utf-8", "surrogateescape") if path.is_file() else ""
        kept = [line for line in before.splitlines() if _run_of(line) != run]
        entries = [
            {"run": run, "source": printable(source), "error": printable(reason)}
            for source, reason in sorted(failures.items())
        ]
        lines = kept + [json.dumps(entry, ensure_ascii=False) for entry in entries]
        text = "".join(f"{line}\n" for line in lines)
        if text == before:
            return
        if not lines:
            path.unlink()
            return
    write_text(path, text)


def _run_of(line: str) -> Any:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry.get("run") if isinstance(entry, dict) else None
