"""Rows of a manifest are enough to render their pairs again, without drawing anything."""

import dataclasses
import json
from pathlib import Path

import pytest
import soundfile
from pydantic import TypeAdapter

from bcsim.datasets import dataset, manifest
from bcsim.errors import InputError, UsageError
from bcsim.rng import stream
from bcsim.synthesis import rendering, run
from bcsim.workers.pool import Workers
from bcsim.workflows.synthesize import plan_replay, plan_synthesis, synthesize

ALL_TRAINING = ("splits.validation=0", "splits.test=0")


@pytest.fixture
def pairs(air, tmp_path, sensor_file) -> Path:
    out = tmp_path / "pairs"
    synthesize(plan_synthesis(air, out, sensor_file, settings=ALL_TRAINING, seed=3), Workers())
    return out


def replay(manifest, air, out, **options):
    return synthesize(plan_replay(manifest, air, out, **options), Workers())


def test_a_replay_is_byte_identical(air, tmp_path, pairs, tree, sensor_file):
    Path(sensor_file).unlink()  # the dataset has its own
    result = replay(pairs / "train/metadata.jsonl", air, tmp_path / "again")
    assert result.num_pairs == 6
    assert tree(tmp_path / "again/train") == tree(pairs / "train")


def test_some_lines_of_a_manifest_elsewhere_are_enough(air, tmp_path, pairs, tree, sensor_file):
    lines = (pairs / "train/metadata.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(lines[1:4]))
    given = {"sensor": sensor_file, "recipe": pairs / "recipe.resolved.yaml"}
    replay(tmp_path / "cut.jsonl", air, tmp_path / "some", **given)
    some, everything = tree(tmp_path / "some/train"), tree(pairs / "train")
    del some["metadata.jsonl"]
    assert len(some) == 6
    assert some.items() <= everything.items()


def test_nothing_is_drawn_again(air, tmp_path, pairs):
    """Other values in the rows give other pairs: the values count, not the seed."""
    lines = (pairs / "train/metadata.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    row["drawn"]["sensor_level"]["deviation"] += 1.0
    (tmp_path / "louder.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n")
    given = {"sensor": str(pairs / "profile.sensor"), "recipe": pairs / "recipe.resolved.yaml"}
    replay(tmp_path / "louder.jsonl", air, tmp_path / "louder", **given)
    louder, _ = soundfile.read(tmp_path / "louder/train" / row["bone_file_name"])
    before, _ = soundfile.read(pairs / "train" / row["bone_file_name"])
    assert abs(louder).sum() > 1.2 * abs(before).sum()  # one deviation is 4 dB


def test_a_replay_that_was_stopped_goes_on(air, tmp_path, pairs, tree):
    replay(pairs / "train/metadata.jsonl", air, tmp_path / "again")
    next((tmp_path / "again").glob("train/bone/s2/*.flac")).unlink()
    assert replay(pairs / "train/metadata.jsonl", air, tmp_path / "again").num_reused == 5
    assert tree(tmp_path / "again/train") == tree(pairs / "train")


def test_another_sensor_is_refused(air, tmp_path, pairs):
    with pytest.raises(UsageError, match=r"the sensor vibravox_throat: is not what .*SHA-256"):
        replay(pairs / "train/metadata.jsonl", air, tmp_path / "again", sensor="vibravox_throat")


def test_a_source_that_is_gone_is_named_before_anything_is_written(air, tmp_path, pairs):
    (air / "s1/b.flac").unlink()
    with pytest.raises(UsageError, match=r"s1/b: its source s1/b\.flac is not in .*air"):
        replay(pairs / "train/metadata.jsonl", air, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_source_that_changed_is_a_failure(air, tmp_path, pairs):
    noise = stream(0, "another recording").standard_normal(6000)
    soundfile.write(air / "s1/a.wav", 0.1 * noise, 16_000)
    result = replay(pairs / "train/metadata.jsonl", air, tmp_path / "again")
    assert result.num_pairs == 5
    assert "is not the file that s1/a was rendered from" in result.failures["s1/a.wav"]


def test_rows_of_another_recipe_are_failures(air, tmp_path, pairs):
    settings = ("effects.sensor_level={name: gain, gain_db: 3}",)
    with pytest.raises(InputError, match=r"none of 6 .* does not fit the recipe's effects"):
        replay(pairs / "train/metadata.jsonl", air, tmp_path / "again", settings=settings)
    assert not (tmp_path / "again/dataset.json").exists()
    failures = (tmp_path / "again/failures.jsonl").read_text().splitlines()
    assert len(failures) == 6
    assert all("does not fit the recipe's effects" in line for line in failures)


@pytest.mark.parametrize(
    "damage",
    [
        {"sensor_noise": 5},
        {"sensor_noise": {"level": "abc", "seed": 1}},
        {"sensor_noise": {"level": 1.0, "seed": 1e300}},
        {"sensor_response": {"wearer": []}},
    ],
    ids=str,
)
def test_rows_that_were_edited_are_skipped(air, tmp_path, sensor_file, damage):
    out = tmp_path / "pairs"
    synthesize(plan_synthesis(air, out, sensor_file, settings=ALL_TRAINING, seed=3), Workers())
    manifest = out / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[0]["drawn"] |= damage
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = synthesize(plan_replay(manifest, air, tmp_path / "again"), Workers())
    assert result.num_pairs == len(rows) - 1
    assert "does not fit the recipe's effects" in next(iter(result.failures.values()))


def test_another_sensor_is_refused_where_only_the_manifest_is_left(
    air, tmp_path, sensor, sensor_file
):
    out = tmp_path / "pairs"
    synthesize(plan_synthesis(air, out, sensor_file, settings=ALL_TRAINING), Workers())
    moved = tmp_path / "moved" / "rows.jsonl"
    moved.parent.mkdir()
    moved.write_bytes((out / "train" / "metadata.jsonl").read_bytes())
    dataclasses.replace(sensor, name="other").save(tmp_path / "other.sensor")
    with pytest.raises(UsageError, match="not with 'other'"):
        plan_replay(
            moved,
            air,
            tmp_path / "again",
            sensor=str(tmp_path / "other.sensor"),
            recipe=out / "recipe.resolved.yaml",
        )


def with_an_optional_key(monkeypatch) -> None:
    """Let rows be of a newer bcsim, whose manifests have another optional key."""
    newer = dataclasses.make_dataclass(
        "PairRow",
        [("microphone", str | None, dataclasses.field(default="a headset", kw_only=True))],
        bases=(manifest.PairRow,),
        frozen=True,
    )
    monkeypatch.setattr(manifest, "_ROW", TypeAdapter(newer))
    for module in (manifest, rendering, dataset, run):
        monkeypatch.setattr(module, "PairRow", newer)


def test_rows_from_before_a_manifest_key_was_added_still_replay(air, tmp_path, pairs, monkeypatch):
    """A key that a row lacks is no difference: the row is older than the key."""
    old = (pairs / "train/metadata.jsonl").read_text().splitlines()
    with_an_optional_key(monkeypatch)
    result = replay(pairs / "train/metadata.jsonl", air, tmp_path / "again")
    assert not result.failures
    new = (tmp_path / "again/train/metadata.jsonl").read_text().splitlines()
    told = {"microphone": "a headset"}
    assert [json.loads(line) for line in new] == [json.loads(line) | told for line in old]


def test_a_row_that_says_something_else_of_its_pair_is_a_failure(air, tmp_path, pairs):
    rows = [json.loads(line) for line in (pairs / "train/metadata.jsonl").read_text().splitlines()]
    rows[0]["duration_s"] += 1.0
    rows[1]["noisy_air_file_name"] = "noisy_air/x.flac"
    (pairs / "train/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = replay(pairs / "train/metadata.jsonl", air, tmp_path / "again")
    assert result.num_pairs == len(rows) - 2
    assert all("renders to another pair" in why for why in result.failures.values())
