"""Whatever is given for a file or a folder: one line, before any work, and never a wait.

The commands are walked, with all that they take: a new one cannot forget it.
"""

import contextlib
import importlib
import os
import socket

import click
import pytest

main = importlib.import_module("bcsim_cli.main")
places = importlib.import_module("bcsim_cli.places")

# Parameters that are text and no file's name.
TEXTS = {
    *("settings", "shard", "scheduler", "format", "estimator", "name", "source", "licence"),
    *("channels", "air_channel", "bone_channel"),
}
OF_IMPORT = {"air", "bone"}  # columns and the like there, files elsewhere


def walked():
    """Yield every parameter that is given a value, with its command."""
    for name in main.COMMANDS:
        command = main.cli.get_command(None, name)
        for param in command.params:
            if not getattr(param, "is_flag", False):
                yield name, param


PLACES = [
    (name, p) for name, p in walked() if isinstance(p.type, places.Place | places.NameOrPlace)
]


def test_every_parameter_is_known_to_be_a_place_or_not():
    for name, param in walked():
        if (name, param) in PLACES:
            continue
        assert not isinstance(param.type, click.Path | click.File), (name, param)
        is_text = isinstance(param.type, click.types.StringParamType)
        assert not is_text or param.name in TEXTS | (OF_IMPORT if name == "import" else set())
    assert len(PLACES) > 50


def _linked_to_itself(path):
    path.symlink_to(path)


def _socket(path):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as bound, contextlib.chdir(path.parent):
        bound.bind(path.name)


KINDS = {
    "pipe": (os.mkfifo, "a pipe"),
    "socket": (_socket, "a socket"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "link to itself": (_linked_to_itself, "a link that leads to itself"),
}


def said(monkeypatch, capsys, name, param, value):
    """Return the one line that a command says of a value for one of its parameters."""
    words = [param.opts[0], value] if isinstance(param, click.Option) else [value]
    if isinstance(param, click.Argument):
        command = main.cli.get_command(None, name)
        before = [p for p in command.params if isinstance(p, click.Argument)]
        words = ["recipe"] * before.index(param) + ["--", value]
    monkeypatch.setattr("sys.argv", ["bcsim", name, *words])
    assert main.run() == 2, (name, param)
    told = capsys.readouterr().err
    assert told.count("\n") == 1, (name, param, told)
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_neither_file_nor_folder_is_refused_by_every_command(
    kind, tmp_path, monkeypatch, capsys
):
    make, word = KINDS[kind]
    make(tmp_path / "odd.wav")
    for name, param in PLACES:
        told = said(monkeypatch, capsys, name, param, str(tmp_path / "odd.wav"))
        assert f"/odd.wav: {word}" in told, (name, param, told)


def test_a_name_that_no_file_can_have_is_refused_by_every_command(tmp_path, monkeypatch, capsys):
    """It was an internal error, of some commands after their work."""
    for name, param in PLACES:
        for value in (str(tmp_path / ("x" * 300)), "y/" * 3000):
            assert "the name is longer" in said(monkeypatch, capsys, name, param, value)


def test_an_empty_name_is_not_the_working_folder(tmp_path, monkeypatch, capsys):
    """`--out "$OUT"` without such a variable wrote into the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, param in PLACES:
        assert "the name is empty" in said(monkeypatch, capsys, name, param, "")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("odd", ["a\x1b[2Jb", "a\nb", "a\x85b", "a\u2028b", "a\udcffb", "a\u202eb"])
def test_no_output_gets_a_name_that_a_terminal_obeys(odd, tmp_path, monkeypatch, capsys):
    """Bytes that are no text ended the work of hours with an internal error."""
    outputs = [(n, p) for n, p in PLACES if isinstance(p.type, places.Place) and p.type.is_output]
    assert {name for name, _ in outputs} == {*main.COMMANDS} - {
        *("doctor", "show", "verify", "evaluate")
    }
    for name, param in outputs:
        told = said(monkeypatch, capsys, name, param, str(tmp_path / f"{odd}.wav"))
        assert "the name holds control characters" in told
        assert told.rstrip("\n").isprintable()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["synthesize", "train", "fit-response", "enhance", "demo"])
def test_a_file_above_the_output_is_told_before_any_work(name, tmp_path, monkeypatch, capsys):
    """`fit-response` said it after minutes of fitting."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path)
    needs = {
        "synthesize": "--in in --sensor vibravox_throat",
        "train": "--recipe eben-small --pairs missing",
        "fit-response": "--air missing --bone missing",
        "enhance": "--model missing --in in",
        "demo": "",
    }
    out = "file/deeper/x.sensor"
    monkeypatch.setattr("sys.argv", ["bcsim", name, *needs[name].split(), "--out", out])
    assert main.run() == 2
    assert f"{out}: file is a file, no folder" in capsys.readouterr().err
