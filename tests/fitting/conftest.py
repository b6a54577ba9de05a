"""Systems whose response is known, and recordings through them: what the fits are held against."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

Samples = NDArray[np.float64]


def speech_like(
    seed: int, sample_rate: int, seconds: float = 4.0, pause_db: float = -80
) -> Samples:
    """Return coloured noise whose level comes and goes as syllables do, with pauses between."""
    generator = np.random.default_rng([seed, 77])
    size = round(seconds * sample_rate)
    time_s = np.arange(size) / sample_rate
    syllables = np.clip(np.sin(2 * np.pi * (3.1 * time_s + generator.uniform())), 0, None)
    phrases = (np.sin(2 * np.pi * (0.45 * time_s + generator.uniform())) > -0.4).astype(float)
    edges = [100, min(3500, 0.45 * sample_rate)]
    colour = signal.butter(1, edges, btype="band", fs=sample_rate)
    carrier = signal.lfilter(*colour, generator.standard_normal(size))
    return 0.2 * carrier * (syllables * phrases + 1e-4)


def two_mass(sample_rate: int) -> tuple[Samples, Samples]:
    """Return b, a of a mass on a spring on a damped moving mass: tissue below, sensor above.

    The transmissibility of two mass-spring-damper stages (resonances at 350 Hz, Q 1.5, and
    1400 Hz, Q 4), made digital by the bilinear transform, which keeps it minimum-phase.
    """
    b: Any = np.ones(1)
    a: Any = np.ones(1)
    for resonance_hz, q in ((350.0, 1.5), (1400.0, 4.0)):
        w = 2 * np.pi * resonance_hz
        # m x'' + c x' + k x = c u' + k u  gives  (s w/Q + w^2)/(s^2 + s w/Q + w^2)
        stage_b, stage_a = signal.bilinear([w / q, w**2], [1, w / q, w**2], fs=sample_rate)
        b, a = np.convolve(b, stage_b), np.convolve(a, stage_a)
    return b, a


def response_of(system: tuple[Samples, Samples], frequencies_hz: Samples, rate: int) -> Samples:
    return signal.freqz(*system, worN=frequencies_hz, fs=rate)[1]


def delayed(samples: Samples, delay: float) -> Samples:
    """Delay by any number of samples, without wrapping round."""
    size = 2 * len(samples)
    phase = np.exp(-2j * np.pi * np.fft.rfftfreq(size) * delay)
    return np.fft.irfft(np.fft.rfft(samples, size) * phase, size)[: len(samples)]


def noise_at(samples: Samples, snr_db: float, seed: int) -> Samples:
    """Return white noise `snr_db` under the power of `samples`."""
    scale = np.sqrt(np.mean(samples**2)) * 10 ** (-snr_db / 20)
    return scale * np.random.default_rng([seed, 5]).standard_normal(len(samples))


def recorded(
    system: tuple[Samples, Samples],
    sample_rate: int,
    count: int = 4,
    delay: float = 0.0,
    polarity: int = 1,
    snr_db: float = 60.0,
    seconds: float = 4.0,
    offsets: tuple[float, ...] = (),
) -> list[RecordedPair]:
    """Return pairs through a system; delays in samples."""
    pairs = []
    for index in range(count):
        air = speech_like(index, sample_rate, seconds)
        bone = signal.lfilter(*system, air)
        bone = bone + noise_at(bone, snr_db, index)
        offset = offsets[index] if offsets else 0.0
        pairs.append(
            RecordedPair(f"pair {index}", air, polarity * delayed(bone, delay + offset), "anna")
        )
    return pairs


SOUND_S = 0.25
SOUND_GAINS_DB = {"vowel": 6.0, "fricative": -8.0}


def two_sounds(seed: int, sample_rate: int, seconds: float) -> tuple[Samples, NDArray[np.int64]]:
    """Return air that alternates between a dull and a bright sound, and which of them, (T,)."""
    generator = np.random.default_rng([seed, 3])
    size = round(seconds * sample_rate)
    colours = [
        signal.butter(1, edges, btype="band", fs=sample_rate, output="sos")
        for edges in ([150, 900], [1500, 5000])
    ]
    dull, bright = (signal.sosfilt(colour, generator.standard_normal(size)) for colour in colours)
    sound = round(SOUND_S * sample_rate)
    which = np.repeat(generator.integers(0, 3, -(-size // sound)), sound)[:size]  # 2 is a pause
    floor = 1e-4 * generator.standard_normal(size)
    return np.where(which == 0, dull, np.where(which == 1, bright, 0.0)) * 0.2 + floor, which


def spoken(
    sample_rate: int,
    count: int = 4,
    seconds: float = 4.0,
    talkers: tuple[str, ...] = ("anna",),
    gains_db: dict[str, float] | None = None,
    snr_db: float = 50.0,
) -> list[RecordedPair]:
    """Return pairs of a sensor whose gain depends on the sound: a low-pass and a gain for each."""
    gains = gains_db or SOUND_GAINS_DB
    system = signal.butter(1, 1200, fs=sample_rate)
    pairs = []
    for index in range(count):
        air, which = two_sounds(index, sample_rate, seconds)
        gain_db = np.where(which == 0, gains["vowel"], np.where(which == 1, gains["fricative"], 0))
        bone = signal.lfilter(*system, air * 10 ** (gain_db / 20))
        bone = bone + noise_at(bone, snr_db, index)
        pairs.append(RecordedPair(f"pair {index}", air, bone, talkers[index % len(talkers)]))
    return pairs


@pytest.fixture(scope="session")
def systems() -> SimpleNamespace:
    """The functions above: test modules do not import each other."""
    functions = (
        speech_like,
        two_mass,
        response_of,
        delayed,
        noise_at,
        recorded,
        two_sounds,
        spoken,
    )
    return SimpleNamespace(signal=signal, **{function.__name__: function for function in functions})
