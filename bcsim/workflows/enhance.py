"""`bcsim enhance`: a trained enhancer on recordings of the sensor."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import bcsim
from bcsim.audio.folder import audio_files
from bcsim.audio.read import AudioFile
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import environment_faults, sweep_beside, sweep_temporaries
from bcsim.files.failures import FAILURES_NAME, write_failures
from bcsim.files.hashing import hash_file, hash_text
from bcsim.files.paths import check_not_input, printable
from bcsim.files.run_folder import check_disjoint, locked
from bcsim.files.text import parse_json
from bcsim.inference.files import enhance_file, enhance_recordings, open_recordings
from bcsim.models.base import Enhancer
from bcsim.models.storage import BONE_TO_AIR, fingerprint_of, load_enhancer
from bcsim.progress import track
from bcsim.workers.device import choose_device

WRITTEN = {".wav", ".flac"}
NOTES_NAME = ".enhance.jsonl"  # in an output folder: what each file there was made from

log = logging.getLogger(__name__)


@dataclass
class EnhanceResult:
    """What became of the recordings.

    Args:
        written: files that were written, in order.
        kept: files that were there already, made of the same recordings by the same model.
        failures: reasons by path of recordings that were skipped.
    """

    written: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def enhance(
    model: Path, source: Path, out: Path, device: str = "auto", air: Path | None = None
) -> EnhanceResult:
    """Enhance a recording, or every recording below a folder.

    The files have the rate, the channels and the depth of the sensor's recordings: each channel is
    enhanced by itself. A folder that was begun is finished by the same call: files are made anew if
    their recordings, the model or bcsim have changed since.

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
        EnvironmentFault: if another run is writing to the same folder, or the disk is full.
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
        enhance_file(_load(model, device, air is not None), source, air, out)
        return EnhanceResult([out])
    for folder in inputs:
        check_disjoint(folder, out)
    enhancer = _load(model, device, air is not None)
    targets = _targets(source, out)
    with environment_faults(out):
        out.mkdir(parents=True, exist_ok=True)
    with locked(out, out / NOTES_NAME) as notes:
        sweep_temporaries(out, [FAILURES_NAME, *{target.name for target in targets}])
        result = _enhance_folder(enhancer, targets, source, air, _Notes(notes, out, model))
        write_failures(out / FAILURES_NAME, "enhance", result.failures)
    if not (result.written or result.kept):
        raise InputError(f"{source}: none of {len(targets)} recordings can be used")
    return result


def _enhance_folder(
    enhancer: Enhancer, targets: dict[Path, Path], source: Path, air: Path | None, notes: "_Notes"
) -> EnhanceResult:
    result = EnhanceResult()
    for target, path in track(targets.items(), len(targets), "enhancing"):
        partner = None if air is None else air / path.relative_to(source)
        try:
            if partner is not None and not partner.is_file():
                told = f"{partner}: no such recording of the air microphone, to go with {path}"
                raise InputError(told)
            # Opened once: what is enhanced is what was hashed, even if the file is replaced.
            with open_recordings(path, partner) as recordings:
                made_from = notes.made_from(*recordings)
                if notes.tell_of(target) == [made_from, _hash_if_there(target)]:
                    result.kept.append(target)
                    continue
                enhance_recordings(enhancer, *recordings, target)
        except InputError as error:
            result.failures[str(path)] = str(error)
            log.warning("skipped: %s", printable(str(error)))
        else:
            notes.add(target, made_from)
            result.written.append(target)
    return result


class _Notes:
    """A file with a line for every recording that was enhanced: what of, and the result's hash.

    Args:
        file: file that is open for reading and appending.
        out: folder that the results are written to.
        model: folder of the model.
    """

    def __init__(self, file: TextIO, out: Path, model: Path) -> None:
        self._file, self._out = file, out
        self._model = [bcsim.__version__, fingerprint_of(model)]
        self._told: dict[str, list[str | None]] = {}
        file.seek(0)
        line = "\n"
        for line in file:
            try:
                entry = parse_json(line)
            except ValueError:  # a kill came while it was written
                continue
            if isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], str):
                self._told[entry[0]] = entry[1:]
        if not line.endswith("\n"):
            file.write("\n")

    def made_from(self, source: AudioFile, air: AudioFile | None) -> str:
        """Return a hash of everything that decides what a recording becomes."""
        inputs = [source] if air is None else [source, air]
        return hash_text("\n".join([*self._model, *(audio.sha256() for audio in inputs)]))

    def tell_of(self, target: Path) -> list[str | None] | None:
        """Return what a file was made from, and its hash, if it was written."""
        return self._told.get(self._name(target))

    def add(self, target: Path, made_from: str) -> None:
        """Note down a file that has just been written."""
        line = json.dumps([self._name(target), made_from, hash_file(target)])
        with environment_faults(self._out / NOTES_NAME):
            self._file.write(f"{line}\n")
            self._file.flush()

    def _name(self, target: Path) -> str:
        return target.relative_to(self._out).as_posix()


def _hash_if_there(path: Path) -> str | None:
    with environment_faults(path):
        return hash_file(path) if path.is_file() and not path.is_symlink() else None


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
