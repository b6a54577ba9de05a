"""Fails the k-th write, fsync, rename or link of a run, for many k, and looks at what is left.

python tests/faults/shimmed.py --count 60          # k of each kind, the run in one process
python tests/faults/shimmed.py --count 5 --jobs 2  # by the command line and its workers
python tests/faults/shimmed.py --count 60 --kill   # death at the k-th rename, link or removal

Every fault but death has to end in exit code 5 and one line; nothing may stand under a final name
that an undisturbed run would not have put there; and the same command again gives the same tree.
"""

import argparse
import errno
import mmap
import os
import shutil
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import harness
import numpy as np
import torch

from bcsim.models.eben import EBENGenerator
from bcsim.models.storage import save_enhancer

KINDS = ("write", "fsync", "rename", "link", "unlink")
NAMING = KINDS[2:]  # calls that change names, between which a command may die
# Whether all later calls fail as well. A copy that EIO stops at its first byte is tried in another
# way by shutil: only a disk that goes on failing is a fault.
ERRORS = {
    "write": [(errno.ENOSPC, 0), (errno.ENOSPC, 1), (errno.EIO, 1), (errno.EDQUOT, 1)],
    "fsync": [(errno.EIO, 0), (errno.ENOSPC, 1)],
    "rename": [(errno.EROFS, 1), (errno.ENOSPC, 0), (errno.EACCES, 1)],
    "link": [(errno.EMLINK, 0), (errno.EPERM, 1)],
    "unlink": [(errno.EROFS, 1)],
}
KILLED = (0, 0)  # what `shim.c` takes for death
PLAN = struct.Struct(f"{5 + len(KINDS)}q")


class Shim:
    """The plan that `shim.c` reads, in this process and in those that it starts."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._plan = mmap.mmap(file.fileno(), PLAN.size)

    def arm(self, kind: str, which: int, error: int, sticky: int) -> None:
        """Let a call fail, counted from now on."""
        self._plan[:] = PLAN.pack(KINDS.index(kind), which, error, sticky, *[0] * (1 + len(KINDS)))

    def disarm(self) -> None:
        """Let nothing fail, and count from now on."""
        self.arm("write", 0, 0, 0)

    @property
    def failed(self) -> int:
        """How many calls failed."""
        return PLAN.unpack(self._plan)[4]

    def calls(self, kind: str) -> int:
        """Return how many calls there were."""
        return PLAN.unpack(self._plan)[5 + KINDS.index(kind)]


@dataclass(frozen=True)
class Scenario:
    """A command, and what to look at.

    Args:
        command: that writes to a folder.
        kinds: of calls that fail.
        resume: the command that finishes the job, if it is another one.
        ignored: names in the folder that differ from run to run.
        partial: names whose content grows or changes while the command runs.
    """

    command: Callable[[Path], list[str]]
    kinds: tuple[str, ...] = ("write", "fsync", "rename")
    resume: Callable[[Path], list[str]] | None = None
    ignored: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()


def scenarios(root: Path) -> dict[str, Scenario]:
    """Return what can be swept, by name."""
    air = harness.make_corpus(root / "air")
    pairs, model = root / "inputs/pairs", root / "inputs/model"

    def words(*given: object) -> list[str]:
        return [str(word) for word in given]

    def needs_pairs() -> Path:
        if not pairs.is_dir():
            long = harness.make_corpus(root / "long", 4, 3.0)
            assert harness.in_process(harness.synthesize(long, pairs)).code == 0
        return pairs

    def enhance(out: Path) -> list[str]:
        if not model.is_dir():
            torch.manual_seed(0)
            save_enhancer(model, EBENGenerator(width=2, latent=2), {})
        return words("enhance", "--model", model, "--in", air, "--out", out, "--device", "cpu")

    def convert(out: Path) -> list[str]:
        return words("convert", needs_pairs(), "--format", "webdataset", "--out", out)

    def take(out: Path) -> list[str]:
        return words("import", needs_pairs(), "--from", "audiofolder", "--out", out)

    def merge(out: Path) -> list[str]:
        shards = [root / f"inputs/{number}" for number in (1, 2)]
        for number, shard in enumerate(shards, start=1):
            if not shard.is_dir():
                command = [*harness.synthesize(air, shard), "--shard", f"{number}/2"]
                assert harness.in_process(command).code == 0
        return words("merge", out, *shards)

    def fit(out: Path) -> list[str]:
        split = needs_pairs() / "train"
        out.mkdir(exist_ok=True)
        return words(
            *("fit-response", "--air", split / "air", "--bone", split / "bone"),
            *("--out", out / "x.sensor", "--estimator", "power-ratio", "--no-report"),
        )

    def train(out: Path) -> list[str]:
        settings = {
            "model": "{name: eben, width: 2, latent: 2}",
            "losses": "[{name: l1, weight: 1.0}]",
            "data.crop_s": 0.25,
            "data.batch_size": 1,
            "data.num_workers": 0,
            "training.num_steps": 6,
            "training.checkpoint_interval_steps": 2,
            "validation.num_items": 1,
            "validation.interval_steps": 3,
            "validation.num_samples": 1,
        }
        given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        return words(
            "train", "--recipe", "eben-small", "--pairs", needs_pairs(), "--out", out, *given
        )

    changing = ("checkpoints/", "metrics.jsonl", "pace.jsonl", "samples/")
    return {
        "synthesize": Scenario(lambda out: harness.synthesize(air, out)),
        # This sensor leaves air as it is, and half of the files are as they are wanted.
        "copy": Scenario(lambda out: harness.synthesize(air, out, "vibravox_throat")),
        "link": Scenario(
            lambda out: [*harness.synthesize(air, out, "vibravox_throat"), "--air", "link"], KINDS
        ),
        "enhance": Scenario(enhance, partial=(".enhance.jsonl",)),
        "convert": Scenario(convert, partial=(".lock",)),
        "import": Scenario(take, partial=(".lock",)),
        "merge": Scenario(merge, KINDS),
        "fit-response": Scenario(fit),
        "train": Scenario(
            train,
            resume=lambda out: [*train(out), "--resume"],
            ignored=("pace.jsonl", "tensorboard/", "report.html", "lock"),
            partial=changing,
        ),
    }


def sweep(
    shim: Shim,
    root: Path,
    scenario: Scenario,
    kinds: Sequence[str],
    count: int,
    jobs: int | None,
    kill: bool,
) -> tuple[int, int]:
    """Fail `count` calls of every kind, or die there, one a run; print what was wrong.

    Returns:
        How many faults were survived, and how many there were.
    """

    def run(words: list[str]) -> harness.Outcome:
        if jobs is None:
            return harness.forked(words) if kill else harness.in_process(words)
        return harness.as_users_do([*words, "--jobs", str(jobs)], os.environ["LD_PRELOAD"])

    def look(out: Path) -> dict[str, str]:
        found = harness.tree(out)
        return {name: sha for name, sha in found.items() if not name.startswith(scenario.ignored)}

    def attempt(kind: str, which: int, error: int, sticky: int) -> list[str]:
        out = root / "out"
        shutil.rmtree(out, ignore_errors=True)
        words = scenario.command(out)
        shim.arm(kind, which, error, sticky)
        outcome = run(words)
        failed = shim.failed
        shim.disarm()
        found = []
        if not failed:
            found.append("never came to that call")
        elif kill:
            found += [f"not killed: {outcome}"] * (outcome.code != -signal.SIGKILL)
        elif outcome.code or "link" not in scenario.kinds:  # a link that cannot be is a copy
            found += harness.complaints(outcome, root)
        unlike = harness.torn(out, reference)
        found += [t for t in unlike if not t.startswith(tuple(f"torn: {p}" for p in left_open))]
        if jobs is None and not kill:
            found += harness.temporaries(out)
        again = run((scenario.resume or scenario.command)(out))
        if again.code:
            found.append(f"the command again: {again}")
        return found + harness.differences(look(out), whole) + harness.temporaries(out)

    shim.disarm()
    words = scenario.command(root / "out")
    shim.disarm()
    outcome = run(words)
    assert outcome.code == 0, outcome
    calls = {kind: shim.calls(kind) for kind in kinds}
    reference, whole = harness.tree(root / "out"), look(root / "out")
    left_open = (*scenario.partial, *scenario.ignored)
    survived = total = 0
    for kind in kinds:
        points = np.unique(np.linspace(calls[kind], 1, min(count, calls[kind])).round().astype(int))
        for turn, which in enumerate(points.tolist()):
            error, sticky = KILLED if kill else ERRORS[kind][turn % len(ERRORS[kind])]
            found = attempt(kind, which, error, sticky)
            total += 1
            survived += not found
            what = "killed" if kill else f"{errno.errorcode[error]}, sticky {sticky}"
            name = f"{kind} {which} of {calls[kind]}, {what}"
            for complaint in found:
                sys.stdout.write(f"{name}: {complaint}\n")
    shutil.rmtree(root / "out")
    return survived, total


def main() -> int:
    """Sweep, in a process that `shimmed.py` has loaded the shim into."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="+", default=["synthesize"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    parser.add_argument("--count", type=int, default=60, help="Of each kind.")
    parser.add_argument("--kill", action="store_true", help="Let the command die there.")
    parser.add_argument("--jobs", type=int, help="By the command line; default: in this process.")
    options = parser.parse_args()
    root = Path(os.environ["FAULT_ROOT"])
    shim = Shim(os.environ["FAULT_PLAN"])
    shim.disarm()
    known, all_survived = scenarios(root), True
    for name in options.scenario:
        tried = NAMING if options.kill else known[name].kinds
        kinds = [kind for kind in tried if kind in (options.kinds or KINDS)]
        survived, total = sweep(
            shim, root, known[name], kinds, options.count, options.jobs, options.kill
        )
        sys.stdout.write(f"{name}: {survived} of {total}\n")
        all_survived &= survived == total
    return 0 if all_survived else 1


if __name__ == "__main__":
    sys.exit(main())
