import errno
import os
from pathlib import Path

import pytest
import torch

from bcsim.errors import EnvironmentFault, InputError
from bcsim.rng import stream
from bcsim.training.checkpoint import (
    Checkpoint,
    flatten_optimizer,
    load_checkpoint,
    load_newest,
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


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_every_flipped_bit_is_detected_and_the_one_before_is_taken(tmp_path, kind):
    save_checkpoint(tmp_path, checkpoint(1))
    save_checkpoint(tmp_path, checkpoint(2))
    path = tmp_path / f"step_00000002.{kind}"
    whole = path.read_bytes()
    for position in stream(1, "flips", kind).integers(len(whole), size=50):
        torn = bytearray(whole)
        torn[position] ^= 1 << int(position % 8)
        path.write_bytes(torn)
        loaded = load_newest([tmp_path])
        assert loaded is not None
        # A blank for a tab or the like may change no content of the JSON.
        assert loaded.step == 1 or loaded.facts == checkpoint(2).facts


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


def test_another_schema_is_refused_not_guessed(tmp_path, monkeypatch):
    monkeypatch.setattr("bcsim.training.checkpoint.SCHEMA", 2)
    save_checkpoint(tmp_path, checkpoint(1))
    monkeypatch.undo()
    with pytest.raises(InputError, match="schema 2, this version of bcsim reads 1"):
        load_checkpoint(tmp_path / "step_00000001.json")


def test_values_that_are_not_finite_are_never_saved(tmp_path):
    broken = Checkpoint(2, {"weight": torch.tensor([1.0, float("nan")])}, {})
    with pytest.raises(ValueError, match="step 2: weight is not finite"):
        save_checkpoint(tmp_path, broken)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, checkpoint(1))
    before = steps_in(tmp_path)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(EnvironmentFault, match="disk is full"):
        save_checkpoint(tmp_path, checkpoint(2))
    monkeypatch.undo()
    assert steps_in(tmp_path) == before
    loaded = load_newest([tmp_path])
    assert loaded is not None
    assert loaded.step == 1


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
    other = optimizer_class([resumed], lr=0.5)
    tensors, facts = flatten_optimizer(one)
    restore_optimizer(other, {k: v.clone() for k, v in tensors.items()}, facts)
    steps(unbroken, one, 3)
    steps(resumed, other, 3)
    assert torch.equal(unbroken, resumed)
