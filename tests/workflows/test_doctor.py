"""The doctor on files: what is printed, and the exit code."""

import json
from importlib.metadata import version

import numpy as np
import pytest
import soundfile
import torch

from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.simulator import Simulator
from bcsim.workflows.doctor import doctor

RATE = 16_000


@pytest.fixture
def recordings(tmp_path, sensor, speech):
    """Three pairs of the known sensor: air/NAME.wav and bone/NAME.wav."""
    simulator = Simulator((SensorResponse(sensor), SensorNoise(sensor)), RATE)
    for number in range(3):
        air = speech[number % 2].roll(3000 * number)[None].repeat(1, 2)
        bone = simulator.render(air, [str(number)], seed=0, mean=True).bone
        for role, signal in (("air", air), ("bone", bone)):
            (tmp_path / role).mkdir(exist_ok=True)
            soundfile.write(tmp_path / role / f"p{number}.wav", signal[0].numpy(), RATE)
    return tmp_path


@pytest.fixture
def run(command_line, recordings):
    def doctor(*options, air="air", bone="bone"):
        folders = ("--air", recordings / air, "--bone", recordings / bone)
        return command_line("doctor", *folders, *options)

    return doctor


def loaded_versions():
    """Of libsndfile, what the library itself says, which is bundled with soundfile."""
    library = soundfile._ffi.string(soundfile._snd.sf_version_string()).decode()
    return {
        "bcsim": version("bcsim"),
        "torch": torch.__version__,
        "soundfile": version("soundfile"),
        "libsndfile": library.removeprefix("libsndfile-"),
    }


def test_good_recordings_are_called_good(run):
    code, out, err = run()
    assert code == 0, err
    assert [line.split() for line in out.splitlines()[:3]] == [[f"p{n}", "ok"] for n in range(3)]
    assert "3 pairs: 3 fine" in out
    last = ", ".join(f"{name} {number}" for name, number in loaded_versions().items())
    assert out.splitlines()[-1] == last


def test_a_warning_is_no_failure_and_an_unusable_pair_is(run, recordings):
    bone, _ = soundfile.read(recordings / "bone/p1.wav")
    limit = np.quantile(np.abs(bone), 0.99)
    soundfile.write(recordings / "bone/p1.wav", np.clip(bone, -limit, limit), RATE)
    code, out, err = run()
    assert code == 0, err
    assert "clipping: bone is clipped: 1 %" in out
    soundfile.write(recordings / "bone/p2.wav", np.zeros(len(bone)), RATE)
    code, out, err = run("--json")
    assert code == 4, err
    facts = json.loads(out)
    assert facts["versions"] == loaded_versions()
    assert facts["verdict"] == "unusable"
    assert [pair["verdict"] for pair in facts["pairs"]] == ["ok", "warning"]
    assert "bone/p2.wav: holds nothing but digital silence" in facts["failures"]["p2"]


def test_exchanged_folders_are_told_by_name(run):
    code, out, _ = run(air="bone", bone="air")
    assert code == 4
    lines = out.splitlines()
    assert lines[0] == "all pairs are swapped: exchange the air and bone recordings"
    assert out.count("exchange the air") == 1
    assert sum("swapped: bone has" in line for line in lines) == 3


def test_files_without_partner_or_sense_make_the_verdict_unusable(run, recordings):
    (recordings / "air/p0.wav").write_text("not audio at all")
    code, out, err = run()
    assert code == 4
    assert "p0.wav: cannot be read as audio" in out
    assert "Traceback" not in err


def test_recordings_are_looked_at_at_their_own_rate(recordings):
    """A resampler rounds off the tops of what was clipped: at 16 kHz this is not to be seen."""
    for path in recordings.glob("*/*.wav"):
        samples, _ = soundfile.read(path)
        soundfile.write(path, np.clip(np.repeat(samples, 3), -0.1, 0.1), 3 * RATE)
    result = doctor(recordings / "air", recordings / "bone")
    assert result.sample_rate == 3 * RATE
    kinds = [{finding.kind for finding in pair.findings} for pair in result.pairs]
    assert all("clipping" in found for found in kinds)
    assert doctor(recordings / "air", recordings / "bone", 8_000).sample_rate == 8_000


def test_what_more_than_three_pairs_share_is_said_once_with_a_count(run, recordings):
    for number in range(4):
        source = number % 3
        for role in ("air", "bone"):
            samples, _ = soundfile.read(recordings / role / f"p{source}.wav")
            offset = 0.05 * (number + 1) if role == "bone" else 0.0
            soundfile.write(recordings / role / f"q{number}.wav", samples + offset, RATE)
    code, out, err = run()
    assert code == 0, err
    lines = [line for line in out.splitlines() if "DC offset" in line]
    assert len(lines) == 1
    assert lines[0].startswith("dc: in 4 of 7 pairs, such as q0: bone has a DC offset of +0.05")
    assert out.count("nothing: it is taken out before fitting") == 1
