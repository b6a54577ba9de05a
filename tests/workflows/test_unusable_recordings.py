"""What cannot be used is left out by every command, named with one reason, and counted.

The commands are walked: one that is new stands in no list, and fails until it is in one.
"""

import importlib
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from scipy import signal

from bcsim.audio.inspection import LOWEST_RATE_HZ, SHORTEST_S
from bcsim.audio.read import open_audio
from bcsim.models.eben import EBENGenerator
from bcsim.models.storage import save_enhancer
from bcsim.rng import stream
from bcsim.workflows.adapt_stages import Schedule

main = importlib.import_module("bcsim_cli.main")
RATE = 16_000
# They read profiles, models and datasets, whose recordings were looked at when they were made.
READ_NO_RECORDINGS = {
    *("show", "export-response", "import-checkpoint", "demo"),
    *("verify", "convert", "merge"),
}
COMMANDS = {
    "synthesize": (
        3,
        "--in {0}/rec/air --sensor temporal-transforms --engine threading --out {0}/out",
    ),
    "preview": (
        3,
        "--in {0}/rec/air --sensor temporal-transforms --limit 50 --draws 1 --out {0}/x.html",
    ),
    "enhance": (3, "--model {0}/model --in {0}/rec/air --device cpu --out {0}/out"),
    "import": (3, "{0}/rec --from audiofolder --out {0}/out"),
    "train": (3, "--recipe {recipe} --pairs {0}/rec --out {0}/out"),
    "compare": (
        3,
        "{recipe} --pairs {0}/rec --validation-pairs {0}/rec --steps 1 --out {0}/out",
    ),
    "adapt": (3, "--pairs {0}/rec --recipe {recipe} --sensor {0}/x.sensor --out {0}/out"),
    "fit-response": (3, "--pairs {0}/rec --no-report --estimator h1 --out {0}/y.sensor"),
    "evaluate": (3, "--pairs {0}/rec --sensor temporal-transforms"),
    "doctor": (4, "--pairs {0}/rec"),
}


def speech(seconds: float = 2.0) -> np.ndarray:
    """Return noise in syllables, with pauses between them, (T,)."""
    samples = stream(0, "unusable").standard_normal(round(seconds * RATE))
    time_s = np.arange(len(samples)) / RATE
    return 0.05 * samples * np.clip(np.sin(2 * np.pi * 3 * time_s), 0, None) + 1e-5 * samples


UNUSABLE = {
    "one sample": (speech()[1000:1001], RATE, "lasts 0.0625 ms, less than 50 ms"),
    "10 ms": (speech()[1000:1160], RATE, "lasts 10 ms, less than 50 ms"),
    "4 kHz": (speech()[::4], 4000, "is at 4000 Hz: it holds nothing above 2000 Hz"),
    "silence": (np.zeros(2 * RATE), RATE, "holds nothing but digital silence"),
    "one value": (np.full(2 * RATE, 0.25), RATE, "stands still: every sample is 0.25"),
    "NaN": (np.full(2 * RATE, np.nan), RATE, "holds samples that are not finite numbers"),
    "opposite": (
        np.outer(speech(), [1, -1]),
        RATE,
        "has 2 channels that cancel each other: their average is",
    ),
}


@pytest.fixture
def place(tmp_path, sensor, monkeypatch):
    """Return a folder with pairs of which one can be used, a list of them, model and sensor."""
    monkeypatch.setattr("bcsim.workflows.adapt.Schedule", lambda: Schedule(1, 1, 1))
    sensor.save(tmp_path / "x.sensor")
    air = speech()
    sections = signal.butter(2, 900, fs=RATE, output="sos")
    bone = np.asarray(signal.sosfilt(sections, air)) + 1e-5 * stream(1).standard_normal(len(air))
    lines = ["air_file_name,bone_file_name"]
    for role in ("air", "bone"):
        (tmp_path / "rec" / role).mkdir(parents=True)
    for name, (samples, rate, _) in {"good": (air, RATE, ""), **UNUSABLE}.items():
        subtype = "FLOAT" if name == "NaN" else "PCM_16"
        soundfile.write(tmp_path / f"rec/air/{name}.wav", samples, rate, subtype)
        soundfile.write(tmp_path / f"rec/bone/{name}.wav", bone, RATE)
        lines.append(f"air/{name}.wav,bone/{name}.wav")
    (tmp_path / "rec/metadata.csv").write_text("\n".join(lines))
    torch.manual_seed(0)
    save_enhancer(tmp_path / "model", EBENGenerator(width=2, latent=2), {})
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys, trainings_here):
    """Return a function that runs a command and returns its exit code, and what it said."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["bcsim", *words])
        code = main.run()
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def test_every_command_is_known_to_read_recordings_or_not():
    assert {*main.COMMANDS} == READ_NO_RECORDINGS | COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_used_is_left_out_and_named_by_every_command(command, place, recipe, run):
    """A file of one sample, or at 4 kHz, was said by some, refused by others and used by most."""
    if command != "import":
        (place / "rec/metadata.csv").unlink()
    code, words = COMMANDS[command]
    if command == "adapt":  # which holds one pair out
        for role in ("air", "bone"):
            shutil.copy(place / f"rec/{role}/good.wav", place / f"rec/{role}/again.wav")
    ended, output = run(command, *words.format(place, recipe=recipe).split())
    assert ended == code, output
    # These list what their runs list, too.
    holds_runs = command in ("compare", "adapt")
    written = [place / "out"] if holds_runs else place.rglob("failures.jsonl")
    listed = [(path / "failures.jsonl" if path.is_dir() else path).read_text() for path in written]
    reasons = [json.loads(line)["error"] for text in listed for line in text.splitlines()]
    if command in ("preview", "evaluate", "doctor"):  # which have no folder of outputs
        reasons = [line for line in output.splitlines() if ".wav: " in line]
    left_out = UNUSABLE.keys() - ({"opposite"} if command == "enhance" else set())
    for name in left_out:
        reason = UNUSABLE[name][-1]
        if command == "import" and name == "opposite":
            reason = "has 2 channels; say which is which"  # none is averaged there
        (own,) = [text for text in reasons if f"/{name}.wav: " in text]
        assert reason in own
    assert len(reasons) == len(left_out)


@pytest.mark.parametrize(
    ("seconds", "rate"), [(SHORTEST_S, RATE), (0.2, RATE), (2.0, LOWEST_RATE_HZ), (2.0, 8000)]
)
def test_a_short_word_and_telephone_speech_are_used(seconds, rate, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech(seconds), rate)
    with open_audio(tmp_path / "a.wav") as audio:
        assert len(audio.read()) == round(seconds * RATE)
        (found,) = audio.findings
    assert (found.kind, found.severity) == ("narrow" if rate < RATE else "short", "warning")


def test_a_command_of_which_nothing_can_be_used_has_failed(place, recipe, run):
    (place / "rec/air/good.wav").unlink()
    (place / "rec/air/opposite.wav").unlink()  # whose channels `enhance` takes one by one
    (place / "rec/metadata.csv").unlink()
    for command, (_, words) in COMMANDS.items():
        if command != "import":
            ended, output = run(command, *words.format(place, recipe=recipe).split())
            assert ended == 2, output


@pytest.mark.parametrize("channels", ["air,bone", ""])
def test_channels_and_segments_that_are_imported_are_inspected(channels, place, run):
    """Only whole files of one channel were."""
    quiet = np.where(np.arange(2 * RATE) < RATE, 0.0, speech())
    soundfile.write(place / "call.wav", np.stack([quiet, speech()[::-1]], 1), RATE)
    segments = ["a-1 call 0.0 0.9", "a-2 call 1.0 1.2", "a-3 call 1.0 2.0"]
    for role, channel in (("air", "A"), ("bone", "B")):
        folder = place / f"kaldi/train_{role}"
        folder.mkdir(parents=True)
        (folder / "wav.scp").write_text(f"call {place}/call.wav\n")
        (folder / "segments").write_text("".join(f"{line} {channel}\n" for line in segments))
    source = place / "kaldi"
    if channels:
        source = place / "stereo"
        source.mkdir()
        for name, air in (("silent", 0 * quiet), ("dc", speech() + 0.1)):
            soundfile.write(source / f"{name}.wav", np.stack([air, speech()], 1), RATE)
    options = ["--from", "channels", "--channels", channels] if channels else ["--from", "kaldi"]
    ended, output = run("import", f"{source}", *options, "--out", f"{place}/out")
    assert ended == 3, output
    (line,) = (place / "out/failures.jsonl").read_text().splitlines()
    place_in_it = "channel 0" if channels else "channel 0, 0.00 to 0.90 s"
    assert f"({place_in_it}): holds nothing but digital silence" in json.loads(line)["error"]
    entries = (place / "out/findings.jsonl").read_text().splitlines()
    found = {(entry["kind"], entry["recording"]) for entry in map(json.loads, entries)}
    if channels:
        assert found == {("dc", f"{source}/dc.wav (channel 0)")}
    else:
        assert found == {
            ("short", f"{place}/call.wav (channel {number}, 1.00 to 1.20 s)") for number in (0, 1)
        }
