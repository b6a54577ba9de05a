"""`bcsim enhance`: a trained enhancer on recordings of the sensor."""

import filecmp
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import bcsim
from bcsim.audio.folder import audio_files, list_audio
from bcsim.audio.read import AudioFile, open_audio
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import environment_faults, sweep_beside, sweep_temporaries
from bcsim.files.failures import FAILURES_NAME, none_usable, write_failures
from bcsim.files.findings import (
    Finding,
    FoundInRecordings,
    collecting,
    facts_of,
    finding_of,
    note,
)
from bcsim.files.hashing import hash_file, hash_text
from bcsim.files.outputs import check_output_file, check_output_folder, check_targets
from bcsim.files.paths import printable
from bcsim.files.run_folder import locked
from bcsim.files.text import parse_json
from bcsim.files.tree import make_folders
from bcsim.inference.files import enhance_file, enhance_recordings, open_recordings
from bcsim.models.base import Enhancer
from bcsim.progress import track
from bcsim.workers.device import choose_device
from bcsim.workflows.enhancers import FoundEnhancer, find_enhancer

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
    model: str | Path,
    source: Path,
    out: Path,
    device: str = "auto",
    air: Path | None = None,
    overwrite: bool = False,
) -> EnhanceResult:
    """Enhance a recording, or every recording below a folder.

    The files have the rate, the channels and the depth of the sensor's recordings: each channel is
    enhanced by itself. A folder that was begun is finished by the same call: files are made anew if
    their recordings, the model or bcsim have changed since.

    Args:
        model: folder of a run, or "inverse:" before a sensor: its file or the name of a bundled
            one, the inverse of whose response is taken.
        source: file or folder of the sensor's recordings; any length, any rate.
        out: file or existing folder for a file, folder for a folder. Files keep their relative
            path; in a folder, what is neither WAV nor FLAC becomes WAV.
        device: "auto", "cpu" or "cuda".
        air: file or folder of the noisy air microphone's recordings, for a model that takes it
            too; in a folder each has the relative path of the sensor's recording.
        overwrite: whether files may be replaced that this did not write: those that `out` holds
            without a note of them, and a single file that holds anything else than the result.

    Raises:
        UsageError: if input and output are or contain each other, an output is below a link or
            somebody else's, two recordings would be written to one file, or the model takes other
            channels than are given.
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
        return _enhance_single(model, source, out, device, air, overwrite)
    check_output_folder(out, inputs, overwrite=True, links_below=True)
    found = find_enhancer(model)
    enhancer = _ready(found, model, device, air is not None)
    targets = _targets(source, out)
    _check_targets(out, targets, air and [air / name for name in list_audio(air).names], overwrite)
    with environment_faults(out):
        make_folders(out)
    with locked(out, out / NOTES_NAME) as notes:
        sweep_temporaries(out, [FAILURES_NAME, *{target.name for target in targets}])
        result = _enhance_folder(
            enhancer, targets, source, air, _Notes(notes, out, found.fingerprint)
        )
        write_failures(out / FAILURES_NAME, "enhance", result.failures)
    if not (result.written or result.kept):
        raise none_usable(source, f"{len(targets)} recordings", result.failures)
    return result


def _enhance_single(
    model: str | Path, source: Path, out: Path, device: str, air: Path | None, overwrite: bool
) -> EnhanceResult:
    found = find_enhancer(model)
    inputs = [source, air, *found.files]

    def check_what_is_there(written: Path) -> None:
        """Refuse to replace anything but the same: no file tells who wrote it."""
        check_output_file(out, inputs, partial(filecmp.cmp, written, shallow=False), overwrite)

    check_output_file(out, inputs, partial(_may_come_of, source), overwrite)
    sweep_beside(out)
    enhancer = _ready(found, model, device, air is not None)
    enhance_file(enhancer, source, air, out, check_what_is_there)
    return EnhanceResult([out])


def _may_come_of(source: Path, out: Path) -> bool:
    """Tell by the headers whether a file may be what a recording becomes."""
    try:
        with open_audio(source, whole=False) as recording, open_audio(out, whole=False) as there:
            facts = [
                (f.info.sample_rate, f.info.channels, f.info.frames) for f in (recording, there)
            ]
    except InputError:
        return False
    return facts[0] == facts[1]


def _check_targets(
    out: Path, targets: dict[Path, Path], air: Sequence[Path] | None, overwrite: bool
) -> None:
    """Check the files that are to be written below a folder, before anything is written."""
    notes = out / NOTES_NAME
    check_targets(out, [notes, out / FAILURES_NAME], targets.values(), lambda _: True)
    noted: set[str] = set()
    if notes.is_file():
        with environment_faults(notes), notes.open(errors="replace") as file:
            noted = {name for name, *_ in _noted(file)}
    check_targets(
        out,
        targets,
        [*targets.values(), *(air or ())],
        lambda path: path.relative_to(out).as_posix() in noted,
        overwrite,
    )


def _noted(file: TextIO) -> Iterator[tuple[str, str, str, Any]]:
    """Yield the notes in a file.

    Yields:
        The name of an output, what it was made from, its hash, and what was found about the
        recordings, a list of each; None in notes from before these were noted.
    """
    for line in file:
        try:
            entry = parse_json(line)
        except ValueError:  # a kill came while it was written
            continue
        if isinstance(entry, list) and [*map(type, entry[:3])] == [str] * 3 and len(entry) < 5:
            name, made_from, digest, *found = entry
            yield name, made_from, digest, found[0] if found else None


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
                there = _hash_if_there(target)
                if notes.tells_of(target, made_from, there):
                    notes.tell_again(target, made_from, there, recordings)
                    result.kept.append(target)
                    continue
                with collecting() as found:
                    # Noted first: a run that is killed behind the renaming has to know its file.
                    note_down = partial(notes.add, target, made_from, found, recordings)
                    enhance_recordings(enhancer, *recordings, target, note_down)
            for name in found.by_name:
                note(name, found.of(name))
        except InputError as error:
            result.failures[str(path)] = str(error)
            log.warning("skipped: %s", printable(str(error)))
        else:
            result.written.append(target)
    return result


class _Notes:
    """A file with a line for every recording that was enhanced: what of, and the result's hash.

    Args:
        file: file that is open for reading and appending.
        out: folder that the results are written to.
        fingerprint: hash of the model.
    """

    def __init__(self, file: TextIO, out: Path, fingerprint: str) -> None:
        self._file, self._out = file, out
        self._model = [bcsim.__version__, fingerprint]
        file.seek(0)
        self._found: dict[tuple[str, str, str | None], Any] = {
            (name, made_from, digest): found for name, made_from, digest, found in _noted(file)
        }
        file.buffer.seek(0)
        content = file.buffer.read()
        file.buffer.truncate(content.rfind(b"\n") + 1)  # a kill came while a line was written

    def made_from(self, source: AudioFile, air: AudioFile | None) -> str:
        """Return a hash of everything that decides what a recording becomes."""
        inputs = [source] if air is None else [source, air]
        return hash_text("\n".join([*self._model, *(audio.sha256() for audio in inputs)]))

    def tells_of(self, target: Path, made_from: str, digest: str | None) -> bool:
        """Tell whether a file with this SHA-256 was made from just that."""
        return (self._name(target), made_from, digest) in self._found

    def tell_again(
        self,
        target: Path,
        made_from: str,
        digest: str | None,
        recordings: Sequence[AudioFile | None],
    ) -> None:
        """Hand on what was found about the recordings of a file that is kept."""
        found = self._found[self._name(target), made_from, digest]
        for number, recording in enumerate(recordings):
            if recording is not None:
                known = _findings_in(found, number)
                if known is None:
                    recording.look_through()
                else:
                    note(recording.name, known)

    def add(
        self,
        target: Path,
        made_from: str,
        found: FoundInRecordings,
        recordings: Sequence[AudioFile | None],
        written: Path,
    ) -> None:
        """Note down a file that has been written, and is about to get its name."""
        told = self._name(target), made_from, hash_file(written)
        if told in self._found:  # by a run that was killed before the renaming
            return
        names = [str(recording.name) for recording in recordings if recording is not None]
        self._found[told] = [[*map(facts_of, found.of(name))] for name in names]
        line = json.dumps([*told, self._found[told]])
        with environment_faults(self._out / NOTES_NAME):
            self._file.write(f"{line}\n")
            self._file.flush()

    def _name(self, target: Path) -> str:
        return target.relative_to(self._out).as_posix()


def _findings_in(noted: Any, number: int) -> list[Finding] | None:
    """Return the findings of a recording in a note, or None where it does not hold them."""
    try:
        found = [*map(finding_of, noted[number])]
    except (TypeError, IndexError):
        return None
    known = [finding for finding in found if finding is not None]
    return known if len(known) == len(found) else None


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


def _ready(found: FoundEnhancer, model: str | Path, device: str, air_is_given: bool) -> Enhancer:
    """Return the enhancer on its device, if it takes the channels that are given."""
    enhancer = found.enhancer
    if ("air" in enhancer.channels) != air_is_given:
        what = "bone alone" if air_is_given else "bone and air"
        remedy = "leave the air recordings out" if air_is_given else "give air recordings too"
        raise UsageError(f"{model}: the model takes {what}; {remedy}")
    return enhancer.to(choose_device(device))
