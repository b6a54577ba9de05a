"""Make the demonstration speech again: twelve sentences in six synthetic voices.

    .venv/bin/python assets/demo/make_speech.py [--out FOLDER]

espeak-ng (a formant synthesizer: no recordings of anybody are involved) reads sentences that were
written for this project. Each reading then gets what makes a recording fit for fitting a sensor:
pauses before and after the speech, a slow drift of level as a talker moves, a level near -26 dBFS
and the noise of a quiet room, so that no sample run is digitally silent. Everything random comes
from `bcsim.rng.stream`; with the same version of espeak-ng the files come out the same.
"""

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray

from bcsim.audio.read import read_audio
from bcsim.audio.write import write_audio
from bcsim.dsp.activity import speech_rms
from bcsim.errors import EnvironmentFault
from bcsim.rng import stream

SAMPLE_RATE = 16_000
SEED = 2405
ACTIVE_LEVEL_DBFS = -26.0
LEVEL_RANGE_DB = 2.0  # between sentences, as talkers are not equally loud
DRIFT_RANGE_DB = 1.5  # within a sentence
ROOM_NOISE_DB = -60.0  # re active speech: a quiet room, less than two steps of 16 bits
LOWEST_HZ = 40.0  # that a speech microphone passes
PAUSE_S = (0.40, 0.55)  # drawn for either end


@dataclass(frozen=True)
class Voice:
    """How espeak-ng is asked to speak: a language with a variant, pitch (0-99), words a minute."""

    voice: str
    pitch: int
    words_per_minute: int


VOICES = {
    "ada": Voice("en-gb+f2", pitch=52, words_per_minute=158),
    "bruno": Voice("en-us+m3", pitch=38, words_per_minute=165),
    "chloe": Voice("en-us+Annie", pitch=55, words_per_minute=168),
    "duncan": Voice("en-gb-scotland+m7", pitch=32, words_per_minute=160),
    "elena": Voice("en-us+f5", pitch=48, words_per_minute=172),
    "felix": Voice("en-us+klatt4", pitch=46, words_per_minute=162),
}

SENTENCES = {
    "ada": (
        "The harbour ferry leaves at seven, unless thick fog has settled over the bay.",
        "She fixed the old bicycle with a spoon, two buttons and a great deal of patience.",
    ),
    "bruno": (
        "Please put the blue folder back on the shelf before the visitors arrive.",
        "Nobody noticed how quickly the river rose during that long and noisy night.",
    ),
    "chloe": (
        "My neighbour keeps eleven chickens, a grey goat and one very jealous cat.",
        "A thin voice through the wall said that supper would be ready in an hour.",
    ),
    "duncan": (
        "The engine coughed, shook the whole bridge, and finally began to turn.",
        "We measured the height of each wave from the end of the wooden pier.",
    ),
    "elena": (
        "Could you speak up a little, the train is just about to cross the valley?",
        "Fresh orange juice and warm bread make even a Monday morning cheerful.",
    ),
    "felix": (
        "Five young engineers chose the smallest battery that would last all week.",
        "If the path is icy, take the other road and watch for falling branches.",
    ),
}


def speak(text: str, voice: Voice) -> NDArray[np.float64]:
    """Return espeak-ng's reading of `text`, (T,) at SAMPLE_RATE, without silence at the ends.

    Raises:
        EnvironmentFault: if espeak-ng is not installed.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise EnvironmentFault("espeak-ng is not installed; run: apt-get install espeak-ng")
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder, "spoken.wav")
        command = [program, "-v", voice.voice, "-p", str(voice.pitch)]
        command += ["-s", str(voice.words_per_minute), "-w", str(spoken), text]
        subprocess.run(command, check=True)
        samples, _ = read_audio(spoken, SAMPLE_RATE)
    sounding = np.flatnonzero(np.abs(samples) > 1e-3 * np.abs(samples).max())
    return samples[sounding[0] : sounding[-1] + 1]


def as_recorded(speech: NDArray[np.float64], clip_id: str) -> NDArray[np.float64]:
    """Return `speech` (T,) as a microphone in a quiet room takes it down, with pauses around it."""
    draw = stream(SEED, clip_id, "recording")
    pauses = [round(seconds * SAMPLE_RATE) for seconds in draw.uniform(*PAUSE_S, size=2)]
    level_db = ACTIVE_LEVEL_DBFS + draw.uniform(-LEVEL_RANGE_DB, LEVEL_RANGE_DB) / 2

    # A cosine of random phase and period: the talker leans in or away once or twice a sentence.
    time = np.arange(len(speech)) / len(speech)
    turns, phase = draw.uniform(0.5, 1.5), draw.uniform(0, 2 * np.pi)
    drift_db = DRIFT_RANGE_DB / 2 * np.cos(2 * np.pi * turns * time + phase)
    # The synthesizer's vowels push one way; a microphone passes no such offset.
    highpass = scipy.signal.butter(4, LOWEST_HZ, "highpass", fs=SAMPLE_RATE, output="sos")
    padded = np.pad(speech * 10 ** (drift_db / 20), pauses)
    samples = np.asarray(scipy.signal.sosfilt(highpass, padded))

    batch = torch.from_numpy(samples)[None]
    samples *= 10 ** (level_db / 20) / speech_rms(batch, SAMPLE_RATE).item()
    noise = room_noise(len(samples), clip_id) * 10 ** ((level_db + ROOM_NOISE_DB) / 20)
    return samples + noise


def room_noise(num_samples: int, clip_id: str) -> NDArray[np.float64]:
    """Return (num_samples,) of noise with unit power, falling by 3 dB an octave above 200 Hz."""
    white = stream(SEED, clip_id, "room").standard_normal(num_samples)
    frequencies_hz = np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE)
    spectrum = np.fft.rfft(white) / np.sqrt(1 + frequencies_hz / 200)
    spectrum[frequencies_hz < LOWEST_HZ] = 0
    noise = np.fft.irfft(spectrum, num_samples)
    return noise / np.sqrt(np.mean(noise**2))


def main() -> None:
    """Write every sentence to OUT/SPEAKER/SPEAKER-N.flac."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "air")
    out = parser.parse_args().out
    for speaker, sentences in SENTENCES.items():
        for number, text in enumerate(sentences, start=1):
            clip_id = f"{speaker}-{number}"
            samples = as_recorded(speak(text, VOICES[speaker]), clip_id)
            write_audio(out / speaker / f"{clip_id}.flac", samples, SAMPLE_RATE)


if __name__ == "__main__":
    main()
