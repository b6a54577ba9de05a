"""`bcsim enhance`: a trained enhancer on recordings of the sensor."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.audio.write import write_audio
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import sweep_beside, sweep_temporaries
from bcsim.files.failures import FAILURES_NAME, write_failures
from bcsim.files.paths import check_not_input, printable
from bcsim.files.run_folder import check_disjoint
from bcsim.inference.enhancer import enhance as enhance_samples
from bcsim.models.base import Enhancer
from bcsim.models.storage import BONE_TO_AIR, load_enhancer
from bcsim.progress import track
from bcsim.workflows.synthesize import choose_device

WRITTEN = {".wav", ".flac"}
PEAK = 0.99

log = logging.getLogger(__name__)


@dataclass
class EnhanceResult:
    """What was enhanced.

    Args:
        written: files, in order.
        failures: recordings that could not be used, and why.
    """

    written: list[Path] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def enhance(model: Path, source: Path, out: Path, device: str = "auto") -> EnhanceResult:
    """Enhance a recording, or every recording below a folder.

    Args:
        model: folder of a run.
        source: file or folder of the sensor's recordings; any length, any rate.
        out: file or existing folder for a file, folder for a folder. Files keep their relative
            path; in a folder, what is neither WAV nor FLAC becomes WAV.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: if input and output are or contain each other, or two recordings would be
            written to one file.
        InputError: if the model or a single recording cannot be read, or the model turns air into
            bone.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if not (source.is_file() or source.is_dir()):
        raise InputError(f"{source}: is no recording; give a file or a folder as --in")
    if source.is_file():
        if out.is_dir():
            out /= _written_name(source.name)
        elif not out.suffix:
            out = out.with_suffix(".wav")
        check_not_input(out, [source])
        sweep_beside(out)
        _enhance_file(_load(model, device), source, out)
        return EnhanceResult([out])
    check_disjoint(source, out)
    enhancer = _load(model, device)
    targets = _targets(source, out)
    sweep_temporaries(out, [FAILURES_NAME, *{target.name for target in targets}])
    result = EnhanceResult()
    for target, path in track(targets.items(), len(targets), "enhancing"):
        try:
            _enhance_file(enhancer, path, target)
        except InputError as error:
            result.failures[str(path)] = str(error)
            log.warning("skipped: %s", printable(str(error)))
        else:
            result.written.append(target)
    write_failures(out / FAILURES_NAME, "enhance", result.failures)
    if not result.written:
        raise InputError(f"{source}: none of {len(targets)} recordings can be used")
    return result


def _targets(source: Path, out: Path) -> dict[Path, Path]:
    """Return the recordings below a folder by the file that each is to become."""
    targets: dict[Path, Path] = {}
    for path in audio_files(source):
        target = out / path.relative_to(source)
        target = target.with_name(_written_name(target.name))
        if target in targets:
            raise UsageError(
                f"{targets[target]} and {path} would both become {target}; rename one of them"
            )
        targets[target] = path
    return targets


def _written_name(name: str) -> str:
    # The old suffix stays in the name: a.wav and a.ogg may stand side by side.
    return name if Path(name).suffix.lower() in WRITTEN else f"{name}.wav"


def _load(model: Path, device: str) -> Enhancer:
    enhancer = load_enhancer(model, BONE_TO_AIR).to(choose_device(device))
    enhancer.eval()
    return enhancer


def _enhance_file(enhancer: Enhancer, source: Path, out: Path) -> None:
    samples, sample_rate = read_audio(source)
    enhanced = enhance_samples(enhancer, samples, sample_rate)
    peak = float(np.abs(enhanced).max())
    if peak > 1:
        log.warning("%s: peak at %.1f of full scale; turned down", printable(str(out)), peak)
        enhanced = enhanced * (PEAK / peak)
    write_audio(out, enhanced, sample_rate)
