"""The corpus of audio: a tree that a careless user might hand to `bcsim synthesize`."""

from pathlib import Path

from tests.hostile.broken_audio import write_broken_audio
from tests.hostile.broken_wav import write_broken_wav
from tests.hostile.case import Case
from tests.hostile.names import write_links, write_names, write_names_of_bad_files
from tests.hostile.valid_audio import write_valid_audio


def write_audio_corpus(folder: Path, canary: Path) -> list[Case]:
    """Write everything that is found below one folder.

    Args:
        folder: the tree; what its links point to lies beside it.
        canary: file that comes to be if code in one of them is run.
    """
    return [
        *write_valid_audio(folder / "valid"),
        *write_broken_wav(folder / "wav"),
        *write_broken_audio(folder / "broken", canary),
        *write_names(folder / "names"),
        *write_names_of_bad_files(folder / "bad names"),
        *write_links(folder / "links", folder.with_name("elsewhere")),
    ]
