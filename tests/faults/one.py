"""Makes a corpus and runs commands on it in this process, for those who watch or hinder it.

python tests/faults/one.py FOLDER NUM_FILES OUT...   # a dataset into each OUT, one line a run
"""

import json
import sys
from pathlib import Path

import harness


def main(folder: str, num_files: str, *outs: str) -> None:
    """Print exit code, lines on stderr, and what was wrong with that if it is a fault."""
    air = harness.make_corpus(Path(folder) / "air", int(num_files))
    for out in outs:
        outcome = harness.in_process(harness.synthesize(air, Path(out)))
        told = [outcome.code, "\n".join(outcome.lines), harness.complaints(outcome, Path(out))]
        sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
