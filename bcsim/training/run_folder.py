"""The folder of a run: what is in it, whether it may be used, and what is written there.

`checkpoints/` is the state of the run; everything else is for people and for `bcsim enhance`.
"""

import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from bcsim.audio.write import write_audio
from bcsim.datasets.pairs import Pair
from bcsim.discriminators.storage import CONFIG_FILE as DISCRIMINATOR_CONFIG_FILE
from bcsim.discriminators.storage import WEIGHTS_FILE as DISCRIMINATOR_WEIGHTS_FILE
from bcsim.errors import EnvironmentFault, UsageError
from bcsim.extras import optional_import
from bcsim.files.atomic import environment_faults, is_temporary, write_text
from bcsim.files.text import parse_json
from bcsim.models.storage import AIR_TO_BONE, CONFIG_FILE, WEIGHTS_FILE
from bcsim.training.validation import REAL, SYNTHETIC

RECIPE_FILE = "recipe.resolved.yaml"
METRICS_FILE = "metrics.jsonl"
PACE_FILE = "pace.jsonl"
REPORT_FILE = "report.html"
CARD_FILE = "README.md"
LOCK_FILE = ".lock"
CHECKPOINTS, SAMPLES, TENSORBOARD = "checkpoints", "samples", "tensorboard"
_OURS = {
    *(RECIPE_FILE, METRICS_FILE, PACE_FILE, REPORT_FILE, CARD_FILE, WEIGHTS_FILE, CONFIG_FILE),
    *(DISCRIMINATOR_WEIGHTS_FILE, DISCRIMINATOR_CONFIG_FILE, LOCK_FILE),
    *(CHECKPOINTS, SAMPLES, TENSORBOARD),
}
_KINDS = ("unprocessed", "enhanced", "clean")  # of scores
_FRESH = {RECIPE_FILE, REPORT_FILE, LOCK_FILE}  # may be there before the first step


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
    names = {name for name in names if not is_temporary(name)}
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
    """`metrics.jsonl`, `pace.jsonl` and TensorBoard: numbers by `split/metric` at steps.

    Args:
        out: folder of the run.
        last_step: what was written for later steps, by a run that was killed, is dropped.
    """

    def __init__(self, out: Path, last_step: int) -> None:
        optional_import("tensorboard", extra="train")
        from torch.utils.tensorboard import SummaryWriter

        self.path = out / METRICS_FILE
        self.board_path = out / TENSORBOARD
        with environment_faults(self.board_path):
            self._board = SummaryWriter(self.board_path, purge_step=last_step + 1)
        self._files = {}
        self._hash = hashlib.sha256()
        for path in (self.path, out / PACE_FILE):
            text = "".join(_lines_up_to(path, last_step))
            if path == self.path:
                self._hash.update(text.encode("utf-8"))
            write_text(path, text)
            with environment_faults(path):
                self._files[path.name] = path.open("a", encoding="utf-8")

    @property
    def sha256(self) -> str:
        """The SHA-256 of `metrics.jsonl` as it is now."""
        return self._hash.hexdigest()

    def write(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a line; a value that is not finite becomes null."""
        self._add(METRICS_FILE, step, values)

    def show(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a line of numbers that depend on the machine and the hour, hence to `pace.jsonl`."""
        self._add(PACE_FILE, step, values)

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        with environment_faults(self.path):
            for file in self._files.values():
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close all three."""
        with environment_faults(self.path):
            for file in self._files.values():
                file.close()
        with environment_faults(self.board_path):
            self._board.close()

    def _add(self, name: str, step: int, values: Mapping[str, float | None]) -> None:
        finite = {
            key: value if value is not None and math.isfinite(value) else None
            for key, value in values.items()
        }
        line = json.dumps({"step": step, **finite}) + "\n"
        if name == METRICS_FILE:
            self._hash.update(line.encode("utf-8"))
        with environment_faults(self.path.with_name(name)):
            self._files[name].write(line)
            self._files[name].flush()
        with environment_faults(self.board_path):
            for key, value in finite.items():
                if value is not None:
                    self._board.add_scalar(key, value, step)


def write_samples(
    out: Path,
    number: int,
    pair: Pair,
    enhanced: Tensor,
    step: int,
    split: str = SYNTHETIC,
    reverse: bool = False,
) -> None:
    """Write the audio of one validation item: bone and air once, the enhanced one at every step.

    With `reverse`, what the pair calls air is the sensor's, and the other way round.

    Items of another set than the first begin with its name.
    """
    name = f"{number:02d}_{re.sub(r'[^A-Za-z0-9-]+', '_', pair.id)[-60:]}"
    name = name if split == SYNTHETIC else f"{split}_{name}"
    folder = out / SAMPLES
    bone, air = (pair.air, pair.bone) if reverse else (pair.bone, pair.air)
    for role, signal in (("bone", bone), ("air", air)):
        path = folder / f"{name}.{role}.flac"
        if not path.exists():
            write_audio(path, signal.numpy(), pair.sample_rate)
    path = folder / f"{name}.enhanced.step_{step:08d}.flac"
    write_audio(path, enhanced.numpy(), pair.sample_rate)


def clear_samples(out: Path) -> None:
    """Remove what a run wrote that was killed before its first checkpoint: it is begun anew."""
    with environment_faults(out):
        for kind in ("bone", "air", "enhanced.step_*"):
            for path in (out / SAMPLES).glob(f"*[0-9][0-9]_*.{kind}.flac"):
                path.unlink()


def write_card(out: Path, config: Mapping[str, Any]) -> None:
    """Write the model card, from what `config.json` says of the exported model."""
    facts = config["facts"]
    latency_ms = 1000 * config["latency_samples"] / config["sample_rate"]
    simulates = config["direction"] == AIR_TO_BONE
    purpose = (
        "Turns speech into the signal of a body-conduction sensor."
        if simulates
        else "Turns the signal of a body-conduction sensor into speech as a microphone would have "
        "heard it."
    )
    discriminator = facts["discriminator"]
    against = f", and against the discriminator {discriminator}" if discriminator else ""
    lines = [
        f"# {config['model']['name']}, trained with bcsim {config['bcsim_version']}",
        "",
        purpose,
        "",
        f"- Input: {', '.join(config['channels'])}, {config['sample_rate']} Hz. Output: one "
        "channel of the same length.",
        f"- {config['num_parameters']:,} parameters; looks {latency_ms:.1f} ms ahead.",
        f"- Trained on {facts['num_items']['training']} pairs for {facts['steps_total']} steps of "
        f"{facts['batch_size']} crops of {facts['crop_s']} s; these weights are from step "
        f"{facts['step']}.",
        f"- Losses: {', '.join(facts['losses']) or 'none'}{against}. Seed {facts['seed']}.",
        "",
    ]
    if not simulates:
        lines += ["Use: `bcsim enhance --model . --in bone.wav --out speech.wav`", ""]
    for split, label in ((SYNTHETIC, "validation"), (REAL, "real validation")):
        scores = facts["scores"].get(split)
        if scores:
            lines += [f"Means over {facts['num_scored'][split]} fixed {label} items:", ""]
            lines += [f"| | {' | '.join(_KINDS)} |", "|---|---|---|---|"]
            for name in scores["enhanced"]:
                cells = (_number(scores[kind].get(name)) for kind in _KINDS)
                lines.append(f"| {name} | {' | '.join(cells)} |")
            lines.append("")
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
    if not path.is_file():
        return
    for line in path.read_text("utf-8", errors="replace").splitlines(keepends=True):
        try:
            content = parse_json(line)
        except ValueError:  # torn by a kill; whatever it was is written again
            continue
        step = content.get("step") if isinstance(content, dict) else None
        if line.endswith("\n") and type(step) is int and step <= last_step:
            yield line
