import contextlib
import errno
import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from bcsim.errors import DivergedError, EnvironmentFault, InputError
from bcsim.files import safetensors_file
from bcsim.rng import stream
from bcsim.training import checkpoint as checkpoints
from bcsim.training.checkpoint import (
    Checkpoint,
    _text,
    load_checkpoint,
    load_newest,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    tensors = {"model.weight": torch.full((3, 4), float(step)), "count": torch.tensor(step)}
    return Checkpoint(step, tensors, {"sums": {"loss": 0.1 * step}, "best": None})


def steps_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_comes_back(tmp_path):
    saved = checkpoint(3)
    save_checkpoint(tmp_path, saved)
    loaded = load_newest([tmp_path])
    assert loaded is not None
    assert (loaded.step, loaded.facts) == (saved.step, saved.facts)
    assert all(torch.equal(loaded.tensors[name], saved.tensors[name]) for name in saved.tensors)


def test_the_newest_two_are_kept(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, checkpoint(step))
    names = [f"step_{step:08d}.{kind}" for step in (2, 3) for kind in ("json", "safetensors")]
    assert steps_in(tmp_path) == names


def test_a_single_one_is_kept_where_one_is_asked_for(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step), num_kept=1)
    assert steps_in(tmp_path) == ["step_00000002.json", "step_00000002.safetensors"]


def test_what_was_just_written_outlives_what_claims_to_be_later(tmp_path):
    """After a fall-back to step 1 the damaged step 9 must not push the new step 2 out."""
    save_checkpoint(tmp_path, checkpoint(1))
    save_checkpoint(tmp_path, checkpoint(9))
    save_checkpoint(tmp_path, checkpoint(2), num_kept=1)
    assert steps_in(tmp_path) == ["step_00000002.json", "step_00000002.safetensors"]


@pytest.mark.parametrize("damage", ["flip", "cut"])
@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_damage_at_any_byte_is_detected_and_the_one_before_is_taken(tmp_path, caplog, kind, damage):
    save_checkpoint(tmp_path, checkpoint(1))
    save_checkpoint(tmp_path, checkpoint(2))
    path = tmp_path / f"step_00000002.{kind}"
    whole = path.read_bytes()
    generator = stream(1, "damage", kind, damage)
    for number, position in enumerate(generator.integers(len(whole), size=50), start=1):
        torn = bytearray(whole)
        torn[position] ^= int(generator.integers(1, 256))
        path.write_bytes(torn if damage == "flip" else whole[:position])
        loaded = load_newest([tmp_path])
        assert loaded is not None
        assert loaded.step == 1
        assert len(caplog.records) == number
        assert f"step_00000002.{kind}" in caplog.records[-1].getMessage()


def test_every_byte_of_the_facts_counts_even_a_blank(tmp_path):
    save_checkpoint(tmp_path, checkpoint(2))
    path = tmp_path / "step_00000002.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", 1))
    with pytest.raises(InputError, match="damaged: its content is not what its SHA-256 says"):
        load_checkpoint(path)


def test_files_of_another_step_are_detected(tmp_path, caplog):
    """Copied by hand, or by a backup: the tensors alone, or both files, each whole in itself."""
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step))
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "step_00000002.safetensors").write_bytes(kept["step_00000001.safetensors"])
    loaded = load_newest([tmp_path])
    assert loaded is not None
    assert loaded.step == 1
    assert "its SHA-256 is not that of step_00000002.json" in caplog.text
    (tmp_path / "step_00000002.json").write_bytes(kept["step_00000001.json"])
    loaded = load_newest([tmp_path])
    assert loaded is not None
    assert loaded.step == 1
    assert "it is of step 1, as it says itself" in caplog.text


def rehashed(path: Path, change) -> None:
    """Change the facts of a checkpoint as somebody would who knows how it is hashed."""
    facts = json.loads(path.read_text())
    del facts["sha256"]
    change(facts)
    path.write_text(_text(facts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": []}, r"facts is \[\]"),
        ({"step": True}, "it is of step True"),
        ({"step": -2}, "it is of step -2"),
        ({"step": 2.0}, "it is of step 2.0"),
        ({"tensors_sha256": None}, "tensors_sha256 is None"),
        ({"tensors_bytes": True}, "tensors_bytes is True"),
        ({"schema": "2"}, "schema 2, this version of bcsim reads 2"),
        ({"schema": 0}, "schema 0, this version of bcsim reads 2"),
        ({"format": "zip"}, "not a checkpoint of bcsim"),
    ],
)
def test_facts_of_another_type_are_refused(tmp_path, change, message):
    save_checkpoint(tmp_path, checkpoint(2))
    path = tmp_path / "step_00000002.json"
    rehashed(path, lambda facts: facts.update(change))
    with pytest.raises(InputError, match=message):
        load_checkpoint(path)


def test_weights_that_are_not_finite_are_not_loaded_either(tmp_path):
    save_checkpoint(tmp_path, checkpoint(2))
    path = tmp_path / "step_00000002.safetensors"
    content = save({"model.weight": torch.tensor([1.0, float("nan")])})
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    said = {"tensors_sha256": digest, "tensors_bytes": len(content)}
    rehashed(path.with_suffix(".json"), lambda facts: facts.update(said))
    with pytest.raises(InputError, match=r"model\.weight holds values that are not finite numbers"):
        load_checkpoint(path.with_suffix(".json"))


@pytest.mark.parametrize("kind", ["json", "safetensors"])
@pytest.mark.parametrize("foreign", ["pickle", "zip"])
def test_a_foreign_file_is_called_what_it_is_and_not_run(tmp_path, kind, foreign):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return (canary.touch, ())

    save_checkpoint(tmp_path, checkpoint(2))
    path = tmp_path / f"step_00000002.{kind}"
    if foreign == "zip":
        torch.save({"model.weight": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InputError, match=f"a {foreign}.*; bcsim reads safetensors only"):
        load_checkpoint(tmp_path / "step_00000002.json")
    assert not canary.exists()


def test_what_blocks_or_is_a_folder_is_passed_over(tmp_path, caplog):
    save_checkpoint(tmp_path, checkpoint(1))
    os.mkfifo(tmp_path / "step_00000003.json")
    (tmp_path / "step_00000004.json").mkdir()
    save_checkpoint(tmp_path, checkpoint(5))
    os.mkfifo(tmp_path / "step_00000006.json")
    (tmp_path / "step_00000005.safetensors").unlink()
    os.mkfifo(tmp_path / "step_00000005.safetensors")
    with pytest.raises(InputError, match="no checkpoint is whole"):
        load_newest([tmp_path])
    assert "step_00000006.json: not a regular file" in caplog.text


@pytest.mark.parametrize("length", [0, 1, 8, 100])
@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_a_truncated_one_is_detected_and_warned_of(tmp_path, caplog, kind, length):
    save_checkpoint(tmp_path, checkpoint(1))
    save_checkpoint(tmp_path, checkpoint(2))
    path = tmp_path / f"step_00000002.{kind}"
    path.write_bytes(path.read_bytes()[:length])
    loaded = load_newest([tmp_path])
    assert loaded is not None
    assert loaded.step == 1
    assert "step_00000002" in caplog.text
    assert "trying an earlier checkpoint" in caplog.text


def test_tensors_larger_than_memory_are_passed_over_unread(tmp_path, caplog):
    """Sparse, so that they take no room on the disk either."""
    save_checkpoint(tmp_path, checkpoint(1))
    save_checkpoint(tmp_path, checkpoint(2))
    os.truncate(tmp_path / "step_00000002.safetensors", 2**42)
    loaded = load_newest([tmp_path])
    assert loaded is not None
    assert loaded.step == 1
    assert f"damaged: {2**42} bytes long, not " in caplog.text


def test_other_folders_are_searched_when_the_first_has_none_whole(tmp_path):
    save_checkpoint(tmp_path / "last", checkpoint(5))
    save_checkpoint(tmp_path / "best", checkpoint(3))
    (tmp_path / "last/step_00000005.safetensors").unlink()
    loaded = load_newest([tmp_path / "last", tmp_path / "best"])
    assert loaded is not None
    assert loaded.step == 3


def test_if_none_is_whole_the_run_is_not_begun_anew_in_silence(tmp_path):
    save_checkpoint(tmp_path, checkpoint(5))
    (tmp_path / "step_00000005.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint is whole; begin anew in another folder"):
        load_newest([tmp_path])
    assert load_newest([tmp_path / "nothing"]) is None


def test_a_later_schema_is_refused_and_not_passed_over(tmp_path, monkeypatch):
    """Going on from an earlier checkpoint would remove it; nobody must call it damaged."""
    save_checkpoint(tmp_path, checkpoint(1))
    monkeypatch.setattr("bcsim.training.checkpoint.SCHEMA", 3)
    save_checkpoint(tmp_path, checkpoint(2))
    monkeypatch.undo()
    before = steps_in(tmp_path)
    with pytest.raises(InputError, match="schema 3, this version of bcsim reads 2; use the one"):
        load_newest([tmp_path])
    assert steps_in(tmp_path) == before


def test_values_that_are_not_finite_are_never_saved(tmp_path):
    broken = Checkpoint(2, {"weight": torch.tensor([1.0, float("nan")])}, {})
    with pytest.raises(DivergedError, match="step 2: weight is not finite"):
        save_checkpoint(tmp_path, broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "operation"),
    [(os, "open"), (Path, "write_bytes"), (os, "fsync"), (os, "replace"), (os, "unlink")],
)
def test_wherever_a_write_fails_a_whole_checkpoint_stays_and_the_next_one_works(
    tmp_path, monkeypatch, place, operation
):
    """The k-th call fails, for every k until none does."""
    original = getattr(place, operation)

    def fails_at(failing: int) -> bool:
        folder = tmp_path / str(failing)
        save_checkpoint(folder, checkpoint(1), num_kept=1)
        calls = []

        def failing_call(*arguments, **options):
            calls.append(arguments)
            if len(calls) == failing + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(place, operation, failing_call)
            with contextlib.suppress(EnvironmentFault):
                save_checkpoint(folder, checkpoint(2), num_kept=1)
        loaded = load_newest([folder])
        assert loaded is not None
        assert not list(folder.glob(".*"))
        assert len(calls) > failing or loaded.step == 2
        save_checkpoint(folder, checkpoint(3), num_kept=1)
        assert steps_in(folder) == ["step_00000003.json", "step_00000003.safetensors"]
        return len(calls) > failing

    assert [fails_at(0), fails_at(1)] == [True, True]
    assert not all(fails_at(failing) for failing in range(2, 20))


@pytest.mark.parametrize("change", [{"0.other": []}, {"1.step": []}, {"0.exp_avg": [3]}, {"x": []}])
def test_moments_of_another_optimizer_are_refused(change):
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([weight])
    whole = {"0.step": torch.tensor(1.0), "0.exp_avg": torch.ones(2), "0.exp_avg_sq": torch.ones(2)}
    restore_optimizer(optimizer, whole)
    with pytest.raises(ValueError, match="of another optimizer: "):
        restore_optimizer(optimizer, whole | {n: torch.ones(s) for n, s in change.items()})
    del whole["0.exp_avg_sq"]
    with pytest.raises(ValueError, match=r"0\.exp_avg_sq is missing"):
        restore_optimizer(optimizer, whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.exp_avg": torch.ones(2, dtype=torch.int64)}, "0.exp_avg is torch.int64"),
        ({"0.exp_avg": torch.ones(2, dtype=torch.complex64)}, "0.exp_avg is torch.complex64"),
        ({"0.step": torch.tensor(1)}, "0.step is torch.int64"),
        ({"0.step": torch.tensor(-1.0)}, "0.step is negative"),
        ({"0.exp_avg_sq": torch.tensor([1.0, -1e-9])}, "0.exp_avg_sq is negative"),
    ],
)
def test_moments_that_no_optimizer_makes_are_refused(change, message):
    whole = {"0.step": torch.tensor(1.0), "0.exp_avg": torch.ones(2), "0.exp_avg_sq": torch.ones(2)}
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    with pytest.raises(ValueError, match=message):
        restore_optimizer(optimizer, whole | change)


@pytest.mark.parametrize("optimizer_class", [torch.optim.Adam, torch.optim.AdamW])
def test_an_optimizer_goes_on_as_if_it_had_never_been_saved(optimizer_class):
    def steps(weight, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()

    unbroken, resumed = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    one = optimizer_class([unbroken], lr=0.1, weight_decay=0.1)
    steps(unbroken, one, 2)
    with torch.no_grad():
        resumed.copy_(unbroken)
    other = optimizer_class([resumed], lr=0.1, weight_decay=0.1)
    restore_optimizer(other, {k: v.clone() for k, v in optimizer_tensors(one).items()})
    steps(unbroken, one, 3)
    steps(resumed, other, 3)
    assert torch.equal(unbroken, resumed)


@pytest.mark.parametrize(
    ("where", "name"), [(checkpoints, "MAX_FACTS_BYTES"), (safetensors_file, "MAX_HEADER_BYTES")]
)
def test_a_checkpoint_that_could_not_be_read_again_replaces_none(
    where, name, tmp_path, monkeypatch
):
    """It would have been found out when the run was to be resumed."""
    save_checkpoint(tmp_path, checkpoint(1))
    monkeypatch.setattr(where, name, 20)
    with pytest.raises(InputError, match="20 "):
        save_checkpoint(tmp_path, checkpoint(2))
    monkeypatch.undo()
    assert steps_in(tmp_path) == ["step_00000001.json", "step_00000001.safetensors"]
    loaded = load_newest([tmp_path])
    assert loaded is not None
    assert loaded.step == 1
