"""What training wants to be true before its first step, and whenever it is taken up again."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from bcsim.audio.write import write_audio
from bcsim.datasets.checksums import write_sums
from bcsim.datasets.manifest import SUMS_NAME, PairRow, write_manifest
from bcsim.errors import EnvironmentFault, InputError, UsageError
from bcsim.rng import stream
from bcsim.training.run import TrainingResult
from bcsim.workflows import rendered_air
from bcsim.workflows import train as workflow
from bcsim.workflows.train import check_dataset, train

RATE = 16_000


def row(split: str, number: int) -> PairRow:
    name = f"s{number}/a"
    return PairRow(
        id=f"{split}/{name}", bone_file_name=f"bone/{name}.flac", air_file_name=f"air/{name}.flac",
        speaker=f"s{number}", duration_s=0.25, sample_rate=RATE, sensor="known",
        source=f"{name}.wav", source_sha256="0", seed=0, drawn={},
    )  # fmt: skip


def noise(*names: object) -> np.ndarray:
    return 0.1 * stream(0, *map(str, names)).standard_normal(RATE // 4)


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "pairs"
    for split in ("train", "validation"):
        rows = [row(split, number) for number in range(2)]
        write_manifest(folder / split / "metadata.jsonl", rows)
        for name in (name for row in rows for name in row.file_names.values()):
            write_audio(folder / split / name, noise(split, name), RATE)
    write_sums(folder)
    return folder


def rewrite(dataset, rows) -> None:
    """Change a manifest as somebody would who brings the sums up to date."""
    write_manifest(dataset / "train/metadata.jsonl", rows)
    (dataset / SUMS_NAME).unlink()
    write_sums(dataset)


BONE = "train/bone/s1/a.flac"
DAMAGE = {
    "missing": (lambda d: (d / BONE).unlink(), r"a\.flac: is missing"),
    "torn": (lambda d: os.truncate(d / BONE, 100), r"a\.flac: "),
    "empty": (lambda d: os.truncate(d / BONE, 0), r"a\.flac: is missing, or no audio"),
    "cut short": (
        lambda d: write_audio(d / BONE, noise(1)[:2000], RATE),
        r"a\.flac: holds 2000 samples, its row says 4000",
    ),
    "changed": (lambda d: write_audio(d / BONE, noise(1), RATE), r"a\.flac: is not what was"),
    "another file listed twice": (
        lambda d: rewrite(d, [row("train", 0), dataclasses.replace(row("train", 0), id="x")]),
        "is listed twice",
    ),
    "an unknown manifest": (
        lambda d: write_manifest(d / "train/metadata.jsonl", [row("train", 0)]),
        r"a\.flac: is in no manifest",
    ),
    "not finished": (lambda d: (d / ".bcsim.tmp").mkdir(), "is not finished"),
}


def test_a_whole_dataset_is_accepted(dataset, caplog):
    check_dataset(dataset, hashes=True)
    assert not caplog.records


@pytest.mark.parametrize("case", list(DAMAGE))
def test_a_damaged_dataset_is_refused_before_the_first_step(dataset, tmp_path, recipe, case):
    damage, message = DAMAGE[case]
    damage(dataset)
    with pytest.raises(InputError, match=message):
        check_dataset(dataset, hashes=True)
    with pytest.raises(InputError):
        train(recipe, tmp_path / "run", pairs=dataset)
    assert {path.name for path in (tmp_path / "run").glob("*")} <= {".lock"}


@pytest.mark.parametrize("case", ["missing", "empty", "cut short"])
def test_without_sums_lengths_are_looked_at_and_a_line_says_so(dataset, caplog, case):
    (dataset / SUMS_NAME).unlink()
    check_dataset(dataset, hashes=True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"has no {SUMS_NAME}; its files are looked at by length alone" in caplog.text
    damage, _ = DAMAGE[case]
    damage(dataset)
    with pytest.raises(InputError, match=r"a\.flac: (holds 2000 samples|is missing, or no)"):
        check_dataset(dataset, hashes=True)


def test_the_first_problems_are_named_and_all_are_counted(dataset, caplog):
    for path in dataset.glob("*/*/*/a.flac"):
        path.unlink()
    with pytest.raises(InputError, match=r"a\.flac: .*the first of \d+ problems.*bcsim verify"):
        check_dataset(dataset, hashes=False)
    assert 1 <= len(caplog.records) < workflow.NUM_TOLD


def test_a_pair_in_both_splits_is_refused(dataset, recipe, tmp_path):
    rewrite(dataset, [dataclasses.replace(row("train", 0), id="validation/s0/a")])
    with pytest.raises(InputError, match="is in train and in validation"):
        train(recipe, tmp_path / "run", pairs=dataset)


@pytest.fixture
def recorded(tmp_path):
    """Return a folder of recordings in pairs."""
    for role in ("air", "bone"):
        for number in range(3):
            path = tmp_path / f"recorded/{role}/s{number}/a.wav"
            path.parent.mkdir(parents=True)
            soundfile.write(path, noise(role, number), RATE, subtype="FLOAT")
    return tmp_path / "recorded"


@pytest.mark.parametrize("given", ["pairs", "real_pairs", "air"])
@pytest.mark.parametrize("damage", ["NaN", "cut"])
def test_a_bad_recording_is_left_out_named_and_counted(
    recorded, dataset, tmp_path, recipe, sensor_file, given, damage
):
    path = recorded / "air/s1/a.wav"
    if damage == "NaN":
        samples = noise(1)
        samples[2000] = np.nan
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    else:
        os.truncate(path, 3000)
    inputs = {
        "pairs": {"pairs": recorded},
        "real_pairs": {"pairs": dataset, "real_pairs": recorded},
        "air": {"air": recorded / "air", "sensor": sensor_file},
    }[given]
    settings = ("data.batch_size=2", "data.real_fraction=0.5")
    result = train(recipe, tmp_path / "run", settings=settings, **inputs)
    ((_, reason),) = result.failures.items()
    assert f"{path}: cannot be read as audio" in reason
    (line,) = (tmp_path / "run/failures.jsonl").read_text().splitlines()
    assert json.loads(line)["error"] == reason
    again = train(recipe, tmp_path / "run", settings=settings, resume=True, **inputs)
    assert again.failures == result.failures


def test_of_much_air_the_headers_are_read(recorded, tmp_path, recipe, sensor_file, monkeypatch):
    monkeypatch.setattr(rendered_air, "MAX_HASHED_BYTES", 1)
    (recorded / "air/s1/a.wav").write_bytes(b"RIFF")
    soundfile.write(recorded / "air/s2/a.wav", np.zeros(RATE), RATE)  # which takes decoding
    result = train(recipe, tmp_path / "run", air=recorded / "air", sensor=sensor_file)
    assert [*result.failures] == ["s1/a.wav"]


def test_a_run_that_goes_on_elsewhere_keeps_its_recipe(dataset, tmp_path, recipe):
    """A second --resume was refused, and had overwritten the recipe of the first."""
    out = tmp_path / "run"
    out.mkdir()
    code = (
        "import sys, time; from pathlib import Path\n"
        "from bcsim.files.run_folder import locked\n"
        "with locked(Path(sys.argv[1]), Path(sys.argv[1], '.lock')):\n"
        "    print(flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (out / "recipe.resolved.yaml").write_text("the first")
        with pytest.raises(EnvironmentFault, match="another run is writing there"):
            train(recipe, out, pairs=dataset, resume=True)
        other.kill()
    assert (out / "recipe.resolved.yaml").read_text() == "the first"


def test_what_a_kill_left_of_the_first_checkpoint_is_no_run_that_has_begun(
    dataset, tmp_path, recipe
):
    """The recipe on record was the earlier one's then, and no hash was compared."""
    out = tmp_path / "run"
    (out / "checkpoints/last").mkdir(parents=True)
    (out / "checkpoints/last/step_00000001.safetensors").touch()
    (out / "recipe.resolved.yaml").write_text("earlier")
    bone = dataset / BONE
    whole = bone.read_bytes()
    keeping_size_and_time(bone, lambda path: path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1])))
    with pytest.raises(InputError, match=r"a\.flac: is not what was"):
        train(recipe, out, pairs=dataset, resume=True)
    bone.write_bytes(whole)
    train(recipe, out, pairs=dataset, resume=True)
    assert "num_steps: 1" in (out / "recipe.resolved.yaml").read_text()


def keeping_size_and_time(path, change) -> None:
    """Change a file so that neither its size nor its time tells."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("given", ["recordings", "corpus"])
def test_an_input_that_changed_is_noticed_on_resume(
    given, tmp_path, recipe, sensor_file, tree, monkeypatch
):
    """Another take of the same length: names, sizes and times are what they were."""
    for role in ("air", "bone"):
        for number in range(3 if role == "air" else 1):
            path = tmp_path / f"recorded/{role}/s{number}/a.wav"
            path.parent.mkdir(parents=True)
            soundfile.write(path, noise(role, number), RATE, subtype="PCM_16")
    if given == "recordings":
        inputs = {"pairs": tmp_path / "recorded"}
        changed, name = tmp_path / "recorded/bone/s0/a.wav", "pairs_sha256"
    else:
        inputs = {"air": tmp_path / "recorded/air", "sensor": sensor_file}
        changed, name = tmp_path / "recorded/air/s0/a.wav", "sources_sha256"
    out = tmp_path / "run"
    train(recipe, out, **inputs)
    before = tree(out)
    assert train(recipe, out, **inputs, resume=True).num_steps == 1
    keeping_size_and_time(
        changed, lambda path: soundfile.write(path, noise("other"), RATE, subtype="PCM_16")
    )
    with pytest.raises(UsageError, match=rf"data_facts\.{name} '.*', now '.*': .*; .*use the same"):
        train(recipe, out, **inputs, resume=True)
    unchanging = {name for name in before if "tensorboard" not in name and name != "report.html"}
    assert {name: tree(out)[name] for name in unchanging} == {n: before[n] for n in unchanging}
    if given == "corpus":  # of one that is too large to be read before each resume, size tells
        monkeypatch.setattr(rendered_air, "MAX_HASHED_BYTES", 1)
        by_size = rendered_air.fingerprint_corpus(inputs["air"], ["s0/a.wav"])
        keeping_size_and_time(
            changed, lambda path: soundfile.write(path, noise(3), RATE, subtype="PCM_16")
        )
        assert rendered_air.fingerprint_corpus(inputs["air"], ["s0/a.wav"]) == by_size
        soundfile.write(changed, noise(3)[1:], RATE, subtype="PCM_16")
        assert rendered_air.fingerprint_corpus(inputs["air"], ["s0/a.wav"]) != by_size


def test_recorded_pairs_are_trained_on_as_the_recipe_augments_them(
    recorded, dataset, tmp_path, recipe, monkeypatch
):
    taken = []

    def train_model(config, data, out, **others):
        taken.append((data.training.crop(0, 0, 1000).bone, data.real.crop(0, 0, 1000).bone))
        others["before_steps"]()
        return TrainingResult(out, 0, 0, {})

    monkeypatch.setattr(workflow, "train_model", train_model)
    monkeypatch.setattr(workflow, "_reported", lambda *of: None)
    for number, gain_db in enumerate((0, 6)):
        settings = (f"data.augmentation=[{{name: smooth_eq, gains_db: {gain_db}}}]",)
        out = tmp_path / f"run{number}"
        train(recipe, out, pairs=dataset, real_pairs=recorded, settings=settings)
        assert f"gains_db: {gain_db}" in (out / "recipe.resolved.yaml").read_text()
        assert (out / "synchronised.jsonl").is_file()
    (stored, real), (stored_again, louder) = taken
    assert torch.equal(stored_again, stored)
    assert torch.allclose(louder, real * 10 ** (6 / 20), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("effect", "message"),
    [
        ("speeed", "unknown effect 'speeed'; did you mean 'speed'"),
        ("sensor_response", r"data\.augmentation: sensor_response needs a sensor"),
        ("speed", "for recorded pairs, and there are none"),
    ],
)
def test_what_cannot_be_augmented_is_refused(dataset, tmp_path, recipe, effect, message):
    settings = (f"data.augmentation=[{{name: {effect}}}]",)
    with pytest.raises(UsageError, match=message):
        train(recipe, tmp_path / "run", pairs=dataset, settings=settings)
    assert not (tmp_path / "run").exists()


def test_a_run_ends_with_a_verdict_which_its_report_begins_with(dataset, tmp_path, recipe):
    result = train(recipe, tmp_path / "run", pairs=dataset)
    assert result.verdict == json.loads((tmp_path / "run/verdict.json").read_text())
    assert result.verdict["headline"] in (tmp_path / "run/report.html").read_text()
    again = train(recipe, tmp_path / "run", pairs=dataset, resume=True)
    assert again.verdict == result.verdict
