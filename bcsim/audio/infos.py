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
        headers = [audio for audio in opened if audio is not None and not audio.is_open]
        for audio, facts in zip(headers, facts_of([a.file for a in headers]), strict=True):
            try:
                audio.check_facts(facts)
            except InputError:
                opened[opened.index(audio)] = None
        return [None if audio is None else audio.info for audio in opened]
