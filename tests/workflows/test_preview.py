"""`bcsim preview`: a page that plays what `synthesize` would make."""

import json
import re

import pytest

from bcsim.errors import UsageError
from bcsim.workers.pool import Workers
from bcsim.workflows.presets import bundled_folder
from bcsim.workflows.preview import preview
from bcsim.workflows.synthesize import plan_synthesis, synthesize


@pytest.fixture
def speech_file(air):
    return air / "s1" / "a.wav"


def test_draw_one_is_what_synthesize_draws(air, tmp_path, sensor_file):
    clips, _ = preview([air], tmp_path / "p.html", sensor_file, seed=5, num_draws=2, limit=1)
    synthesize(plan_synthesis(air, tmp_path / "pairs", sensor_file, seed=5), Workers())
    manifests = (tmp_path / "pairs").glob("*/metadata.jsonl")
    rows = [json.loads(line) for path in manifests for line in path.read_text().splitlines()]
    (clip,) = clips
    row = next(row for row in rows if row["id"] == clip.id)
    for step, draw in clip.draws[0].drawn.items():
        for name, value in draw.items():
            assert row["drawn"][step][name] == value
    assert clip.draws[0].drawn != clip.draws[1].drawn


def test_the_page_is_whole_and_plays_every_rendering(speech_file, tmp_path, sensor_file):
    out = tmp_path / "p.html"
    clips, _ = preview([speech_file], out, sensor_file, num_draws=3)
    page = out.read_text("utf-8")
    assert page.count("<audio") == 1 + 1 + 3  # air, the mean sensor, three draws
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    deviation = clips[0].draws[0].drawn["sensor_level"]["deviation"]
    assert f"{deviation:.3g}" in page.replace("\N{MINUS SIGN}", "-")


def test_a_room_is_heard_at_the_air_microphone(speech_file, tmp_path, sensor_file):
    recipe = bundled_folder("bcsim.recipes") / "noisy-room.yaml"
    preview([speech_file], tmp_path / "p.html", sensor_file, recipe, num_draws=1)
    page = (tmp_path / "p.html").read_text("utf-8")
    assert page.count("<audio") == 1 + 2 + 2
    assert "noisy air" in page


def test_long_recordings_are_cut(speech_file, tmp_path, sensor_file):
    clips, _ = preview([speech_file], tmp_path / "p.html", sensor_file, num_draws=1, seconds=0.1)
    assert len(clips[0].draws[0].bone) == 1600


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        ("gone.wav", "p.html", "no such file or folder"),
        ("s1/a.wav", "p.txt", r"a preview is a page, NAME\.html"),
        ("text.wav", "p.html", "none of 1 recordings can be used"),
    ],
)
def test_what_cannot_be_previewed_is_refused(air, tmp_path, sensor_file, name, out, message):
    (air / "text.wav").write_text("not audio")
    with pytest.raises(UsageError, match=message):
        preview([air / name], tmp_path / out, sensor_file, num_draws=1)
    assert not (tmp_path / out).exists()


def test_a_page_replaces_no_recording(speech_file, tmp_path, sensor_file):
    """Content tells what a recording is, so it may be called anything."""
    recording = speech_file.rename(tmp_path / "t.html")
    before = recording.read_bytes()
    with pytest.raises(UsageError, match="the output is an input"):
        preview([recording], recording, sensor_file, num_draws=1)
    assert recording.read_bytes() == before
