"""The folder of a training run: names of its files, whether it may be used, and its samples.

`checkpoints/` is the state of the run; everything else is for people and for `bcsim enhance`.
"""

import re
from pathlib import Path

from torch import Tensor

from bcsim.audio.write import write_audio
from bcsim.datasets.pairs import Pair
from bcsim.discriminators import storage as discriminators
from bcsim.errors import UsageError
from bcsim.files.atomic import environment_faults, is_temporary
from bcsim.files.failures import FAILURES_NAME
from bcsim.files.findings import FINDINGS_NAME
from bcsim.files.run_folder import LOCK_NAME
from bcsim.models.storage import CONFIG_FILE, WEIGHTS_FILE
from bcsim.training.card import CARD_FILE
from bcsim.training.kept_recorders import SYNCHRONISED_FILE
from bcsim.training.validation import SYNTHETIC

RECIPE_FILE = "recipe.resolved.yaml"
METRICS_FILE = "metrics.jsonl"
SPEED_FILE = "pace.jsonl"
REPORT_FILE = "report.html"
VERDICT_FILE = "verdict.json"
CHECKPOINTS, SAMPLES, TENSORBOARD = "checkpoints", "samples", "tensorboard"
_OF_A_RUN = {
    *(RECIPE_FILE, METRICS_FILE, SPEED_FILE, REPORT_FILE, CARD_FILE, WEIGHTS_FILE, CONFIG_FILE),
    *(discriminators.WEIGHTS_FILE, discriminators.CONFIG_FILE, LOCK_NAME, FINDINGS_NAME),
    *(FAILURES_NAME, SYNCHRONISED_FILE, VERDICT_FILE),
    *(CHECKPOINTS, SAMPLES, TENSORBOARD),
}
# What may be there before the first step.
_BEFORE_A_RUN = {
    *(RECIPE_FILE, REPORT_FILE, LOCK_NAME, FINDINGS_NAME, FAILURES_NAME, SYNCHRONISED_FILE),
}


def check_run_folder(out: Path, resume: bool) -> None:
    """Raise UsageError for a folder that holds anything but a run, or a run without `resume`.

    A folder that is missing or empty is fine with `resume` too: the same command both begins a run
    and resumes it.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file, where the run's folder should be; choose another folder")
    paths = out.iterdir() if out.is_dir() else ()
    names = {path.name for path in paths if not is_temporary(path.name)}
    others = sorted(names - _OF_A_RUN)
    if others:
        raise UsageError(f"{out}: holds {others[0]!r}, which is of no run; choose another folder")
    if names - _BEFORE_A_RUN and not resume:
        raise UsageError(f"{out}: already holds a run; resume it, or choose another folder")


def write_samples(
    out: Path,
    number: int,
    pair: Pair,
    enhanced: Tensor,
    *,
    step: int,
    split: str = SYNTHETIC,
    reverse: bool = False,
) -> None:
    """Write the audio of item `number` of a validation set: its signals once, `enhanced` each step.

    With `reverse` the pair's `air` is the sensor's signal, and its `bone` the microphone's.
    """
    name = f"{number:02d}_{re.sub(r'[^A-Za-z0-9-]+', '_', pair.id)[-60:]}"
    name = name if split == SYNTHETIC else f"{split}_{name}"
    folder = out / SAMPLES
    bone, air = (pair.air, pair.bone) if reverse else (pair.bone, pair.air)
    for role, signal in (("bone", bone), ("air", air), ("noisy_air", pair.noisy_air)):
        path = folder / f"{name}.{role}.flac"
        if signal is not None and not path.exists():
            write_audio(path, signal.numpy(), pair.sample_rate)
    write_audio(
        folder / f"{name}.enhanced.step_{step:08d}.flac", enhanced.numpy(), pair.sample_rate
    )


def clear_samples(out: Path) -> None:
    """Remove the samples of a run that was killed before its first checkpoint."""
    with environment_faults(out):
        for kind in ("bone", "air", "noisy_air", "enhanced.step_*"):
            for path in (out / SAMPLES).glob(f"*[0-9][0-9]_*.{kind}.flac"):
                path.unlink()
