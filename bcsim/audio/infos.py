"""What the headers of audio files say, without their samples."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from bcsim.audio.contained import facts_of
from bcsim.audio.read import AudioFile, open_audio
from bcsim.audio.validation.base import AudioInfo
from bcsim.errors import InputError


def audio_info(path: Path) -> AudioInfo | None:
    """Return what the header of a file says, or None if the file cannot be read as audio."""
    return audio_infos([path])[0]


def audio_infos(paths: Iterable[Path]) -> list[AudioInfo | None]:
    """Return the `audio_info` of each of a few files, which are open at the same time."""
    opened: list[AudioFile | None] = []
    with contextlib.ExitStack() as stack:
        for path in paths:
            try:
                opened.append(stack.enter_context(open_audio(path)))
            except InputError:
                opened.append(None)
        asked = [(k, each) for k, each in enumerate(opened) if each and not each.is_open]
        found = facts_of([audio.file for _, audio in asked])
        for (place, audio), facts in zip(asked, found, strict=True):
            try:
                audio.check_facts(facts)
            except InputError:
                opened[place] = None
        return [None if audio is None else audio.info for audio in opened]
