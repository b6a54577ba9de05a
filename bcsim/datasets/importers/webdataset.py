"""WebDataset shards: `KEY.air.flac`, `KEY.bone.flac` and `KEY.json` in tar files.

Nothing is unpacked by the names that a tar holds: members are read where they lie.
"""

import io
import json
import logging
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, ClassVar
from urllib.parse import unquote

from bcsim.audio.folder import AUDIO_SUFFIXES, OTHER_SUFFIXES
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import (
    FoundPair,
    Importer,
    Recording,
    find_files,
    pairs_of_parts,
    part_of,
)
from bcsim.datasets.lists import name_of, speaker_of, split_told
from bcsim.datasets.manifest import SIGNALS
from bcsim.datasets.told_facts import NOTHING_TOLD, Told
from bcsim.errors import InputError
from bcsim.files import gzip_file
from bcsim.files.opening import FileState, check_state, most_expanded, open_regular, state_of
from bcsim.files.paths import printable
from bcsim.files.tar_file import Member, tar_members
from bcsim.files.text import reason_of

_PLACES = ("", "*/", "*/*/", "*/*/*/")
_PATTERNS = tuple(f"{place}*.{end}" for place in _PLACES for end in ("tar", "tar.gz", "tgz"))
_PACKED_OTHERWISE = ("*.tar.xz", "*.tar.bz2", "*.tar.zst", "*.txz", "*.tbz2")
_SOUND = AUDIO_SUFFIXES | OTHER_SUFFIXES  # of which some cannot be read, and are named
_MAX_JSON_BYTES = 1 << 20
_MAX_MEMBER_BYTES = 2 << 30
_GZIP = b"\x1f\x8b"
_LOOKED_AT = 1000  # members from which a shard is recognised

log = logging.getLogger(__name__)


@dataclass
class _Sample:
    """The recordings of one key by role, and what is wrong with them."""

    recordings: dict[str, Recording] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class _Facts:
    """What the JSON of a key says; the rest of it is not kept."""

    id: str | None = None
    speaker: str | None = None
    split: str | None = None
    told: Told = NOTHING_TOLD


@IMPORTERS.register("webdataset")
class WebDataset(Importer):
    """The last part of a member's name before the ending is the role, in capitals or not.

    With roles of channels, every member that is audio holds a pair.
    """

    defaults: ClassVar[Mapping[str, str]] = {role: role for role in SIGNALS}
    takes_channels: ClassVar[bool] = True

    def recognises(self, source: Path) -> bool:
        seen: list[str] = []
        broken = None
        for path, _ in find_files(source, *_PATTERNS):
            try:
                for member, _ in islice(_members(path), _LOOKED_AT):
                    if self._role_and_key(member.name)[0] is not None:
                        return True
                    seen.append(member.name)
            except InputError as error:
                broken = broken or error
        if broken:
            raise broken
        if seen:
            raise InputError(f"{source}: holds members such as {seen[0]!r}; {self._wanted()}")
        for path, _ in find_files(source, *_PACKED_OTHERWISE):
            raise InputError(f"{path}: is packed, and not by gzip; expand it, and give the .tar")
        return False

    def read(self, source: Path) -> list[FoundPair]:
        return pairs_of_parts(source, find_files(source, *_PATTERNS), self._pairs)

    def _pairs(self, path: Path, split: str | None) -> list[FoundPair]:
        samples: dict[str, _Sample] = {}
        facts: dict[str, _Facts | InputError] = {}
        others: list[str] = []
        for member, read in _members(path):
            name = f"{path}: {member.name}"
            role, key = self._role_and_key(member.name)
            if role is None:
                if key is None:
                    others.append(member.name)
                elif member.size > _MAX_JSON_BYTES:
                    facts[key] = InputError(f"{name}: larger than {_MAX_JSON_BYTES} bytes")
                else:
                    facts[key] = _facts(read().read(), name)
                continue
            sample = samples.setdefault(key or "", _Sample())
            roles = self.channel_of if self.channels else {role: None}
            if roles.keys() & sample.recordings.keys():
                sample.problem = f"{name}: is there twice, or in two formats; leave one out"
            for own, channel in roles.items():
                sample.recordings[own] = Recording(name, read, channel=channel)
        if others:
            log.warning(
                "%s: %d members of no role left out, such as %s",
                *(path, len(others), printable(others[0])),
            )
        return [
            replace(
                _found(key, sample, facts.get(key, facts.get(_first_part(key), _Facts())), split),
                part=part_of(path),
            )
            for key, sample in samples.items()
        ]

    def _role_and_key(self, name: str) -> tuple[str | None, str | None]:
        """Return the role of a member and its key; no role for JSON, and neither for others."""
        stem, _, suffix = name.removeprefix("./").rpartition(".")
        if suffix.lower() == "json":
            return None, stem
        if self.channels:
            return ("air", stem) if f".{suffix.lower()}" in _SOUND else (None, None)
        for role, word in sorted(self.roles.items(), key=lambda item: -len(item[1])):
            if stem.lower().endswith(f".{word.lower()}"):
                return role, stem[: -len(word) - 1]
        return None, None

    def _wanted(self) -> str:
        keys = " beside ".join(f"KEY.{self.roles[role]}.flac" for role in ("air", "bone"))
        return f"wants {keys}, or the roles of channels"


def _found(key: str, sample: _Sample, facts: _Facts | InputError, split: str | None) -> FoundPair:
    pair_id = unquote(key)
    if isinstance(facts, InputError):
        return FoundPair(pair_id, {}, split=split, problem=f"{key}.json: {facts}")
    return FoundPair(
        *(pair_id if facts.id is None else facts.id, sample.recordings),
        *(facts.speaker, facts.split or split, sample.problem),
        told=facts.told,
    )


def _members(path: Path) -> Iterator[tuple[Member, partial[BinaryIO]]]:
    """Yield the regular members of a tar file, and for each what opens it.

    Raises:
        InputError: if the file is no tar file, or damaged.
    """
    try:
        known = state_of(path)
        if _is_packed(path):
            content = _expanded(path, known)
            members = tar_members(lambda start, size: content[start : start + size], len(content))
            for member in members:
                yield member, partial(_member, path, known, member.offset, member.size)
            return
        with open_regular(path) as file:
            check_state(file, path, known)

            def read(start: int, size: int) -> bytes:
                file.seek(start)
                return file.read(size)

            for member in tar_members(read, os.fstat(file.fileno()).st_size):
                yield member, partial(_member, path, known, member.offset, member.size)
    except InputError:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: is no tar file ({reason_of(error)}); make it again") from error


def _is_packed(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(2) == _GZIP


@lru_cache(maxsize=1)  # members are asked for in turn, shard by shard
def _expanded(path: Path, known: FileState) -> bytes:
    content = bytearray()
    try:
        with open_regular(path) as raw, gzip_file.expanded(raw, path) as file:
            check_state(raw, path, known)
            most = most_expanded(os.fstat(raw.fileno()).st_size)
            while block := file.read(1 << 20):
                content += block
                if len(content) > most:
                    raise InputError(
                        f"{path}: expands to more than {most} bytes; expand it with gunzip, and "
                        "give the .tar"
                    )
    except gzip_file.ERRORS as error:
        raise InputError(
            f"{path}: cannot be expanded ({reason_of(error)}); copy it again"
        ) from error
    return bytes(content)


def _member(path: Path, known: FileState, offset: int, size: int) -> BinaryIO:
    if size > _MAX_MEMBER_BYTES:
        raise InputError(f"{path}: a member of {size} bytes; at most {_MAX_MEMBER_BYTES} are read")
    if _is_packed(path):
        return io.BytesIO(memoryview(_expanded(path, known))[offset : offset + size])
    with open_regular(path) as file:
        check_state(file, path, known)  # the places are those of its members then
        file.seek(offset)
        return io.BytesIO(file.read(size))


def _facts(content: bytes, name: str) -> _Facts | InputError:
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError):
        return InputError(f"{name}: is no JSON")
    if not isinstance(facts, dict):
        return _Facts()
    try:
        pair_id, split = name_of(facts.get("id")), split_told(facts)
        return _Facts(pair_id, speaker_of(facts), split, Told.of(facts))
    except InputError as error:
        return error


def _first_part(key: str) -> str:
    """Return the key as the webdataset library has it: up to the first dot."""
    folder, slash, base = key.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"
