"""The library names no option of the command line; what people read there does."""

import importlib
import logging
import re
from pathlib import Path

import click
import pytest

main = importlib.import_module("bcsim_cli.main")
remedies = importlib.import_module("bcsim_cli.remedies")
REMEDIES = remedies.REMEDIES
ROOT = Path(__file__).resolve().parents[1]
# Neighbouring literals of the source joined, as Python joins them.
SOURCE = re.sub(
    r'"\s*\n\s*f?"', "", "\n".join(p.read_text("utf-8") for p in (ROOT / "bcsim").rglob("*.py"))
)
# What a message tells people to do that only an option does.
ASKS_FOR_AN_OPTION = r"(?:resume (?:it|the run)|overwrite (?:it|this one)|choose another \w+)\b"


def command(name: str) -> click.Command:
    module = main.MODULES.get(name, name.replace("-", "_"))
    return importlib.import_module(f"bcsim_cli.{module}").command


@pytest.mark.parametrize("phrase", REMEDIES)
def test_a_remedy_is_in_the_librarys_words_and_of_a_command(phrase):
    assert phrase in SOURCE
    names = {option.name for name in main.COMMANDS for option in command(name).params}
    assert set(REMEDIES[phrase]) <= names


def test_every_remedy_that_is_an_option_has_it_named():
    asked = set(re.findall(ASKS_FOR_AN_OPTION, SOURCE))
    assert len(asked) > 4
    for words in asked:
        assert any(words in phrase or phrase in words for phrase in REMEDIES), words


@pytest.mark.parametrize(
    ("name", "message", "shown"),
    [
        (
            "train",
            "runs/a: already holds a run; resume it, or choose another folder",
            "runs/a: already holds a run; resume it (--resume), or choose another folder (--out)",
        ),
        (
            "synthesize",
            "p: other settings; choose another output folder, or overwrite this one",
            "p: other settings; choose another output folder (--out), or overwrite this one "
            "(--overwrite)",
        ),
        ("fit-response", "set sample_rate", "set sample_rate (--sample-rate)"),
        ("synthesize", "set sample_rate", "set sample_rate (--set)"),
        ("enhance", "give air recordings too", "give air recordings too (--air)"),
        ("verify", "resume it, or choose another folder", "resume it, or choose another folder"),
        ("train", "resume it.wav: is empty; resume it", "resume it.wav: is empty; resume it "
         "(--resume)"),
        (
            "train",
            "x: the disk is full; free some space and run the same command again",
            "x: the disk is full; free some space and run the same command again (--resume)",
        ),
        ("train", "resume it: use --resume", "resume it: use --resume"),
        (
            "synthesize",
            "give a table of speakers, or the level of their folders, not both",
            "give a table of speakers (--speakers), or the level of their folders "
            "(--speaker-level), not both",
        ),
    ],
)  # fmt: skip
def test_an_option_stands_behind_the_remedy_where_the_command_has_it(name, message, shown):
    assert remedies.with_options(message, command(name)) == shown


def test_the_command_line_says_the_option(tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    folder = tmp_path / "run"
    monkeypatch.setattr("sys.argv", ["bcsim", "demo", "--out", str(folder)])
    assert main.run() == 2
    assert "choose another output folder (--out)" in capsys.readouterr().err


def test_what_memory_is_short_for_goes_on_with_the_option_that_it_wants(monkeypatch, capsys):
    def run_out_of_memory(**options):
        raise MemoryError

    monkeypatch.setattr(command("train"), "callback", run_out_of_memory)
    words = ["bcsim", "train", "--recipe", "x", "--out", "y"]
    monkeypatch.setattr("sys.argv", words)
    assert main.run() == 5
    assert "then the same command again (--resume) goes on" in capsys.readouterr().err


def test_what_is_logged_names_the_option_too():
    """That the speakers are unknown was said without the options that tell them."""
    adapt = remedies.OptionsInLog()
    record = logging.LogRecord("bcsim", 30, "", 0, "give a %s", ("table of speakers",), None)
    assert adapt.filter(record)
    assert record.getMessage() == "give a table of speakers"
    for name, shown in (("train", " (--speakers)"), ("verify", "")):
        record = logging.LogRecord("bcsim", 30, "", 0, "give a %s", ("table of speakers",), None)
        with click.Context(command(name)):
            assert adapt.filter(record)
        assert record.getMessage() == f"give a table of speakers{shown}"
