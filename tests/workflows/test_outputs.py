"""Every command that writes keeps one rule: no input, nothing through a link, nothing of others.

The commands are walked: one that is new stands in neither list, and fails until it is in one.
"""

import importlib
import io
import os

import numpy as np
import pytest
import soundfile
import torch

from bcsim.models.eben import EBENGenerator
from bcsim.models.storage import save_enhancer

main = importlib.import_module("bcsim_cli.main")

READS_ONLY = {"doctor", "show", "verify", "evaluate"}
# What goes before --out, below a folder of inputs; "a" and "b" hold recordings of the same names.
TO_FOLDERS = {
    "synthesize": "--in {a} --sensor {sensor} --out {out}",
    "merge": "{out} {a}",
    "convert": "{a} --format kaldi --out {out}",
    "import": "{a} --out {out}",
    "import-checkpoint": "{a} --out {out}",
    "train": "--recipe eben-small --pairs {a} --out {out}",
    "compare": "eben-small --pairs {a} --validation-pairs {b} --out {out}",
    "adapt": "--air {a} --bone {b} --out {out}",
    "enhance": "--model {model} --in {a} --out {out}",
    "demo": "--out {out}",
}
TO_FILES = {
    "fit-response": ("x.sensor", "--air {a} --bone {b} --no-report --out {out}"),
    "export-response": ("x.wav", "--sensor {sensor} --out {out}"),
    "preview": ("x.html", "--in {a} --sensor {sensor} --out {out}"),
    "enhance": ("x.wav", "--model {model} --in {a}/sub/x.wav --out {out}"),
}


def test_every_command_is_known_to_write_or_not():
    assert {*main.COMMANDS} == READS_ONLY | TO_FOLDERS.keys() | TO_FILES.keys()


@pytest.fixture
def place(tmp_path, sensor, wav_bytes):
    """Return a folder with recordings in a/sub and b/sub, a model and a sensor."""
    for side in ("a", "b"):
        (tmp_path / side / "sub").mkdir(parents=True)
        (tmp_path / side / "sub/x.wav").write_bytes(wav_bytes)
    sensor.save(tmp_path / "x.sensor")
    torch.manual_seed(0)
    save_enhancer(tmp_path / "model", EBENGenerator(width=2, latent=2), {})
    return tmp_path


@pytest.fixture(scope="module")
def wav_bytes():

    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
    soundfile.write(file, noise, 16_000, format="WAV")
    return file.getvalue()


def run(monkeypatch, place, command, words, out):
    """Run a command, which has to refuse; return what it said, having seen nothing change."""
    given = {"a": place / "a", "b": place / "b", "model": place / "model", "out": out}
    given["sensor"] = place / "x.sensor"
    arguments = [word.format(**given) for word in words.split()]
    monkeypatch.setattr("sys.argv", ["bcsim", command, *arguments])
    before = snapshot(place)
    code = main.run()
    assert snapshot(place) == before
    return code


def snapshot(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        held = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        found[path.relative_to(folder).as_posix()] = (status.st_mode, status.st_ino, held)
    return found


def _link(place, out):
    (place / "elsewhere").mkdir()
    out.symlink_to(place / "elsewhere")


def _linked_below(place, out):
    out.mkdir()
    (out / "sub").symlink_to(place / "a/sub")


def _foreign(place, out):
    (out / "sub").mkdir(parents=True)
    (out / "sub/x.wav").write_text("mine")


def _second_name_of_an_input(place, out):
    (out / "sub").mkdir(parents=True)
    (out / "sub/x.wav").hardlink_to(place / "a/sub/x.wav")


@pytest.mark.parametrize("prepare", [_link, _linked_below, _foreign, _second_name_of_an_input])
@pytest.mark.parametrize("command", TO_FOLDERS)
def test_no_folder_is_written_to_through_links_or_over_what_others_put_there(
    command, prepare, place, monkeypatch, capsys
):
    """`enhance` wrote through out/sub -> ../a/sub over its own input, with exit code 0."""
    prepare(place, place / "out")
    assert run(monkeypatch, place, command, TO_FOLDERS[command], place / "out") == 2
    assert "/out" in capsys.readouterr().err  # its folders are left out where the line is long


@pytest.mark.parametrize("out", ["a", "a/sub", "."])
@pytest.mark.parametrize("command", [name for name in TO_FOLDERS if name != "demo"])
def test_no_folder_of_outputs_contains_inputs_or_is_in_them(
    command, out, place, monkeypatch, capsys
):
    assert run(monkeypatch, place, command, TO_FOLDERS[command], place / out) == 2
    assert "must not contain each other" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["link", "hard link", "of others", "folder", "link of an input"])
@pytest.mark.parametrize("command", TO_FILES)
def test_no_file_is_written_over_inputs_links_or_what_others_put_there(
    command, kind, place, monkeypatch, capsys
):
    name, words = TO_FILES[command]
    out = place / "out" / name
    out.parent.mkdir()
    used = place / ("a/sub/x.wav" if command == "enhance" else "x.sensor")
    if kind == "folder":
        (out / "deeper").mkdir(parents=True)
    elif kind == "of others":
        out.write_text("mine")
    elif kind == "link":
        (place / "elsewhere").write_text("mine")
        out.symlink_to(place / "elsewhere")
    elif kind == "hard link":
        out.hardlink_to(used)
    else:
        out.symlink_to(used)
    if command == "fit-response":
        words += " --prior {sensor}"
    if command == "enhance" and kind == "folder":
        out.joinpath("x.wav").write_text("mine")  # where the file would be
    assert run(monkeypatch, place, command, words, out) == 2
    assert name in capsys.readouterr().err
