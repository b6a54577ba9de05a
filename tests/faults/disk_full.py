"""Runs out of room, on a real file system in memory, at sizes from nothing to almost enough.

python tests/faults/disk_full.py --count 20           # the run in this process
python tests/faults/disk_full.py --count 20 --jobs 2  # by the command line and its workers

Each time: exit code 5, and one line that says where, how much is needed and how much is free; no
torn file; and once there is room, the same command gives the tree of an undisturbed run. No attempt
takes much longer than that one did, whatever else the machine is doing. Then the same for a file
system that is read-only from the start, turns read-only when half is done, or has room for no more
files. Mounting takes a user namespace: `unshare -rm` has to be allowed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np

PAGE = 4096
ROOM = "size=64m,nr_inodes=10000"
MOST_TIMES, MOST_MORE_S = 10, 200  # of an undisturbed run, for an attempt

Run = Callable[[list[str]], harness.Outcome]


def mount(options: str, disk: Path) -> None:
    """Mount a file system in memory, or change the one that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)


def attempt(
    run: Run, words: list[str], disk: Path, whole: dict[str, str], latest_s: float, *faults: str
) -> list[str]:
    """Run a command under one mount after the other, and then with room; say what went wrong."""
    out, found = disk / "out", []
    mount(faults[0], disk)
    try:
        for turn, options in enumerate(faults):
            if turn:
                mount(f"remount,{options}", disk)
            before = time.monotonic()
            found += harness.complaints(run(words), disk)
            if time.monotonic() - before > latest_s:
                found.append(f"took more than {latest_s:.0f} s")
            found += harness.torn(out, whole)
        mount(f"remount,rw,{ROOM}", disk)
        again = run(words)
        if again.code:
            found.append(f"the command again: {again}")
        found += harness.differences(harness.tree(out), whole)
        return found + harness.temporaries(out)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def main() -> int:
    """Fill disks, in a namespace of our own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--jobs", type=int, help="By the command line; default: in this process.")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is None:
        with tempfile.TemporaryDirectory() as name:
            inner = ["unshare", "-rm", sys.executable, *sys.argv, "--folder", name]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            return subprocess.run(inner, env=environment, check=False).returncode
    folder = options.folder.resolve()
    disk = folder / "disk"
    disk.mkdir()
    air = harness.make_corpus(folder / "air")

    def run(words: list[str]) -> harness.Outcome:
        if options.jobs is None:
            return harness.in_process(words)
        return harness.as_users_do([*words, "--jobs", str(options.jobs)])

    before = time.monotonic()
    undisturbed = run(harness.synthesize(air, folder / "reference"))
    assert undisturbed.code == 0, undisturbed
    latest_s = MOST_TIMES * (time.monotonic() - before) + MOST_MORE_S
    whole = harness.tree(folder / "reference")
    files = [path for path in (folder / "reference").rglob("*") if path.is_file()]
    pages = sum(-(-path.stat().st_size // PAGE) for path in files)
    # The journal stands there as well until the end: with these sizes it is never enough.
    sizes = np.linspace(1, pages - 1, options.count).round().astype(int)
    faults = [(f"size={size * PAGE}",) for size in sizes.tolist()]
    faults += [("ro",), (f"size={pages // 2 * PAGE}", "ro"), ("nr_inodes=2",), ("nr_inodes=20",)]
    survived = 0
    for mounts in faults:
        words = harness.synthesize(air, disk / "out")
        found = attempt(run, words, disk, whole, latest_s, *mounts)
        survived += not found
        for complaint in found:
            sys.stdout.write(f"{mounts}: {complaint}\n")
    sys.stdout.write(f"disk full: {survived} of {len(faults)}\n")
    return 0 if survived == len(faults) else 1


if __name__ == "__main__":
    sys.exit(main())
