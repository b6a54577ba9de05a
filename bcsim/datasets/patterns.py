"""Patterns of paths: what stands for their wildcards tells which files belong together."""

import os
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bcsim.audio.folder import list_audio, without_audio_suffix
from bcsim.errors import InputError

_WILDCARDS = re.compile(r"\*\*/|\*|\?|\[[^/\]]+\]")
_GROUPS = {"**/": r"((?:.*/)?)", "*": r"([^/]*)", "?": r"([^/])"}


@dataclass(frozen=True)
class Pattern:
    """A pattern of paths of audio files.

    Args:
        text: pattern as it was given, for messages.
        folder: folder before the first wildcard.
        expression: expression that the paths below the folder fit, with a group a wildcard.
        joints: text between each wildcard and the next.
    """

    text: str
    folder: Path
    expression: re.Pattern[str]
    joints: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "Pattern | None":
        """Return the pattern that a path is, or None if it exists or has no wildcard in it."""
        text = path.as_posix()
        if os.path.exists(path) or not _WILDCARDS.search(text):
            return None
        parts = PurePosixPath(text).parts
        fixed = next(k for k, part in enumerate(parts) if _WILDCARDS.search(part + "/"))
        rest = unicodedata.normalize("NFC", "/".join(parts[fixed:]))
        any_ending = rest.endswith(".*") and bool(_WILDCARDS.search(rest[:-2]))
        rest = rest[:-2] if any_ending else rest  # an ending names no pair
        expression, joints, place = "", [], 0
        for match in _WILDCARDS.finditer(rest):
            group = _GROUPS.get(match[0]) or f"({match[0].replace('[!', '[^', 1)})"
            joints.append(rest[place : match.start()])
            expression += re.escape(joints[-1]) + group
            place = match.end()
        expression += re.escape(rest[place:]) + (r"\.[^./]*" if any_ending else "")
        compiled = re.compile(expression, re.DOTALL)
        return cls(text, Path(*parts[:fixed]), compiled, tuple(joints[1:]))

    def files(self) -> dict[str, list[str]]:
        """Return the names of the audio files that fit, below the folder, by the pair's name.

        Raises:
            InputError: if there are none.
        """
        found: defaultdict[str, list[str]] = defaultdict(list)
        for name in list_audio(self.folder).names:
            match = self.expression.fullmatch(unicodedata.normalize("NFC", name))
            if match is not None:
                *groups, last = (group.rstrip("/") for group in match.groups())
                key = [*groups, without_audio_suffix(last)]
                found[self._named(key)].append(name)
        if not found:
            raise InputError(f"{self.text}: no audio file fits this pattern")
        return dict(found)

    def _named(self, groups: list[str]) -> str:
        """Return what stands for the wildcards as one name; folders stay folders."""
        name = groups[0]
        for joint, group in zip(self.joints, groups[1:], strict=True):
            name += ("/" if "/" in joint or not joint else "_") + group
        name = "/".join(part for part in name.split("/") if part)
        return name
