import itertools
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.dsp.activity import active_frames, active_rms, speech_rms
from bcsim.sensors.profile import SensorProfile

ASSETS = Path(__file__).resolve().parents[2] / "assets"
DEMO = ASSETS / "demo"
CLIPS = audio_files(DEMO / "air")


def espeak_version() -> str:
    program = shutil.which("espeak-ng")
    if program is None:
        return ""
    shown = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    match = re.search(r"text-to-speech: (\S+)", shown.stdout)
    return match[1] if match else ""


def test_there_are_twelve_clips_of_six_voices_under_two_megabytes():
    assert len(CLIPS) == 12
    assert len({path.parent.name for path in CLIPS}) == 6
    assert sum(path.stat().st_size for path in CLIPS) < 2_000_000


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_a_clip_is_what_the_readme_says(path: Path):
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    assert 3 <= info.duration <= 6

    samples, rate = read_audio(path)
    batch = torch.from_numpy(samples)[None]
    level = speech_rms(batch, rate).item()
    assert 20 * np.log10(level) == pytest.approx(-26, abs=1.1)
    assert np.abs(samples).max() < 0.9  # nothing near clipping

    # At least 0.3 s of room noise, and nothing else, on either side; the limits are 4 and 7 dB
    # about the 60 dB under speech.
    pause = round(0.3 * rate)
    for noise in (samples[:pause], samples[-pause:]):
        assert -64 < 20 * np.log10(noise.std() / level) < -57
        assert np.abs(noise).max() < 6 * noise.std()


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_no_stretch_of_a_clip_is_digitally_silent(path: Path):
    samples, rate = read_audio(path)
    longest = max(
        (len(list(run)) for value, run in itertools.groupby(samples) if not value), default=0
    )
    assert longest < 0.002 * rate


def test_the_readme_holds_the_text_of_every_clip(load_script):
    readme = (DEMO / "README.md").read_text(encoding="utf-8")
    make_speech = load_script(DEMO / "make_speech.py")
    for speaker, sentences in make_speech.SENTENCES.items():
        assert {path.stem for path in CLIPS} >= {f"{speaker}-1", f"{speaker}-2"}
        assert f"`{make_speech.VOICES[speaker].voice}`" in readme
        for sentence in sentences:
            assert sentence in readme


@pytest.mark.skipif(espeak_version() != "1.51", reason="the clips were made with espeak-ng 1.51")
def test_the_script_makes_the_clips_again(load_script):
    make_speech = load_script(DEMO / "make_speech.py")
    for clip_id in ("ada-1", "felix-2"):
        speaker, number = clip_id.split("-")
        text = make_speech.SENTENCES[speaker][int(number) - 1]
        made = make_speech.as_recorded(
            make_speech.speak(text, make_speech.VOICES[speaker]), clip_id
        )
        stored, _ = read_audio(DEMO / "air" / speaker / f"{clip_id}.flac")
        # one step of 16 bits: another processor may round the resampler's sums differently
        np.testing.assert_allclose(made, stored, atol=1.5 / 32768)


def test_the_known_sensor_has_the_traits_it_is_said_to_have():
    sensor = SensorProfile.load(DEMO / "known.sensor")
    frequencies_hz = sensor.transfer_function.frequencies_hz
    magnitude_db = sensor.transfer_function.magnitude_db

    def at(hz: float) -> float:
        return float(np.interp(hz, frequencies_hz, magnitude_db))

    assert (sensor.sample_rate, sensor.polarity, sensor.delay_s) == (16_000, -1, -0.45e-3)
    assert sensor.level_db == -6
    assert sensor.noise_to_speech_db() == pytest.approx(-32, abs=1e-9)
    assert at(220) > at(100) + 1.5
    assert at(220) > at(500) + 3
    near = (frequencies_hz > 2100) & (frequencies_hz < 3000)
    assert frequencies_hz[near][magnitude_db[near].argmax()] == pytest.approx(2440, abs=64)
    assert at(2440) > max(at(2000), at(3000)) + 2.5
    low_hz, high_hz = sensor.usable_band_hz
    assert low_hz < 100
    assert 1000 < high_hz < 3000


def test_the_known_sensor_is_causal_but_for_its_delay():
    """Minimum phase: the response has nothing before time zero but what wraps around."""
    taps, centre = SensorProfile.load(DEMO / "known.sensor").impulse_response()
    before, whole = (taps[:centre] ** 2).sum(), (taps**2).sum()
    assert before < 1e-7 * whole


def test_the_known_sensor_is_at_its_level_on_the_demonstration_speech():
    sensor = SensorProfile.load(DEMO / "known.sensor")
    taps, centre = sensor.impulse_response()
    levels_db = []
    for path in CLIPS:
        air, rate = read_audio(path)
        both = np.stack([air, np.convolve(air, taps)[centre : centre + len(air)]])
        active = active_frames(torch.from_numpy(both[:1]), rate)
        level = active_rms(torch.from_numpy(both), active.expand(2, -1), rate)
        levels_db.append(20 * torch.log10(level[1] / level[0]).item())
    assert np.mean(levels_db) == pytest.approx(sensor.level_db, abs=0.05)


def test_the_script_makes_the_known_sensor_again(load_script):
    made = load_script(DEMO / "make_known_sensor.py").known_sensor(DEMO / "air")
    stored = SensorProfile.load(DEMO / "known.sensor")
    for name in ("response", "coherence"):
        values = (getattr(profile.transfer_function, name) for profile in (made, stored))
        np.testing.assert_allclose(*values, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(made.noise_psd, stored.noise_psd, rtol=1e-9)


def test_the_overview_is_sound_xml_that_refers_to_nothing_outside():
    text = (ASSETS / "overview.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    targets = re.findall(r'href="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)
    assert targets
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
