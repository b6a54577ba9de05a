"""Two recordings of the same speech: at the air microphone and at the sensor."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RecordedPair:
    """The same speech at the air microphone and at the sensor, as recorded.

    Args:
        name: name of the pair in messages.
        air: (T,), samples of the air channel, full scale at 1.
        bone: (T,), samples of the sensor; the longer channel is cut to the length of the other.
        talker: who speaks, or None where that is unknown.
    """

    name: str
    air: NDArray[np.floating]
    bone: NDArray[np.floating]
    talker: str | None = None
