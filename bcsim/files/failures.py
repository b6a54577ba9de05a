"""`failures.jsonl`: the items that failed and why, one JSON line each."""

from collections.abc import Mapping
from pathlib import Path

from bcsim.errors import InputError
from bcsim.files.paths import printable
from bcsim.files.run_lines import RunLines

FAILURES_NAME = "failures.jsonl"


def write_failures(path: Path, run: str, failures: dict[str, str]) -> None:
    """Write a line for each item that failed, in place of what the same run left there before.

    Args:
        path: path of `failures.jsonl`; see `RunLines`.
        run: name of the run, such as "fit-response throat.sensor".
        failures: reason of the failure by name of the item.
    """
    with RunLines(path, run) as file:
        for source, reason in sorted(failures.items()):
            file.add({"source": printable(source), "error": printable(reason)})


def none_usable(source: object, what: str, failures: Mapping[str, str]) -> InputError:
    """Return what to raise where nothing came out: a result without an item is none.

    Args:
        source: what held the items.
        what: number and kind of the items, such as "3 recordings".
        failures: reason of the failure by name of the item.
    """
    first = next(iter(failures.values()), "there is none")
    return InputError(f"{source}: none of {what} can be used; first: {first}")
