"""Two recordings of the same sound: at the air microphone and at the sensor."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bcsim.files.findings import Finding


@dataclass(frozen=True, eq=False)
class RecordedPair:
    """The same speech, or the same noise, at the air microphone and at the sensor, as recorded.

    Args:
        name: name of the pair in messages.
        air: (T,), samples of the air channel, full scale at 1.
        bone: (T',), samples of the sensor; either may begin earlier or last longer.
        talker: name of the talker, or None where the talker is not known.
        files: paths of the air file and of the bone file, for messages; None for samples.
        findings: what was noticed about each of the two files, when it was read.
    """

    name: str
    air: NDArray[np.floating]
    bone: NDArray[np.floating]
    talker: str | None = None
    files: tuple[str, str] | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def in_files(self) -> str:
        """Both files in brackets, to be put behind a message; "" for samples."""
        return "" if self.files is None else f" ({' with '.join(self.files)})"
