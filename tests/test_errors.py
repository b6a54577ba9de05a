"""Lines on stderr: safe to show, never too long, and the file and the remedy are still in them."""

import importlib
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcsim.errors import fit_line
from bcsim.progress import LineFormatter

REMEDY = ": holds no sound; delete it or record it again"


@settings(max_examples=50)
@given(st.text(max_size=400), st.integers(80, 200))
def test_every_line_is_printable_and_fits(text, width):
    line = fit_line(text, width)
    assert line.isprintable()
    assert len(line) <= width
    if text.isprintable() and text.strip() == text and len(text) <= width:
        assert line == text


@pytest.mark.parametrize("folders", ["speech/" * 50, "a b/" * 99, "/" + "x" * 300 + "/", ""])
@pytest.mark.parametrize(
    "name", ["talk.wav", "with blanks.wav", "n" * 251 + ".wav", "\x1b[2J\udcff.wav"]
)
def test_name_and_remedy_stay(folders, name):
    line = fit_line(f"skipped: {folders}{name}{REMEDY}")
    shown = name.replace("\x1b", "%1B").replace("\udcff", "%FF")
    assert line.startswith("skipped: ")
    assert line.endswith((shown if len(name) < 99 else "nnnn.wav") + REMEDY)
    assert len(line) <= 200


def test_a_name_cannot_turn_the_direction_of_the_line():
    assert fit_line("a\u202egnp.wav: \u2066is\u2028empty") == (
        "a%E2%80%AEgnp.wav: %E2%81%A6is%E2%80%A8empty"
    )


def test_what_a_command_says_is_safe_and_short(capsys):
    say = importlib.import_module("bcsim_cli.streams").say
    say(f"skipped: \x1b[2J\u202e{'x' * 500}.wav: is empty")
    said = capsys.readouterr().err
    assert said[:-1].isprintable()
    assert len(said) == 201


def test_several_long_paths_are_all_told():
    paths = [f"{'deep/' * 60}{name}.wav" for name in ("air", "bone")]
    line = fit_line(f"{paths[0]} and {paths[1]} are not of one length; cut them")
    assert "…/air.wav and " in line
    assert "…/bone.wav are not of one length; cut them" in line


def test_what_libraries_log_is_one_line_without_a_traceback():
    record = logging.LogRecord("x", 30, "x", 1, "two\nlines %s", ("\x07",), None)
    try:
        raise ValueError("inside")
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    assert LineFormatter().format(record) == "two%0Alines %07"
