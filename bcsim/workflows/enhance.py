"""`bcsim enhance`: a trained enhancer on recordings of the sensor."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.audio.write import write_audio
from bcsim.datasets.recordings import LENGTH_TOLERANCE_S
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import sweep_beside, sweep_temporaries
from bcsim.files.failures import FAILURES_NAME, write_failures
from bcsim.files.paths import check_not_input, printable
from bcsim.files.run_folder import check_disjoint
from bcsim.inference.enhancer import enhance as enhance_samples
from bcsim.metrics.comparison import SILENCE
from bcsim.models.base import Enhancer
from bcsim.models.storage import BONE_TO_AIR, load_enhancer
from bcsim.progress import track
from bcsim.workflows.device import choose_device

WRITTEN = {".wav", ".flac"}
PEAK = 0.99

log = logging.getLogger(__name__)


@dataclass
class EnhanceResult:
    """Files that were written in order, and reasons by path of recordings that were skipped."""

    written: list[Path] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def enhance(
    model: Path, source: Path, out: Path, device: str = "auto", air: Path | None = None
) -> EnhanceResult:
    """Enhance a recording, or every recording below a folder.

    Args:
        model: folder of a run.
        source: file or folder of the sensor's recordings; any length, any rate.
        out: file or existing folder for a file, folder for a folder. Files keep their relative
            path; in a folder, what is neither WAV nor FLAC becomes WAV.
        device: "auto", "cpu" or "cuda".
        air: file or folder of the noisy air microphone's recordings, for a model that takes it
            too; in a folder each has the relative path of the sensor's recording.

    Raises:
        UsageError: if input and output are or contain each other, two recordings would be
            written to one file, or the model takes other channels than are given.
        InputError: if the model or a single recording cannot be read, the recordings of one name
            differ in length, or the model turns air into bone.
    """
    inputs = [source] if air is None else [source, air]
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: is no recording; give a file or a folder")
    if air is not None and air.is_dir() != source.is_dir():
        raise UsageError(f"{source} and {air}: give two files or two folders")
    if source.is_file():
        if out.is_dir():
            out /= _written_name(source.name)
        elif not out.suffix:
            out = out.with_suffix(".wav")
        check_not_input(out, inputs)
        sweep_beside(out)
        _enhance_file(_load(model, device, air is not None), source, air, out)
        return EnhanceResult([out])
    for folder in inputs:
        check_disjoint(folder, out)
    enhancer = _load(model, device, air is not None)
    targets = _targets(source, out)
    sweep_temporaries(out, [FAILURES_NAME, *{target.name for target in targets}])
    result = EnhanceResult()
    for target, path in track(targets.items(), len(targets), "enhancing"):
        try:
            partner = None if air is None else air / path.relative_to(source)
            _enhance_file(enhancer, path, partner, target)
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


def _load(model: Path, device: str, air_is_given: bool) -> Enhancer:
    enhancer = load_enhancer(model, BONE_TO_AIR)
    if ("air" in enhancer.channels) != air_is_given:
        what = "bone alone" if air_is_given else "bone and air"
        remedy = "leave the air recordings out" if air_is_given else "give air recordings too"
        raise UsageError(f"{model}: the model takes {what}; {remedy}")
    return enhancer.to(choose_device(device)).eval()


def _read_air(path: Path, bone: Path, num_samples: int, sample_rate: int) -> NDArray[np.float64]:
    """Return the recording of the air microphone at the sensor's rate and length."""
    if not path.is_file():
        raise InputError(f"{path}: no such recording of the air microphone, to go with {bone}")
    air, _ = read_audio(path, sample_rate)
    if abs(len(air) - num_samples) > LENGTH_TOLERANCE_S * sample_rate:
        raise InputError(
            f"{path}: lasts {len(air) / sample_rate:.2f} s, {bone} {num_samples / sample_rate:.2f} "
            "s; give recordings of the same speech, cut alike"
        )
    return np.pad(air[:num_samples], (0, max(0, num_samples - len(air))))


def _enhance_file(enhancer: Enhancer, source: Path, air: Path | None, out: Path) -> None:
    bone, sample_rate = read_audio(source)
    partner = None if air is None else _read_air(air, source, len(bone), sample_rate)
    try:
        enhanced = enhance_samples(enhancer, bone, sample_rate, partner)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    peak = float(np.abs(enhanced).max())
    if peak < SILENCE <= float(np.abs(bone).max()):
        log.warning("%s: the model's output is silent", printable(str(out)))
    if peak > 1:
        log.warning("%s: peak at %.1f of full scale; turned down", printable(str(out)), peak)
        enhanced = enhanced * (PEAK / peak)
    write_audio(out, enhanced, sample_rate)
