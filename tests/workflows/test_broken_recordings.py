"""A recording that breaks the decoder costs itself, whichever command reads it.

The commands are walked: one that is new stands in neither list, and fails until it is in one.
"""

import importlib
import shutil

import click
import numpy as np
import pytest
import soundfile
import torch
from scipy import signal

from bcsim.audio import contained
from bcsim.models.eben import EBENGenerator
from bcsim.models.storage import save_enhancer
from bcsim.rng import stream
from bcsim.workflows.adapt_stages import Schedule

main = importlib.import_module("bcsim_cli.main")
decoding = importlib.import_module("bcsim_cli.decoding")

# Lists, models, sensors, hashes and headers; `demo` reads recordings of bcsim alone. `synthesize`
# decodes in its workers (test_limits.py).
DECODE_NOTHING = {
    *("show", "export-response", "import-checkpoint", "merge", "convert", "verify", "demo"),
}
PAIRS = "--air {place}/pairs/air --bone {place}/pairs/bone"
SHORT = [
    f" --set {setting}"
    for setting in (
        *("model.width=2", "model.latent=2", "data.batch_size=2", "data.num_workers=0"),
        *("training.num_steps=1", "validation.num_samples=0", "training.device=cpu"),
    )
]
READING = {
    "doctor": (4, PAIRS),
    "fit-response": (3, f"{PAIRS} --estimator h1 --no-report --out {{place}}/x.sensor"),
    "evaluate": (3, f"{PAIRS} --sensor {{place}}/known.sensor"),
    "enhance": (3, "--model {place}/model --in {place}/pairs/bone --out {place}/out"),
    "preview": (3, "--in {place}/pairs/air --sensor {place}/known.sensor --out {place}/x.html"),
    "import": (3, "{place}/kaldi --from kaldi --out {place}/out"),
    "compare": (
        3,
        "eben-small --pairs {place}/pairs --validation-pairs {place}/pairs --out {place}/out "
        "--steps 1" + "".join(SHORT),
    ),
    "train": (3, "--recipe eben-small --pairs {place}/pairs --out {place}/run" + "".join(SHORT)),
    "adapt": (
        3,
        f"{PAIRS} --recipe eben-small --sensor {{place}}/known.sensor --out {{place}}/out"
        + "".join(SHORT),
    ),
}
BROKEN = 6661  # samples
# The program, but for recordings of this length.
BREAKABLE = f"""
import ctypes, importlib.util
specification = importlib.util.spec_from_file_location("decoding", {contained.PROGRAM!r})
decoding = importlib.util.module_from_spec(specification)
specification.loader.exec_module(decoding)
read = decoding.Sound.read
decoding.Sound.read = lambda sound, *arguments: (
    ctypes.string_at(0) if sound._sound.frames == {BROKEN} else read(sound, *arguments)
)
decoding.main()
"""


def test_every_command_is_known_to_decode_or_not():
    assert {*main.COMMANDS} == READING.keys() | DECODE_NOTHING | {"synthesize"}


def test_commands_that_open_recordings_start_the_decoder_ahead():
    """Starting it takes a fifth of a second, in which the command imports what it needs."""
    ahead = {
        name
        for name in main.COMMANDS
        if isinstance(main.cli.get_command(click.Context(main.cli), name), decoding.DecodingCommand)
    }
    assert ahead - {*decoding.ELSEWHERE} == READING.keys() | {"verify"}


@pytest.fixture
def place(tmp_path, sensor, speech, monkeypatch):
    """Return a folder with two pairs, of which one breaks the decoder."""
    sections = signal.butter(2, 900, fs=16_000, output="sos")
    air = np.asarray(speech[0])[:48_000]
    bone = 0.5 * np.asarray(signal.sosfilt(sections, air))
    for role, samples in (("air", air), ("bone", bone)):
        samples = samples + 1e-4 * stream(1, role).standard_normal(len(samples))
        (tmp_path / "pairs" / role).mkdir(parents=True)
        (tmp_path / f"kaldi/train_{role}").mkdir(parents=True)
        lines = []
        for name, count in (("bad", BROKEN), ("good", len(samples))):
            path = tmp_path / "pairs" / role / f"{name}.wav"
            soundfile.write(path, samples[:count], 16_000)
            lines.append(f"s-{name} {path}\n")
        (tmp_path / f"kaldi/train_{role}/wav.scp").write_text("".join(lines))
    sensor.save(tmp_path / "known.sensor")
    torch.manual_seed(0)
    save_enhancer(tmp_path / "model", EBENGenerator(width=2, latent=2), {})
    program = tmp_path / "breakable.py"
    program.write_text(BREAKABLE)
    monkeypatch.delenv(contained.IN_THIS_PROCESS, raising=False)
    monkeypatch.setattr(contained, "PROGRAM", str(program))
    contained._end_current()
    yield tmp_path
    contained._end_current()


@pytest.mark.parametrize("command", READING)
def test_no_command_ends_with_a_decoder_that_crashes(
    command, place, monkeypatch, capsys, caplog, trainings_here
):
    """libsndfile is a program in C: where it crashed, the command and all its work were gone."""
    code, options = READING[command]
    if command == "adapt":  # which holds one pair out
        monkeypatch.setattr("bcsim.workflows.adapt.Schedule", lambda: Schedule(1, 1, 1))
        for role in ("air", "bone"):
            shutil.copy(place / f"pairs/{role}/good.wav", place / f"pairs/{role}/again.wav")
    words = [word.format(place=place) for word in options.split()]
    monkeypatch.setattr("sys.argv", ["bcsim", command, *words])
    found = main.run()
    told = "".join([*capsys.readouterr(), caplog.text])
    assert (found, "took the decoder down" in told) == (code, True), told
    assert "bad" in told
