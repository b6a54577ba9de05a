"""The folder of a run: what is in it, whether it may be used, and what is written there.

`checkpoints/` is the state of the run; everything else is for people and for `bcsim enhance`.
"""

import fcntl
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from bcsim.data.audio import write_audio
from bcsim.data.pairs import Pair
from bcsim.errors import EnvironmentFault, UsageError
from bcsim.extras import require
from bcsim.files import environment_faults, write_text
from bcsim.models.storage import CONFIG_FILE, WEIGHTS_FILE

RECIPE_FILE = "recipe.resolved.yaml"
METRICS_FILE = "metrics.jsonl"
CARD_FILE = "README.md"
LOCK_FILE = ".lock"
CHECKPOINTS, SAMPLES, TENSORBOARD = "checkpoints", "samples", "tensorboard"
_OURS = {
    *(RECIPE_FILE, METRICS_FILE, CARD_FILE, WEIGHTS_FILE, CONFIG_FILE, LOCK_FILE),
    *(CHECKPOINTS, SAMPLES, TENSORBOARD),
}
_FRESH = {RECIPE_FILE, LOCK_FILE}  # may be there before the first step


def check_run_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that a run must not be written to.

    Args:
        out: of the run. It may be missing or empty in any case, so that the same command with
            `--resume` both starts a run and continues it.
        resume: whether to continue the run that is there.

    Raises:
        UsageError: if it is a file, holds a run and `resume` is not set, or holds anything else.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file, where the run's folder should be; choose another --out")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    names = {name for name in names if not name.endswith(".tmp")}
    foreign = sorted(names - _OURS)
    if foreign:
        raise UsageError(f"{out}: holds {foreign[0]!r}, which is of no run; choose another --out")
    if names - _FRESH and not resume:
        raise UsageError(
            f"{out}: already holds a run; continue it with --resume, or choose another"
        )


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from writing to the same run.

    Raises:
        EnvironmentFault: if one already does.
    """
    with environment_faults(out):
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            # Not flock, which loading processes would inherit and hold on to for some seconds
            # after this one was killed.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise EnvironmentFault(
                f"{out}: another process is training there; wait for it, or choose another --out"
            ) from None
        yield
    finally:
        os.close(handle)


class MetricsLog:
    """`metrics.jsonl` and TensorBoard: numbers by `split/metric` at steps.

    Args:
        out: folder of the run.
        last_step: what was written for later steps, by a run that was killed, is dropped.
    """

    def __init__(self, out: Path, last_step: int) -> None:
        require("tensorboard", extra="train")
        from torch.utils.tensorboard import SummaryWriter

        self.path = out / METRICS_FILE
        write_text(self.path, "".join(_lines_up_to(self.path, last_step)))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(out / TENSORBOARD, purge_step=last_step + 1)

    def write(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a line; a value that is not finite becomes null."""
        finite = {
            name: value if value is not None and math.isfinite(value) else None
            for name, value in values.items()
        }
        with environment_faults(self.path):
            self._file.write(json.dumps({"step": step, **finite}) + "\n")
            self._file.flush()
        self.show(step, finite)

    def show(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add to TensorBoard alone, where numbers may depend on the machine and the hour."""
        for name, value in values.items():
            if value is not None:
                self._board.add_scalar(name, value, step)

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        with environment_faults(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close both."""
        self._file.close()
        self._board.close()


def write_samples(out: Path, number: int, pair: Pair, enhanced: Tensor, step: int) -> None:
    """Write the audio of one validation item: bone and air once, the enhanced one at every step."""
    name = f"{number:02d}_{re.sub(r'[^A-Za-z0-9-]+', '_', pair.id)[-60:]}"
    folder = out / SAMPLES
    for role, signal in (("bone", pair.bone), ("air", pair.air)):
        path = folder / f"{name}.{role}.flac"
        if not path.exists():
            write_audio(path, signal.numpy(), pair.sample_rate)
    path = folder / f"{name}.enhanced.step_{step:08d}.flac"
    write_audio(path, enhanced.numpy(), pair.sample_rate)


def write_card(out: Path, config: Mapping[str, Any]) -> None:
    """Write the model card, from what `config.json` says of the exported model."""
    facts = config["facts"]
    latency_ms = 1000 * config["latency_samples"] / config["sample_rate"]
    lines = [
        f"# {config['model']['name']}, trained with bcsim {config['bcsim_version']}",
        "",
        "Turns the signal of a body-conduction sensor into speech as a microphone would have "
        "heard it.",
        "",
        f"- Input: {', '.join(config['channels'])}, {config['sample_rate']} Hz. Output: one "
        "channel of the same length.",
        f"- {config['num_parameters']:,} parameters; looks {latency_ms:.1f} ms ahead.",
        f"- Trained on {facts['num_training_items']} pairs for {facts['steps_total']} steps of "
        f"{facts['batch_size']} crops of {facts['crop_s']} s; these weights are from step "
        f"{facts['step']}.",
        f"- Losses: {', '.join(facts['losses'])}. Seed {facts['seed']}.",
        "",
        "Use: `bcsim enhance --model . --in bone.wav --out speech.wav`",
        "",
    ]
    if facts["validation"]:
        lines += [
            f"Means over {facts['num_validation_items']} fixed validation items:",
            "",
            "| | unprocessed | enhanced |",
            "|---|---|---|",
            *(
                f"| {name} | {_number(facts['unprocessed'][name])} | {_number(value)} |"
                for name, value in facts["validation"].items()
            ),
            "",
        ]
    lines += [
        "Whether it works for a sensor, a language or a noise that the pairs did not have is to "
        "be measured before it is relied on. What the training data allow has to be looked up "
        "where they come from.",
        "",
    ]
    write_text(out / CARD_FILE, "\n".join(lines))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _lines_up_to(path: Path, last_step: int) -> Iterator[str]:
    if not path.exists():
        return
    for line in path.read_text("utf-8", errors="replace").splitlines(keepends=True):
        try:
            content = json.loads(line)
        except ValueError:  # torn by a kill; whatever it was is written again
            continue
        if line.endswith("\n") and content["step"] <= last_step:
            yield line
