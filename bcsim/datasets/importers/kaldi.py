"""Kaldi data directories, one for the air microphone and one for the sensor.

A pipe in `wav.scp` is a command, and commands are never run; the one that stands for reading a
FLAC file is recognised, and the file read instead.
"""

import logging
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from bcsim.datasets.exporters.kaldi import FLAC_COMMAND
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, ReadAnew, Recording
from bcsim.datasets.lists import lines_of_list
from bcsim.datasets.manifest import SIGNALS
from bcsim.datasets.speaker_names import known_name
from bcsim.datasets.split_names import split_of_file
from bcsim.datasets.told_facts import Told
from bcsim.errors import InputError
from bcsim.files.paths import printable

_OVERSHOOT_S = 0.5  # what Kaldi's extract-segments allows a segment's end
_CHANNELS = {"A": 0, "B": 1, **{str(number): number for number in range(100)}}

log = logging.getLogger(__name__)


@IMPORTERS.register("kaldi")
class Kaldi(Importer):
    """Folders `SPLIT_air` and `SPLIT_bone`, or `SPLIT/air` and `SPLIT/bone`, with equal ids.

    With roles of channels, each data directory holds pairs.
    """

    defaults: ClassVar[Mapping[str, str]] = {role: role for role in SIGNALS}
    takes_channels: ClassVar[bool] = True

    def recognises(self, source: Path) -> bool:
        folders = _data_folders(source)
        self._check_roles(source, folders)
        return bool(folders)

    def read(self, source: Path) -> Iterable[FoundPair]:
        by_set: dict[str, dict[str, Path]] = {}
        folders = _data_folders(source)
        self._check_roles(source, folders)
        for folder in folders:
            role = self._role_of(folder)
            name = folder.relative_to(source).as_posix()
            if self.channels:
                by_set[name] = dict.fromkeys(self.channel_of, folder)
            elif role is None:
                log.warning("%s: the folder of no role; left out", printable(str(folder)))
            else:
                by_set.setdefault(name.removesuffix(self.roles[role]), {})[role] = folder
        sets = by_set.items()
        return ReadAnew(lambda: (pair for own in sets for pair in self._pairs(*own)))

    def _check_roles(self, source: Path, folders: Sequence[Path]) -> None:
        if self.channels or not folders or any(self._role_of(folder) for folder in folders):
            return
        told = ", ".join(folder.name for folder in folders)
        wanted = " and ".join(f"NAME_{self.roles[role]}" for role in ("air", "bone"))
        raise InputError(
            f"{source}: holds Kaldi's data directories {told}; wants {wanted}, or the names that "
            "stand for air and bone, or the roles of channels"
        )

    def _role_of(self, folder: Path) -> str | None:
        for role in ("noisy_air", "air", "bone"):  # the longer ending first
            ending = self.roles[role]
            if folder.name == ending or folder.name.endswith(f"_{ending}"):
                return role
        return None

    def _pairs(self, name: str, folders: Mapping[str, Path]) -> Iterator[FoundPair]:
        """Yield the pairs of the data directories of each role that have a name in common."""
        by_role = {role: self._recordings(folder, role) for role, folder in folders.items()}
        speakers = _speakers(set(folders.values()))
        for utterance in sorted(set().union(*by_role.values())):
            told = {role: table[utterance] for role, table in by_role.items() if utterance in table}
            who = speakers.get(utterance)
            reasons = [value for value in (*told.values(), who) if isinstance(value, InputError)]
            speaker = who if isinstance(who, str) else None
            yield FoundPair(
                _id_of(utterance, speaker),
                {role: value for role, value in told.items() if isinstance(value, Recording)},
                known_name(None if speaker is None else _text(speaker)),
                split_of_file(name),
                f"{utterance}: {reasons[0]}" if reasons else None,
                part=name.rstrip("_/"),
            )

    def _recordings(self, folder: Path, role: str) -> "_Made":
        """Return the recording of each utterance of a folder, or why there is none."""
        script, channel = folder / "wav.scp", self.channel_of.get(role)
        has_segments = (folder / "segments").is_file()
        durations = _table(folder / "reco2dur")
        if not has_segments:
            durations = _table(folder / "utt2dur") | durations

        def recording(key: str, value: str) -> Recording:
            name = _file_of(value, script)
            # Kaldi's own paths start where it ran; hence beside the data directories, too.
            beside, inside = self.locate(name, folder), self.locate(name, script)
            file = beside if os.path.isfile(beside) else inside
            told = Told.of({"duration_s": durations.get(key)})
            return Recording.of_file(file, channel=channel, told=told)

        def segment(utterance: str, value: str) -> Recording:
            try:
                return _segment(value, recordings)
            except InputError as error:
                raise InputError(f"{folder / 'segments'}: {utterance}: {error}") from None

        recordings = _Made(_table(script), recording)
        return _Made(_table(folder / "segments"), segment) if has_segments else recordings


class _Made(Mapping[str, "Recording | InputError"]):
    """Recordings that are made of the lines of a table when they are asked for.

    Args:
        table: what the table says of each id, or what is wrong with its line.
        make: function that makes a recording of an id and its line.
    """

    def __init__(
        self, table: Mapping[str, str | InputError], make: Callable[[str, str], Recording]
    ) -> None:
        self._table, self._make = table, make

    def __getitem__(self, key: str) -> Recording | InputError:
        value = self._table[key]
        try:
            return value if isinstance(value, InputError) else self._make(key, value)
        except InputError as error:
            return error

    def __contains__(self, key: object) -> bool:
        return key in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def _data_folders(source: Path) -> list[Path]:
    if not source.is_dir():
        return []
    scripts = [*source.glob("*/wav.scp"), *source.glob("*/*/wav.scp")]
    folders = [source, *sorted(script.parent for script in scripts)]
    return [folder for folder in folders if (folder / "wav.scp").is_file()]


def _segment(value: str, recordings: Mapping[str, Recording | InputError]) -> Recording:
    """Return a segment from what `segments` says: recording, start, end and perhaps channel."""
    name, *fields = re.split("[ \t]+", value)
    wants = "wants a recording, a start and an end in seconds, and perhaps a channel"
    try:
        start_s, end_s = (float(text) for text in fields[:2])
    except ValueError:
        raise InputError(f"{wants}, not {value!r}") from None
    if name not in recordings:
        raise InputError(f"recording {name!r} is not in wav.scp")
    recording = recordings[name]
    if isinstance(recording, InputError):
        raise recording
    channel = recording.channel
    if len(fields) > 2:
        if len(fields) > 3 or fields[2] not in _CHANNELS:
            raise InputError(f"{wants} from 0 or A, not {value!r}")
        if channel not in (None, _CHANNELS[fields[2]]):
            raise InputError(f"is of channel {fields[2]}, and the role is of channel {channel}")
        channel = _CHANNELS[fields[2]]
    return replace(
        recording,
        channel=channel,
        start_s=start_s,
        duration_s=None if end_s < 0 else end_s - start_s,
        overshoot_s=_OVERSHOOT_S,
    )


def _speakers(folders: Iterable[Path]) -> dict[str, str | InputError]:
    """Return the speaker of each utterance, as far as `utt2spk` and `spk2utt` tell.

    Where nothing is known of speakers, Kaldi's convention is that every utterance is its own.
    """
    speakers: dict[str, str | InputError] = {}
    readers = {"utt2spk": _table, "spk2utt": _by_utterance}
    paths = [(folder / name, read) for folder in folders for name, read in readers.items()]
    for path, read in paths:
        for utterance, speaker in read(path).items():
            before = speakers.setdefault(utterance, speaker)
            if isinstance(speaker, str) and isinstance(before, str) and before != speaker:
                speakers[utterance] = InputError(
                    f"{path}: the speaker is {speaker!r} here and {before!r} in another table"
                )
    if all(utterance == who for utterance, who in speakers.items()):
        return {}
    return speakers


def _by_utterance(path: Path) -> dict[str, str | InputError]:
    """Return the speaker of each utterance that `spk2utt` lists."""
    speakers: dict[str, str | InputError] = {}
    for speaker, utterances in _table(path).items():
        for utterance in utterances.split() if isinstance(utterances, str) else ():
            if utterance in speakers:
                speakers[utterance] = InputError(f"{path}: {utterance!r} stands there twice")
            else:
                speakers[utterance] = speaker
    return speakers


def _table(path: Path) -> dict[str, str | InputError]:
    """Return what a table says of each id, or what is wrong with its line."""
    table: dict[str, str | InputError] = {}
    for where, line in lines_of_list(path) if path.is_file() else ():
        key, *rest = re.split("[ \t]+", line.strip(" \t\r\n"), maxsplit=1)
        if not key:
            continue
        if key in table:
            table[key] = InputError(f"{where}: {key!r} stands there twice; leave one out")
        else:
            table[key] = rest[0] if rest else InputError(f"{where}: wants an id and a value")
    return table


def _file_of(value: str, script: Path) -> str:
    if not value.endswith("|"):
        return value
    try:
        words = shlex.split(value[:-1])
    except ValueError:
        words = []
    if len(words) == 5 and tuple(words[:4]) == FLAC_COMMAND:
        return words[4]
    raise InputError(
        f"{script}: {value!r} is a command, and none is ever run; write the audio to files first"
    )


def _id_of(utterance: str, speaker: str | None) -> str:
    """Return the id of a pair: the speaker's part of an utterance's name becomes a folder."""
    if speaker is None or not utterance.startswith(f"{speaker}-"):
        return _text(utterance)
    return f"{_text(speaker)}/{_text(utterance.removeprefix(f'{speaker}-'))}"


def _text(token: str) -> str:
    """Undo the encoding of the exporter; other people's names hardly ever look like it.

    Example:
        >>> _text("a=20b"), _text("=C3=BC"), _text("a=b")
        ('a b', 'ü', 'a=b')
    """
    return re.sub(
        "(=[0-9A-F]{2})+",
        lambda match: bytes.fromhex(match[0].replace("=", "")).decode("utf-8", "replace"),
        token,
    )
