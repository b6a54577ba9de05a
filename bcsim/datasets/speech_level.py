"""How loud speech is in a whole file, however long."""

from pathlib import Path

from torch import Tensor

from bcsim.audio.read import read_blocks
from bcsim.dsp.activity import speech_rms_of_blocks
from bcsim.errors import InputError


def speech_level(path: Path, sample_rate: int) -> Tensor:
    """Return the RMS of active speech in a file, (1,), read block by block.

    Args:
        path: path of the recording.
        sample_rate: sample rate in Hz that the recording is read at.

    Raises:
        InputError: if the recording cannot be read, or holds no samples.
    """
    level = speech_rms_of_blocks(read_blocks(path, sample_rate), sample_rate)
    if level is None:
        raise InputError(f"{path}: holds no samples")
    return level
