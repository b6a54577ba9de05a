"""The audio files of a folder."""

import logging
import os
from pathlib import Path

from bcsim.audio.validation.containers import CONTAINERS
from bcsim.errors import InputError
from bcsim.files.paths import printable

AUDIO_SUFFIXES = frozenset(suffix for container in CONTAINERS for suffix in container.suffixes)

log = logging.getLogger(__name__)


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files below `folder`, sorted by relative path, whatever the disk's order.

    Links to folders are not followed and hidden files are left out.

    Raises:
        InputError: if the folder is missing or holds no audio.
    """
    return [folder / name for name in audio_names(folder)]


def audio_names(folder: Path) -> list[str]:
    """Return `audio_files` as paths relative to `folder`, which takes a tenth of the memory."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = []
    for parent, folders, names in os.walk(folder, onerror=_warn_of_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(parent).relative_to(folder).as_posix()
        found += [
            name if inside == "." else f"{inside}/{name}"
            for name in names
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith(".")
        ]
    if not found:
        known = " ".join(sorted(AUDIO_SUFFIXES))
        raise InputError(f"{folder}: no audio files in this folder (looked for {known})")
    return sorted(found)


def _warn_of_folder(error: OSError) -> None:
    log.warning("%s: left out (%s)", printable(str(error.filename)), error.strerror)
