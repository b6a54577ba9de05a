"""`synthesize` as its users run it: reproducible, resumable, and careful with what it finds."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
import torch

from bcsim.audio.read import read_audio
from bcsim.audio.write import to_pcm16
from bcsim.datasets.dataset import read_manifest
from bcsim.datasets.manifest import STATE_FOLDER
from bcsim.effects.base import Scene
from bcsim.errors import EnvironmentFault, InputError, UsageError
from bcsim.synthesis.clips import plan_clips, split_of
from bcsim.synthesis.rendering import Renderer, Skipped
from bcsim.workers.pool import Workers
from bcsim.workflows.presets import resolve_simulator
from bcsim.workflows.synthesize import plan_replay, plan_synthesis, synthesize
from bcsim.workflows.verify import verify


def run(air, out, sensor, overwrite=False, **options):
    return synthesize(plan_synthesis(air, out, sensor, **options), Workers(), overwrite)


def test_every_clip_becomes_a_pair_of_one_length_at_one_rate(air, tmp_path, sensor_file):
    result = run(air, tmp_path / "pairs", sensor_file)
    assert result.num_pairs == 6
    assert not result.failures
    for split in ("train", "validation", "test"):
        folder = tmp_path / "pairs" / split
        for row in read_manifest(folder / "metadata.jsonl") if folder.is_dir() else []:
            infos = [soundfile.info(folder / n) for n in (row.air_file_name, row.bone_file_name)]
            assert {i.samplerate for i in infos} == {16_000}
            assert {i.frames for i in infos} == {round(row.duration_s * 16_000)}
            assert {i.subtype for i in infos} == {"PCM_16"}
            assert row.speaker is not None
            assert split_of(row.speaker, 0.05, 0.05) == split


def test_a_manifest_row_renders_its_pair_again_bit_for_bit(air, tmp_path, sensor_file):
    run(air, tmp_path / "pairs", sensor_file, seed=5)
    simulator = resolve_simulator(sensor_file).simulator
    rows = 0
    for manifest in (tmp_path / "pairs").glob("*/metadata.jsonl"):
        for row in read_manifest(manifest):
            samples, _ = read_audio(air / row.source, 16_000)
            scene = Scene.from_air(torch.from_numpy(samples)[None], 16_000)
            bone = simulator.apply(scene, [row.drawn]).bone[0].numpy()
            stored, _ = soundfile.read(manifest.parent / row.bone_file_name, dtype="int16")
            assert np.array_equal(stored, to_pcm16(bone))
            rows += 1
    assert rows == 6


def test_the_air_side_of_a_pair_is_the_recording_itself(air, tmp_path, sensor_file):
    run(air, tmp_path / "pairs", sensor_file)
    written, _ = soundfile.read(next((tmp_path / "pairs").glob("*/air/s1/a.flac")), dtype="int16")
    original, _ = soundfile.read(air / "s1/a.wav", dtype="int16")
    assert np.array_equal(written, original)


def test_audiofolder_and_pandas_can_read_the_metadata(air, tmp_path, sensor_file):
    run(air, tmp_path / "pairs", sensor_file)
    seen = 0
    for manifest in (tmp_path / "pairs").glob("*/metadata.jsonl"):
        table = pandas.read_json(manifest, lines=True)
        assert [c for c in table.columns if c.endswith("_file_name")] == [
            "bone_file_name",
            "air_file_name",
        ]
        for column in ("bone_file_name", "air_file_name"):
            for name in table[column]:
                assert (manifest.parent / name).is_file()
        seen += len(table)
    assert seen == 6


def test_the_same_command_again_finishes_a_run_that_stopped(
    air, tmp_path, sensor_file, monkeypatch, tree
):
    run(air, tmp_path / "whole", sensor_file)
    render = Renderer.render
    calls = []

    def dies_at_the_fourth(self, clips):
        calls.extend(clips)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return render(self, clips)

    monkeypatch.setattr(Renderer, "render", dies_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        synthesize(plan_synthesis(air, tmp_path / "broken", sensor_file), Workers(batch=1))
    assert (tmp_path / "broken" / STATE_FOLDER).is_dir()
    assert not (tmp_path / "broken" / "dataset.json").exists()
    for journal in (tmp_path / "broken" / STATE_FOLDER).glob("journal.jsonl*"):
        journal.write_text(journal.read_text()[:-20])  # the last line is torn
    result = run(air, tmp_path / "broken", sensor_file)
    assert result.num_reused == 2
    assert tree(tmp_path / "broken") == tree(tmp_path / "whole")


def test_what_was_finished_within_a_batch_is_kept(air, tmp_path, sensor_file, monkeypatch, tree):
    """A batch that is never handed over, since its worker was killed, is not lost as a whole."""
    run(air, tmp_path / "whole", sensor_file)
    render = Renderer._render

    def dies_at_the_fourth(self, clips, writer):
        if clips[0].source == "s3/stereo.wav":
            raise KeyboardInterrupt
        return render(self, clips, writer)

    monkeypatch.setattr(Renderer, "_render", dies_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        synthesize(plan_synthesis(air, tmp_path / "broken", sensor_file), Workers(batch=100))
    monkeypatch.setattr(Renderer, "_render", render)
    files = {path: path.stat().st_ino for path in (tmp_path / "broken").rglob("*.flac")}
    assert len(files) == 8
    assert run(air, tmp_path / "broken", sensor_file).num_reused == 4
    assert {path: path.stat().st_ino for path in files} == files
    assert tree(tmp_path / "broken") == tree(tmp_path / "whole")


def test_a_run_from_before_an_option_was_added_goes_on_as_with_its_default(
    air, tmp_path, sensor_file, tree
):
    run(air, tmp_path / "pairs", sensor_file)
    before = tree(tmp_path / "pairs")
    path = tmp_path / "pairs/dataset.json"
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "mean"})
    )
    with pytest.raises(UsageError, match="made with mean False, now True"):
        run(air, tmp_path / "pairs", sensor_file, mean=True)
    assert run(air, tmp_path / "pairs", sensor_file).num_reused == 6
    assert tree(tmp_path / "pairs") == before


def test_a_file_that_was_lost_is_rendered_again(air, tmp_path, sensor_file, tree):
    run(air, tmp_path / "pairs", sensor_file)
    before = tree(tmp_path / "pairs")
    next((tmp_path / "pairs").glob("*/bone/s2/*.flac")).unlink()
    result = run(air, tmp_path / "pairs", sensor_file)
    assert result.num_reused == 5
    assert tree(tmp_path / "pairs") == before


def test_bad_files_are_skipped_and_named_and_the_rest_is_done(air, tmp_path, sensor_file):
    (air / "s1/empty.wav").write_bytes(b"")
    (air / "s1/text.wav").write_text("not audio")
    soundfile.write(air / "s1/no_samples.wav", np.zeros(0), 16_000)
    soundfile.write(air / "s1/nan.wav", np.full(100, np.nan), 16_000, subtype="FLOAT")
    result = run(air, tmp_path / "pairs", sensor_file)
    assert result.num_pairs == 6
    lines = (tmp_path / "pairs/failures.jsonl").read_text().splitlines()
    failures = {entry["source"]: entry["error"] for entry in map(json.loads, lines)}
    assert set(failures) == {f"s1/{n}.wav" for n in ("empty", "text", "no_samples", "nan")}
    assert all(source in error for source, error in failures.items())


def test_files_of_one_name_never_overwrite_each_other(air, tmp_path, sensor_file):
    shutil.copy(air / "s1/b.flac", air / "s1/a.flac")
    result = run(air, tmp_path / "pairs", sensor_file)
    assert result.num_pairs == 7
    assert len(list((tmp_path / "pairs").glob("*/bone/s1/a*.flac"))) == 2


@pytest.mark.parametrize("name", ["new\nline", "naïve 日本", "semi;colon $(x)", "n" * 240, "%41"])
def test_any_legal_name_works(tmp_path, speech, sensor_file, name):
    (tmp_path / "odd" / name).mkdir(parents=True)
    soundfile.write(tmp_path / "odd" / name / f"{name}.wav", speech[0, :4000].numpy(), 16_000)
    result = run(tmp_path / "odd", tmp_path / "pairs", sensor_file)
    assert result.num_pairs == 1


def test_an_input_is_never_written_to(air, tmp_path, sensor_file, tree):
    before = tree(air)
    run(air, tmp_path / "pairs", sensor_file)
    assert tree(air) == before


@pytest.mark.parametrize("out", ["air", "air/pairs", "."])
def test_output_and_input_must_not_contain_each_other(air, tmp_path, sensor_file, out):
    with pytest.raises(UsageError, match="must not contain each other"):
        run(air, tmp_path / out, sensor_file)


def test_a_foreign_folder_is_left_alone_even_with_overwrite(air, tmp_path, sensor_file, tree):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is not empty, and holds what this command did not write"):
        run(air, tmp_path / "thesis", sensor_file, overwrite=True)
    assert tree(tmp_path / "thesis").keys() == {"chapter.tex"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed 0, now 1"),
        ({"settings": ("effects.sensor_noise.level=1",)}, r"recipe\.effects\.2\.level .*, now 1"),
        ({"mean": True}, "mean False, now True"),
        ({"limit": 3}, "num_sources 6, now 3"),
    ],
)
def test_other_settings_on_the_same_output_are_refused(
    air, tmp_path, sensor_file, changes, named, tree
):
    run(air, tmp_path / "pairs", sensor_file)
    before = tree(tmp_path / "pairs")
    with pytest.raises(UsageError, match=named):
        run(air, tmp_path / "pairs", sensor_file, **changes)
    assert tree(tmp_path / "pairs") == before
    run(air, tmp_path / "pairs", sensor_file, overwrite=True, **changes)
    assert tree(tmp_path / "pairs") != before


def test_a_second_run_on_one_output_is_refused_while_the_first_is_at_work(
    air, tmp_path, sensor_file, monkeypatch
):
    render = Renderer.render

    def while_another_starts(self, clip):
        with pytest.raises(EnvironmentFault, match="another run is writing there"):
            run(air, tmp_path / "pairs", sensor_file)
        return render(self, clip)

    monkeypatch.setattr(Renderer, "render", while_another_starts)
    assert run(air, tmp_path / "pairs", sensor_file).num_pairs == 6


def test_adding_speakers_moves_nobody():
    few = {str(k): split_of(str(k), 0.2, 0.1) for k in range(1000)}
    assert few["17"] == split_of("17", 0.2, 0.1)
    parts = [list(few.values()).count(s) / 1000 for s in ("train", "validation", "test")]
    assert parts == pytest.approx([0.7, 0.2, 0.1], abs=0.04)


def test_the_mean_sensor_gives_every_clip_the_same_response(air, tmp_path, sensor_file):
    run(air, tmp_path / "pairs", sensor_file, mean=True)
    rows = [
        row
        for manifest in (tmp_path / "pairs").glob("*/metadata.jsonl")
        for row in read_manifest(manifest)
    ]
    assert {tuple(row.drawn["sensor_response"]["wearer"]) for row in rows} == {(0.0,) * 8}
    assert len({row.drawn["sensor_noise"]["seed"] for row in rows}) == 6


def test_a_folder_that_only_looks_like_a_dataset_is_left_alone(air, tmp_path, sensor_file, tree):
    (tmp_path / "mine/train").mkdir(parents=True)
    (tmp_path / "mine/dataset.json").write_text('{"mine": 1}')
    (tmp_path / "mine/train/data.txt").write_text("precious")
    before = tree(tmp_path / "mine")
    with pytest.raises(UsageError, match="is not empty, and holds what this command did not write"):
        run(air, tmp_path / "mine", sensor_file, overwrite=True)
    assert tree(tmp_path / "mine") == before


def test_overwriting_removes_what_bcsim_wrote_and_nothing_else(air, tmp_path, sensor_file):
    run(air, tmp_path / "pairs", sensor_file)
    speaker = next((tmp_path / "pairs").glob("*/bone/s1"))
    split = speaker.parent.parent
    notes = [split / "notes.txt", split / "bone/labels.csv", speaker / "labels.csv"]
    for path in notes:
        path.write_text("precious")
    run(air, tmp_path / "pairs", sensor_file, overwrite=True, limit=1)
    assert [path.read_text() for path in notes] == ["precious"] * 3
    assert len(list((tmp_path / "pairs").rglob("*.flac"))) == 2
    assert not list((tmp_path / "pairs").glob("*/*/s4"))


def test_overwriting_refuses_to_throw_its_own_inputs_away(air, tmp_path, sensor_file, tree):
    pairs = tmp_path / "pairs"
    run(air, pairs, sensor_file)
    before = tree(pairs)
    (tmp_path / "link.sensor").symlink_to(pairs / "profile.sensor")
    plans = [
        plan_synthesis(air, pairs, str(tmp_path / "link.sensor"), seed=1),
        plan_synthesis(air, pairs, sensor_file, recipe=pairs / "recipe.resolved.yaml"),
    ]
    manifest = shutil.copy(next(pairs.glob("*/metadata.jsonl")), tmp_path / "some.jsonl")
    (pairs / "some.jsonl").symlink_to(manifest)
    given = {"sensor": sensor_file, "recipe": shutil.copy(plans[1].inputs[1], tmp_path / "r.yaml")}
    plans.append(plan_replay(pairs / "some.jsonl", air, tmp_path / "elsewhere", **given))
    plans[2] = dataclasses.replace(
        plans[2], renderer=dataclasses.replace(plans[2].renderer, out=pairs)
    )
    for plan in plans:
        with pytest.raises(UsageError, match="overwriting throws away what is in"):
            synthesize(plan, Workers(), overwrite=True)
    (pairs / "some.jsonl").unlink()
    assert tree(pairs) == before


def test_a_sensor_that_is_replaced_while_a_run_works_changes_nothing(
    air, tmp_path, sensor_file, monkeypatch, tree
):
    run(air, tmp_path / "whole", sensor_file)
    plan = plan_synthesis(air, tmp_path / "pairs", sensor_file)
    content, render = Path(sensor_file).read_bytes(), Renderer.render

    def while_it_is_replaced(self, clips):
        Path(sensor_file).write_bytes(b"another")
        return render(self, clips)

    monkeypatch.setattr(Renderer, "render", while_it_is_replaced)
    synthesize(plan, Workers())
    assert tree(tmp_path / "pairs") == tree(tmp_path / "whole")
    for out in ("pairs", "new"):  # a finished dataset, and none
        late = dataclasses.replace(
            plan, renderer=dataclasses.replace(plan.renderer, out=tmp_path / out)
        )
        with pytest.raises(InputError, match=r"known\.sensor: is not the sensor"):
            synthesize(late, Workers())
    assert tree(tmp_path / "pairs") == tree(tmp_path / "whole")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "pairs/profile.sensor").read_bytes() == content


def test_what_a_killed_worker_leaves_is_swept_before_the_end(
    air, tmp_path, sensor_file, monkeypatch
):
    render = Renderer.render

    def leaving_something(self, clips):
        results = render(self, clips)
        (self.out / f".{0:016x}.{0:012x}.tmp").write_text("half a file")
        return results

    monkeypatch.setattr(Renderer, "render", leaving_something)
    run(air, tmp_path / "pairs", sensor_file)
    assert not list((tmp_path / "pairs").rglob("*.tmp"))


def test_nothing_is_left_of_a_clip_that_was_given_up(air, tmp_path, sensor_file, monkeypatch):
    """Its worker may have been lost between the two files."""
    render = Renderer.render

    def lose_one(self, clips):
        results = render(self, clips)
        return [
            Skipped("lost") if clip.id == "s1/a" else r
            for clip, r in zip(clips, results, strict=True)
        ]

    monkeypatch.setattr(Renderer, "render", lose_one)
    result = run(air, tmp_path / "pairs", sensor_file)
    assert [*result.failures.values()] == ["lost"]
    assert not [*(tmp_path / "pairs").rglob("s1/a.*")]
    assert [*(tmp_path / "pairs").rglob("bone/*/*.flac")]
    assert not verify(tmp_path / "pairs").problems


def test_an_output_that_was_cut_short_is_rendered_again(air, tmp_path, sensor_file, tree):
    run(air, tmp_path / "pairs", sensor_file)
    before = tree(tmp_path / "pairs")
    next((tmp_path / "pairs").glob("*/bone/s1/a.flac")).write_bytes(b"")
    assert run(air, tmp_path / "pairs", sensor_file).num_reused == 5
    assert tree(tmp_path / "pairs") == before


def test_a_source_may_be_mended_until_there_is_a_pair_of_it(
    air, tmp_path, sensor_file, speech, tree
):
    whole = (air / "s1/a.wav").read_bytes()
    (air / "s1/a.wav").write_bytes(whole[:20])
    assert list(run(air, tmp_path / "pairs", sensor_file).failures) == ["s1/a.wav"]
    (air / "s1/a.wav").write_bytes(whole)
    result = run(air, tmp_path / "pairs", sensor_file)
    assert (result.num_pairs, result.num_reused, result.failures) == (6, 5, {})
    run(air, tmp_path / "whole", sensor_file)
    assert tree(tmp_path / "pairs").items() >= tree(tmp_path / "whole").items()
    soundfile.write(air / "s1/a.wav", speech[0, :9000].numpy(), 16_000)
    with pytest.raises(UsageError, match=r"s1/a was rendered from another s1/a\.wav"):
        run(air, tmp_path / "pairs", sensor_file)
    (air / "s1/a.wav").rename(air / "s1/z.wav")
    with pytest.raises(UsageError, match="sources_sha256"):
        run(air, tmp_path / "pairs", sensor_file)


def test_a_name_that_is_not_utf8_is_as_good_as_any(tmp_path, speech, sensor_file):
    folder = tmp_path / "odd"
    folder.mkdir()
    soundfile.write(folder / "plain.wav", speech[0, :4000].numpy(), 16_000)
    os.rename(folder / "plain.wav", os.fsencode(folder) + b"/\xff\xfe.wav")
    assert run(folder, tmp_path / "pairs", sensor_file).num_pairs == 1


@pytest.mark.parametrize("sensor_name", ["temporal-transforms", "known"])
def test_of_silence_there_is_no_dataset(tmp_path, sensor_file, sensor_name):
    (tmp_path / "silent").mkdir()
    soundfile.write(tmp_path / "silent/zeros.wav", np.zeros(16_000), 16_000)
    name = sensor_file if sensor_name == "known" else sensor_name
    with pytest.raises(InputError, match=r"zeros\.wav: holds nothing but digital silence"):
        run(tmp_path / "silent", tmp_path / "pairs", name)
    assert not [*(tmp_path / "pairs").rglob("*.flac")]


def test_speech_above_full_scale_is_turned_down_and_never_clipped(tmp_path, speech, sensor_file):
    loud = 4 * speech[0] / speech[0].abs().max()
    (tmp_path / "loud").mkdir()
    soundfile.write(tmp_path / "loud/a.wav", loud.numpy(), 16_000, subtype="FLOAT")
    run(tmp_path / "loud", tmp_path / "pairs", sensor_file)
    air, _ = soundfile.read(next((tmp_path / "pairs").glob("*/air/*.flac")))
    assert np.abs(air - loud.numpy() / 4).max() < 1e-4


KILLED = """
import os, signal
from bcsim.workers import pool

run_parallel = pool.run_parallel

def until_the_fourth(*arguments, **options):
    for number, result in enumerate(run_parallel(*arguments, **options)):
        if number == 4:
            os.killpg(0, signal.SIGKILL)
        yield result

pool.run_parallel = until_the_fourth
from bcsim_cli.main import main
main()
"""


def test_a_run_that_is_killed_is_finished_by_the_same_command(air, tmp_path, sensor_file, tree):
    """The real thing: SIGKILL to the whole group in the middle, then the same command again."""
    for number in range(12):
        shutil.copy(air / "s1/b.flac", air / f"s2/copy{number}.flac")
    run(air, tmp_path / "whole", sensor_file)
    command = ["synthesize", "--in", str(air), "--out", str(tmp_path / "killed")]
    command += ["--sensor", sensor_file, "--jobs", "2"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *command], start_new_session=True, stderr=subprocess.DEVNULL
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("killed/*/bone/*/*"))) >= 4
    assert not (tmp_path / "killed/dataset.json").exists()
    command = [sys.executable, "-m", "bcsim_cli.main", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_no_two_recordings_share_an_id():
    """`a.wav.flac` beside `a.wav` and `a.flac` once overwrote one of them."""
    names = ["s/a.wav", "s/a.flac", "s/a.wav.flac", "s/nl\n.wav", "s/nl%0A.wav", "s/b.wav"]
    clips = plan_clips(names, 0, 0)
    assert len({clip.id for clip in clips}) == len(names)
    assert {clip.source: clip.id for clip in clips}["s/b.wav"] == "s/b"
    assert plan_clips(reversed(names), 0, 0) == clips


@pytest.mark.parametrize("folder", ["x.flac", "x.wav", "x.flac/deep.wav"])
def test_a_file_and_a_folder_of_its_name_get_out_of_each_others_way(folder):
    """`x.ogg` became bone/x.flac, where `x.flac/y.wav` wanted a folder: the run never ended."""
    odd = [f"s/{folder}/y.wav", "s/x.ogg"]
    clips = {clip.source: clip.id for clip in plan_clips(["s/other.wav", *odd], 0, 0)}
    assert clips["s/x.ogg"].startswith("s/x~")
    assert clips["s/other.wav"] == "s/other"
    assert clips[odd[0]] == f"s/{folder}/y"


def test_a_pipe_and_a_link_to_nowhere_are_skipped_by_name(air, tmp_path, sensor_file):
    os.mkfifo(air / "s1/pipe.wav")
    (air / "s1/gone.wav").symlink_to(tmp_path / "nowhere.wav")
    result = run(air, tmp_path / "pairs", sensor_file)
    assert result.num_pairs == 6
    assert sorted(result.failures) == ["s1/gone.wav", "s1/pipe.wav"]
