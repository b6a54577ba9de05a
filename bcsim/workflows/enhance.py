"""`bcsim enhance`: a trained enhancer on recordings of the sensor."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bcsim.data.audio import audio_files, read_audio, write_audio
from bcsim.data.failures import FAILURES_NAME, write_failures
from bcsim.data.staging import must_not_contain_each_other
from bcsim.errors import InputError, UsageError
from bcsim.files import printable
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
        out: file for a file, folder for a folder. Files keep their relative path; what is neither
            WAV nor FLAC becomes WAV.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: if input and output contain each other.
        InputError: if the model or a single recording cannot be read, or the model turns air into
            bone.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    enhancer = load_enhancer(model, BONE_TO_AIR).to(choose_device(device))
    enhancer.eval()
    if source.is_file():
        if out.is_dir():
            out = out / source.name
        if out.suffix.lower() not in WRITTEN:
            out = out.with_suffix(".wav") if not out.suffix else out
        if out.resolve() == source.resolve():
            raise UsageError(f"{out}: --out is --in; recordings are never overwritten")
        _enhance_file(enhancer, source, out)
        return EnhanceResult([out])
    must_not_contain_each_other(source, out)
    files = audio_files(source)
    result = EnhanceResult()
    for path in track(files, len(files), "enhancing"):
        target = out / path.relative_to(source)
        if target.suffix.lower() not in WRITTEN:
            # The old suffix stays in the name: a.wav and a.ogg may stand side by side.
            target = target.with_name(f"{target.name}.wav")
        try:
            _enhance_file(enhancer, path, target)
        except InputError as error:
            result.failures[str(path)] = str(error)
            log.warning("skipped: %s", printable(str(error)))
        else:
            result.written.append(target)
    write_failures(out / FAILURES_NAME, "enhance", result.failures)
    if not result.written:
        raise InputError(f"{source}: none of {len(files)} recordings can be used")
    return result


def _enhance_file(enhancer: Enhancer, source: Path, out: Path) -> None:
    samples, sample_rate = read_audio(source)
    enhanced = enhance_samples(enhancer, samples, sample_rate)
    peak = float(np.abs(enhanced).max())
    if peak > 1:
        log.warning("%s: peak at %.1f of full scale; turned down", printable(str(out)), peak)
        enhanced = enhanced * (PEAK / peak)
    write_audio(out, enhanced, sample_rate)
