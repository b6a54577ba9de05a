"""Whether two recordings are what an enhancer of sensor and air microphone was trained on."""

import logging

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.read import AudioFile
from bcsim.datasets.recordings import LENGTH_TOLERANCE_S
from bcsim.dsp.resample import resample
from bcsim.errors import InputError
from bcsim.files.paths import printable
from bcsim.fitting.alignment.align import LARGEST_DELAY_S
from bcsim.fitting.diagnosis.diagnose import examine
from bcsim.fitting.diagnosis.recognition import RELATED_EVIDENCE
from bcsim.sensors.recorded_pair import RecordedPair

EXAMINED_S = 30.0  # of the recordings, from their beginning
RATE = 16_000
REFUSED = ("swapped", "identical")

log = logging.getLogger(__name__)


def check_partner(bone: AudioFile, air: AudioFile) -> None:
    """Check that two recordings are not exchanged, not the same one, and synchronous.

    The first half minute is examined as `bcsim doctor` examines a pair. On 16 throat pairs with
    kitchen or brown noise in air, down to -5 dB, exchanged roles were found in all and claimed in
    none. That the two hold other speech is only warned of: in more noise nothing can be told. Two
    that differ in length are left to whoever enhances them.

    Args:
        bone: recording of the sensor; of several channels the first is examined.
        air: recording of the air microphone.

    Raises:
        InputError: if a recording cannot be read, or the two are not such a pair.
    """
    if abs(air.info.duration_s - bone.info.duration_s) > LENGTH_TOLERANCE_S:
        return
    samples = _beginning(air, mixed=True), _beginning(bone, mixed=False)
    if not all(np.isfinite(part).all() for part in samples):
        return  # which is refused where the samples are enhanced
    examined = examine(RecordedPair(str(bone.name), *samples), RATE)
    refusal, timing = examined.refusal, examined.timing
    both = f"{air.name} and {bone.name}"
    if refusal is not None and refusal.kind in REFUSED:
        raise InputError(f"{both}: {refusal.text}; {refusal.remedy}")
    if refusal is not None and refusal.kind == "unrelated":
        log.warning("%s: the same speech is not found in both", printable(both))
    if refusal is None and timing is not None and timing.evidence > RELATED_EVIDENCE:
        late_s = timing.lag / RATE
        if abs(late_s) > LARGEST_DELAY_S:
            raise InputError(
                f"{both}: bone is {1e3 * late_s:+.0f} ms late; cut both to begin at the same moment"
            )


def _beginning(recording: AudioFile, mixed: bool) -> NDArray[np.float64]:
    """Return the beginning of a recording at 16 kHz, (T,): all channels averaged, or the first."""
    with recording.again(whole=False) as audio:
        rate = audio.info.sample_rate
        frames = audio.read_frames(0, round(EXAMINED_S * rate))
    return resample(frames.mean(axis=1) if mixed else frames[:, 0], rate, RATE)
