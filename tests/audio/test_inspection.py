"""What is noticed about one recording, and that no command keeps it to itself."""

import dataclasses
import importlib
import json

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from scipy import signal

from bcsim.audio.read import open_audio
from bcsim.errors import InputError
from bcsim.files.findings import OF_ONE_RECORDING, Finding, FoundInRecordings, collecting, note
from bcsim.rng import stream
from bcsim.sensors.profile import SensorProfile

RecordingsCommand = importlib.import_module("bcsim_cli.findings").RecordingsCommand
main = importlib.import_module("bcsim_cli.main")
COMMANDS, cli = main.COMMANDS, main.cli
RATE = 16_000
READ_NO_RECORDINGS = {"show", "export-response", "import-checkpoint", "verify", "convert", "demo"}


def speech(seconds: float = 1.0) -> np.ndarray:
    samples = stream(0, "inspected").standard_normal(round(seconds * RATE))
    return 0.2 * samples / np.abs(samples).max()


SPOILT = {
    "lossy": (speech(), "ULAW", RATE),
    "coarse": (speech(), "PCM_U8", RATE),
    "narrow": (speech(), "PCM_16", 8000),
    "short": (speech(0.1), "PCM_16", RATE),
    "quiet": (speech() * 1e-2, "PCM_16", RATE),
    "clipping": (np.clip(speech(), -0.05, 0.05), "PCM_16", RATE),
    "dc": (speech() + 0.1, "PCM_16", RATE),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_wrong_with_a_recording_is_noticed_wherever_it_is_read(kind, tmp_path):
    samples, subtype, rate = SPOILT[kind]
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype)
    with open_audio(tmp_path / "a.wav") as audio:
        audio.read()
        assert {finding.kind for finding in audio.findings} == {kind} <= OF_ONE_RECORDING
        for _ in audio.again().blocks(1000):
            pass
        assert {finding.kind for finding in audio.findings} == {kind}


@pytest.mark.parametrize(("gain", "subtype"), [(1.0, "PCM_16"), (1e-3, "PCM_24"), (1e-3, "FLOAT")])
def test_nothing_is_found_about_a_good_recording(gain, subtype, tmp_path):
    soundfile.write(tmp_path / "a.wav", gain * speech(), RATE, subtype)
    with open_audio(tmp_path / "a.wav") as audio:
        audio.read()
        assert audio.findings == ()


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - READ_NO_RECORDINGS))
def test_no_command_that_takes_recordings_forgets_what_is_noticed(name):
    command = cli.get_command(None, name)
    assert isinstance(command, RecordingsCommand)
    assert command.name == name


def test_synthesize_says_and_writes_what_is_wrong_with_its_recordings(tmp_path):
    (tmp_path / "air").mkdir()
    for name, kind in (("a", "lossy"), ("b", "lossy"), ("c", "dc")):
        soundfile.write(tmp_path / "air" / f"{name}.wav", *(SPOILT[kind][i] for i in (0, 2, 1)))
    out = tmp_path / "out"
    options = f"--in {tmp_path}/air --out {out} --jobs 1 --sensor temporal-transforms"
    told = CliRunner().invoke(cli, ["synthesize", *options.split()])
    assert told.exit_code == 0, told.output
    assert "lossy: 2 recordings or pairs (a.wav, b.wav); the first is of a lossy codec" in (
        told.output
    )
    entries = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    assert [(entry["recording"], entry["kind"]) for entry in entries] == [
        ("a.wav", "lossy"), ("b.wav", "lossy"), ("b.wav", "duplicate"), ("c.wav", "dc")
    ]  # fmt: skip


@pytest.fixture
def pair(tmp_path):
    """Folders air and bone with a recording each, air with DC."""
    samples = np.concatenate([np.zeros(RATE // 2), speech(2.0), np.zeros(RATE // 2)])
    sections = signal.butter(2, 900, fs=RATE, output="sos")
    through = np.asarray(signal.sosfilt(sections, samples))
    hiss = 1e-4 * stream(1, "inspected").standard_normal(len(samples))
    for role, own in (("air", samples + hiss + 0.1), ("bone", 0.5 * through + hiss)):
        (tmp_path / role).mkdir()
        soundfile.write(tmp_path / role / "a.wav", own, RATE)
    return tmp_path


def test_a_fit_says_once_what_one_recording_shows(pair):
    """It was said of the file and of the pair: two recordings with DC where there was one."""
    options = f"--air {pair}/air --bone {pair}/bone --out {pair}/x.sensor --no-report"
    told = CliRunner().invoke(cli, ["fit-response", "--estimator", "h1", *options.split()])
    assert told.exit_code == 0, told.output
    assert "dc: 1 recording or pair (" in told.output
    entries = [json.loads(line) for line in (pair / "findings.jsonl").read_text().splitlines()]
    assert [entry["recording"] for entry in entries if entry["kind"] == "dc"] == [
        f"{pair}/air/a.wav"
    ]
    told = CliRunner().invoke(cli, ["show", f"{pair}/x.sensor"])
    assert "noticed       dc 1" in told.output


def test_a_profile_from_before_findings_is_read_and_others_keep_them(sensor, tmp_path):
    found = dataclasses.replace(sensor.provenance, findings={"dc": 2, "lossy": 1})
    for name, profile in (
        ("old", sensor),
        ("new", dataclasses.replace(sensor, provenance=found)),
    ):
        profile.save(tmp_path / f"{name}.sensor")
        assert SensorProfile.load(tmp_path / f"{name}.sensor").provenance == profile.provenance
    assert b"findings" not in (tmp_path / "old.sensor").read_bytes()
    content = (tmp_path / "new.sensor").read_bytes()
    assert content.count(b'\\"dc\\": 2') == 1
    (tmp_path / "new.sensor").write_bytes(content.replace(b'\\"dc\\": 2', b'\\"dc\\": 0'))
    with pytest.raises(InputError, match=r"provenance\.findings"):
        SensorProfile.load(tmp_path / "new.sensor")


def test_whoever_has_collected_the_same_goes_on_collecting():
    """The inner collector, as empty as the outer one, took that out in place of itself."""
    finding = Finding("dc", "warning", "has DC", "none")
    with collecting() as outer:
        with collecting() as inner:
            pass
        note("a.wav", [finding])
    assert outer.of("a.wav") == [finding]
    assert not inner.by_name


def test_findings_of_other_runs_stay_where_they_are(tmp_path):
    path = tmp_path / "findings.jsonl"
    path.write_text('{"run": "other", "kind": "dc"}\nno JSON')
    found = FoundInRecordings()
    found.add("a.wav", [Finding("dc", "warning", "has DC", "none")])
    lines: list[str] = []
    for _ in range(2):
        found.write(path, "import")
        lines = path.read_text().splitlines()
        assert lines[:2] == ['{"run": "other", "kind": "dc"}', "no JSON"]
        assert json.loads(lines[2])["recording"] == "a.wav"
        assert len(lines) == 3
    FoundInRecordings().write(path, "import")
    assert path.read_text().splitlines() == lines[:2]
    path.write_text("")
    FoundInRecordings().write(path, "import")
    assert not path.exists()


def test_the_same_import_again_finds_what_was_noticed_in_place(pair):
    """findings.jsonl, written behind the renaming, made the folder somebody else's."""
    for role in ("air", "bone"):
        (pair / f"kaldi/train_{role}").mkdir(parents=True)
        (pair / f"kaldi/train_{role}/wav.scp").write_text(f"s-a {pair}/{role}/a.wav\n")
    command = ["import", f"{pair}/kaldi", "--from", "kaldi", "--out", f"{pair}/out"]
    found = []
    for _ in range(2):
        told = CliRunner().invoke(cli, command)
        assert told.exit_code == 0, told.output
        found.append((pair / "out/findings.jsonl").read_text())
    assert found[0] == found[1] != ""
