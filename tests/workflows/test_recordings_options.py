"""Recordings are given to every command in the same way."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bcsim.errors import InputError
from bcsim.workflows.train import train

COMMANDS = {
    "doctor": ("bcsim.workflows.doctor.doctor", ()),
    "fit-response": ("bcsim.workflows.fit_response.fit_response", ("--out", "x.sensor")),
    "evaluate": ("bcsim.workflows.evaluate.evaluate", ("--sensor", "s")),
    "train": ("bcsim.workflows.train.train", ("--recipe", "eben-small", "--out", "run")),
}


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command up to its workflow; return what that was given, and stderr."""

    def run(command, *arguments):
        function, usual = COMMANDS[command]
        given = {}

        def workflow(*_, **options):
            given.update(options)
            raise InputError("seen")

        monkeypatch.setattr(function, workflow)
        words = ["bcsim", command, *usual, *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        code = importlib.import_module("bcsim_cli.main").run()
        assert code == 2
        return given, capsys.readouterr().err

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_list_and_channels(call, command):
    """`--pairs` was for train alone, and nothing but import took a channel of a file."""
    channels = ("--air-channel", "left", "--bone-channel", "strongest")
    given, _ = call(command, "--pairs", "list.csv", *channels)
    assert given["channels"] == {"air": "left", "bone": "strongest"}
    if command == "train":
        assert (given["pairs"], given["air"], given["bone"]) == (Path("list.csv"), None, None)
    else:
        assert given["air"] == given["bone"] == Path("list.csv")
    given, _ = call(command, "--air", "*_l.wav", "--bone", "*_r.wav")
    assert (given["air"], given["bone"]) == (Path("*_l.wav"), Path("*_r.wav"))
    assert given["channels"] == {}


@pytest.mark.parametrize("command", ["doctor", "fit-response", "evaluate"])
def test_the_two_ways_exclude_each_other(call, command):
    for arguments in ((), ("--air", "a"), ("--bone", "b"), ("--pairs", "p", "--air", "a")):
        given, err = call(command, *arguments)
        assert not given
        assert "give --air and --bone, or --pairs for both" in err
    given, _ = call(command, "--pairs", "p", "--talkers", "who.csv")
    assert given["talkers"] == Path("who.csv")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"bone": "b", "pairs": "p"}, "need those of the air microphone"),
        ({"air": "a", "bone": "b", "sensor": "vibravox_throat"}, "goes with air recordings alone"),
        ({"pairs": "empty.csv"}, "is empty, or has nothing below its heading"),
        ({"air": "a_*.wav", "bone": "b_*.wav"}, "no audio file fits this pattern"),
        ({"air": "c", "sensor": "temporal-transforms", "channels": {"air": "1"}}, "there are none"),
    ],
)
def test_training_refuses_what_makes_no_pairs(tmp_path, monkeypatch, inputs, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c").mkdir()
    for number in range(12):
        soundfile.write(tmp_path / f"c/{number}.wav", np.sin(np.arange(8000.0)), 16_000)
    (tmp_path / "empty.csv").touch()
    options: dict[str, Any] = {
        name: Path(value) if name in ("air", "bone", "pairs") else value
        for name, value in inputs.items()
    }
    with pytest.raises(ValueError, match=message):
        train("eben-small", tmp_path / "run", **options)
    assert not (tmp_path / "run/recipe.resolved.yaml").exists()
