"""`convert` and `import` as commands: out of one library's format, into the next."""

import importlib
import io
import tarfile

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from bcsim.datasets.exporters import EXPORTERS
from bcsim.datasets.importers import IMPORTERS
from bcsim.errors import UsageError


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


def test_what_was_killed_behind_its_renaming_is_finished_by_the_same_command(stereo, tmp_path):
    imported = ("import", stereo, "--out", tmp_path / "pairs", "--channels", "air,bone")
    converted = ("convert", tmp_path / "pairs", "--format", "kaldi", "--out", tmp_path / "kaldi")
    for command, out in ((imported, tmp_path / "pairs"), (converted, tmp_path / "kaldi")):
        first = bcsim(*command)
        files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for lock in (True, False):  # left by the kill, or gone already
            if lock:
                (out / ".lock").touch()
            again = bcsim(*command)
            assert (again.return_value, again.stdout) == (first.return_value, first.stdout)
            assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files
    (stereo / "s2/a.wav").rename(stereo / "s2/b.wav")
    with pytest.raises(UsageError, match="is there already"):
        bcsim(*imported)
    assert not list(tmp_path.glob(".*"))


def test_an_id_too_long_for_a_path_costs_only_itself(tmp_path):
    samples = np.arange(1000, dtype=np.int16)
    with tarfile.open(tmp_path / "in.tar", "w", format=tarfile.PAX_FORMAT) as shard:
        for key in ("sound", "/".join(["a" * 190] * 21), "x/" * 2040 + "y"):
            for role, sign in (("air", 1), ("bone", -1)):
                content = io.BytesIO()
                soundfile.write(content, sign * samples, 16_000, format="WAV")
                member = tarfile.TarInfo(f"{key}.{role}.wav")
                member.size = content.tell()
                content.seek(0)
                shard.addfile(member, content)
    done = bcsim("import", tmp_path / "in.tar", "--out", tmp_path / "pairs")
    assert done.return_value == 3
    lines = (tmp_path / "pairs/failures.jsonl").read_text("utf-8").splitlines()
    assert ["too long for a path" in line for line in lines] == [True, True]


def test_the_help_names_every_format():
    helps = {command: bcsim(command, "--help").stdout for command in ("convert", "import")}
    assert all(name in helps["convert"] for name in EXPORTERS)
    assert all(name in helps["import"] for name in IMPORTERS)
