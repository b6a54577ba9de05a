"""Make the demonstration's known sensor again: every number of it is written down here.

    .venv/bin/python assets/demo/make_known_sensor.py [--out FILE]

Its magnitude is a sum of a few smooth shapes in dB that together have the traits of a throat
microphone; its phase is the minimum phase of that magnitude. Level and coherence follow from the
response, the noise and the demonstration speech in `air/`, so the profile says what a perfect fit
to endless recordings of that speech would say.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import bcsim
from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.dsp.activity import active_frames, hop_size
from bcsim.dsp.spectra import minimum_phase, stft
from bcsim.fitting.lowpass_equivalent import fit_lowpass
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.provenance import Provenance
from bcsim.sensors.transfer_function import TransferFunction

SAMPLE_RATE = 16_000
NUM_BINS = 513  # 64 ms of impulse response, many times what the resonance takes to die away
LEVEL_DB = -6.0
LEVEL_STD_DB = 1.0  # small, as the spread below: a dozen clips have to pin the mean down
NOISE_TO_SPEECH_DB = -32.0
NOISE_LEVEL_STD_DB = 1.5
DELAY_S = -0.45e-3  # bone leads: sound is faster in the body than through the air
POLARITY = -1


def bump_db(
    frequencies_hz: NDArray[np.float64], centre_hz: float, octaves: float, height_db: float
) -> NDArray[np.float64]:
    """Return a Gaussian over log frequency, (F,), with a standard deviation in octaves."""
    distance = np.log2(np.maximum(frequencies_hz, 1.0) / centre_hz) / octaves
    return height_db * np.exp(-(distance**2) / 2)


def resonance_db(
    frequencies_hz: NDArray[np.float64], centre_hz: float, q: float, height_db: float
) -> NDArray[np.float64]:
    r"""Return a peaking resonance, (F,).

    .. math:: 10 \log_{10}\left(1 + \frac{g^2 - 1}{1 + Q^2 (f/f_0 - f_0/f)^2}\right)
    """
    ratio = np.maximum(frequencies_hz, 1.0) / centre_hz
    peak = 10 ** (height_db / 10) - 1
    return 10 * np.log10(1 + peak / (1 + (q * (ratio - 1 / ratio)) ** 2))


def magnitude_db(frequencies_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shape of the response in dB, (F,), before it is set to the level."""
    safe_hz = np.maximum(frequencies_hz, 1.0)
    # The strap's spring: a fall below 70 Hz that ends 9 dB down, as the bins end there too.
    coupling = -10 * np.log10(1 + 5000.0 / (frequencies_hz**2 + 700.0))
    boost = bump_db(frequencies_hz, centre_hz=222.0, octaves=0.45, height_db=2.7)
    tissue = -58.0 / (1 + (1000.0 / safe_hz) ** 2.0) - 1.5 * np.log2(1 + (safe_hz / 3000.0) ** 2)
    return coupling + boost + tissue + resonance_db(frequencies_hz, 2440.0, q=6.0, height_db=10.5)


def spread_components_db(frequencies_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how wearers differ, (3, F): tilt, pressure of the strap, strength of the resonance."""
    octaves = np.log2(np.clip(frequencies_hz, 100.0, 8000.0) / 900.0)
    tilt = 0.15 * octaves
    pressure = bump_db(frequencies_hz, centre_hz=180.0, octaves=0.8, height_db=0.6)
    strength = bump_db(frequencies_hz, centre_hz=2440.0, octaves=0.3, height_db=0.8)
    return np.stack([tilt, pressure, strength])


def noise_shape(frequencies_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the noise's power density up to a factor, (F,): 13 dB less at 4 kHz than at 200 Hz."""
    hum = 10 ** (bump_db(frequencies_hz, centre_hz=60.0, octaves=0.5, height_db=6.0) / 10)
    return hum * (0.05 + 1 / (1 + (frequencies_hz / 500.0) ** 2.3))


def speech_power(folder: Path) -> NDArray[np.float64]:
    """Return the mean power of active speech per bin in each clip, (clips, NUM_BINS)."""
    rows = []
    for path in audio_files(folder):
        air = torch.from_numpy(read_audio(path, SAMPLE_RATE)[0])[None]
        hop = hop_size(SAMPLE_RATE)
        active = active_frames(air, SAMPLE_RATE)
        power = stft(air, 2 * hop, hop)[active].abs().square().mean(dim=0).numpy()
        grid = np.linspace(0, 1, len(power))
        rows.append(np.interp(np.linspace(0, 1, NUM_BINS), grid, power))
    return np.stack(rows)


def known_sensor(air: Path) -> SensorProfile:
    """Return the sensor, with level and coherence as the speech in the folder `air` makes them."""
    frequencies_hz = np.linspace(0, SAMPLE_RATE / 2, NUM_BINS)
    shape_db = magnitude_db(frequencies_hz)
    speech = speech_power(air)

    filtered = (speech * 10 ** (shape_db / 10)).sum(axis=1)
    shape_db += LEVEL_DB - np.mean(10 * np.log10(filtered / speech.sum(axis=1)))
    phase = minimum_phase(torch.from_numpy(shape_db * np.log(10) / 20)).numpy()
    response = 10 ** (shape_db / 20) * np.exp(1j * phase)

    noise = noise_shape(frequencies_hz)
    noise *= 10 ** (NOISE_TO_SPEECH_DB / 10) / np.trapezoid(noise, frequencies_hz)
    bone = (speech / speech.sum(axis=1, keepdims=True)).mean(axis=0) * 10 ** (shape_db / 10)
    bone /= np.trapezoid(bone, frequencies_hz)  # like the noise: re the power of bone speech
    coherence = bone / (bone + noise)
    usable_hz = frequencies_hz[(coherence > 0.5) & (frequencies_hz > 0)]

    transfer_function = TransferFunction(frequencies_hz, response, coherence, num_averages=1e6)
    components = spread_components_db(frequencies_hz)
    return SensorProfile(
        name="known",
        sample_rate=SAMPLE_RATE,
        transfer_function=transfer_function,
        spread_db=np.sqrt((components**2).sum(axis=0)),
        spread_components_db=components,
        noise_psd=noise,
        noise_level_std_db=NOISE_LEVEL_STD_DB,
        level_db=LEVEL_DB,
        level_std_db=LEVEL_STD_DB,
        delay_s=DELAY_S,
        polarity=POLARITY,
        lowpass=fit_lowpass(transfer_function),
        usable_band_hz=(float(usable_hz[0]), float(usable_hz[-1])),
        provenance=Provenance(
            estimator="none: written down, not fitted",
            num_pairs=0,
            num_talkers=0,
            seconds=0.0,
            active_seconds=0.0,
            pause_seconds=0.0,
            bcsim_version=bcsim.__version__,
            source="assets/demo/make_known_sensor.py",
            licence="CC0-1.0",
        ),
        coherence_ceiling=coherence,  # a linear sensor: noise alone keeps it from 1
        magnitude_interval_db=np.zeros((0, len(frequencies_hz))),
    )


def main() -> None:
    """Write the sensor to OUT."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=here / "known.sensor")
    known_sensor(here / "air").save(parser.parse_args().out)


if __name__ == "__main__":
    main()
