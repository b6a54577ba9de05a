"""`convert` and `import` as commands: out of one library's format, into the next."""

import importlib

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from bcsim.datasets.exporters import EXPORTERS
from bcsim.datasets.importers import IMPORTERS


@pytest.fixture
def stereo(tmp_path):
    """Three stereo recordings of two speakers, air on the left."""
    for number, name in enumerate(("s1/a", "s1/b", "s2/a")):
        path = tmp_path / f"stereo/{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        ramp = np.arange(1000 + number, dtype=np.int16)
        soundfile.write(path, np.stack([ramp, -ramp], axis=1), 16_000)
    return tmp_path / "stereo"


def bcsim(*arguments):
    cli = importlib.import_module("bcsim_cli.main").cli
    return CliRunner().invoke(
        cli, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False
    )


def test_stereo_files_go_through_every_format_and_come_back(stereo, tmp_path):
    done = bcsim("import", stereo, "--out", tmp_path / "pairs", "--channels", "air,bone")
    assert done.return_value == 0
    assert done.stdout == f"3 pairs from channels, in {tmp_path / 'pairs'}\n"
    for name in EXPORTERS:
        out, back = tmp_path / name, tmp_path / f"{name}-back"
        done = bcsim("convert", tmp_path / "pairs", "--format", name, "--out", out)
        assert done.stdout == f"3 pairs (3 all) as {name}, in {out}\n"
        done = bcsim("import", out, "--out", back, "--root", tmp_path / "pairs")
        assert done.stdout == f"3 pairs from {name}, in {back}\n"
        air, _ = soundfile.read(back / "air/s2/a.flac", dtype="int16")
        bone, _ = soundfile.read(back / "bone/s2/a.flac", dtype="int16")
        assert np.array_equal(air, np.arange(1002))
        assert np.array_equal(bone, -air)


def test_a_pair_that_is_left_out_gives_exit_code_3(stereo, tmp_path):
    (stereo / "s2/text.wav").write_text("no audio")
    done = bcsim("import", stereo, "--out", tmp_path / "pairs", "--channels", "air,bone")
    assert done.return_value == 3
    assert done.stdout == f"3 pairs from channels, in {tmp_path / 'pairs'}\n"
    assert "1 pairs skipped" in done.stderr


def test_the_help_names_every_format():
    helps = {command: bcsim(command, "--help").stdout for command in ("convert", "import")}
    assert all(name in helps["convert"] for name in EXPORTERS)
    assert all(name in helps["import"] for name in IMPORTERS)
