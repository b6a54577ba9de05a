"""The README's Python is run, and what it points to is there."""

import re
from pathlib import Path

import pytest
import soundfile

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.models.storage import build_enhancer, save_enhancer
from bcsim.workflows.presets import load_simulator

RATE = 16_000
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture
def files_of_the_readme(tmp_path, monkeypatch):
    """A folder with what the README's Python names, which becomes the current one."""
    sensor = load_simulator("vibravox_throat")
    for path in audio_files(ROOT / "assets/demo/air")[:2]:
        name, (air, _) = path.stem, read_audio(path, RATE)
        bone = sensor(air, RATE, seed=0, clip_ids=[name]).bone[0].numpy()
        for path, samples in (
            (f"librispeech/{name}.wav", air),
            (f"rec/air/{name}.wav", air),
            (f"rec/bone/{name}.wav", bone),
            ("speech.wav", air),
            ("throat_recording.wav", bone),
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / path, samples, RATE, subtype="FLOAT")
    untrained = build_enhancer({"name": "eben", "width": 4, "latent": 8}, seed=0)
    save_enhancer(tmp_path / "runs/small", untrained, {})
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_the_python_of_the_readme_runs(files_of_the_readme):
    rendering, commands = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = run(rendering)
    assert names["scene"].bone.shape == (1, len(names["air"]))
    assert names["batch"]["bone"].shape == (2, 2 * RATE)
    assert names["clear"].shape == names["bone"].shape
    names = run(commands)
    assert names["sensor"].provenance.estimator == "power-ratio"
    assert len(names["recorded"]) == 2


def run(snippet):
    names = {}
    exec(compile(snippet, "README.md", "exec"), names)
    return names


def test_every_picture_and_file_it_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for path in re.findall(r"`((?:assets|benchmarks|recipes)/[^`]+)`", README):
        assert (ROOT / path).exists(), path


def test_nothing_is_left_to_be_filled_in():
    assert "@@" not in README


def test_the_table_has_every_estimator():
    from bcsim.fitting.estimators import ESTIMATORS

    for name in [*ESTIMATORS, "temporal-transforms"]:
        assert re.search(rf"^\| \**{re.escape(name)}\**.*\|$", README, re.MULTILINE), name
