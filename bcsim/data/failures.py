"""What could not be used, and why: one JSON line an item."""

import json
from pathlib import Path

from bcsim.files import environment_faults, printable, write_text

FAILURES_NAME = "failures.jsonl"


def write_failures(path: Path, failures: dict[str, str]) -> None:
    """Write one JSON line for each item that failed; without any, remove what an earlier run left.

    Args:
        path: of the file.
        failures: item to reason.
    """
    with environment_faults(path):
        if not failures:
            path.unlink(missing_ok=True)
            return
    write_text(
        path,
        "".join(
            json.dumps(
                {"source": printable(source), "error": printable(reason)}, ensure_ascii=False
            )
            + "\n"
            for source, reason in sorted(failures.items())
        ),
    )
