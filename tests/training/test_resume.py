"""A run goes on to more steps as if it had been begun with them, or says why it may not."""

import json
from dataclasses import asdict

import pytest

from bcsim.errors import UsageError
from bcsim.files.hashing import hash_file
from bcsim.metrics import METRICS
from bcsim.training.config import ScheduleConfig
from bcsim.training.data import TrainingData
from bcsim.training.resume import FREE_SETTINGS, check_continues
from bcsim.training.run import TrainingRun, train
from bcsim.training.trainer import Trainer

EXPORTED = ("model.safetensors", "config.json", "README.md", "metrics.jsonl")


@pytest.fixture
def constant(changed):
    """Return the config of a constant learning rate, of 4 steps unless others are asked for."""

    def make(num_steps: int = 4, every: int = 2, validate_every: int = 4, **validation):
        return changed(
            schedule=asdict(ScheduleConfig("constant", warmup_steps=1)),
            training={
                "num_steps": num_steps,
                "log_interval_steps": every,
                "checkpoint_interval_steps": every,
            },
            validation={"interval_steps": validate_every, **validation},
        )

    return make


def run_of(config, pairs, out) -> TrainingRun:
    return TrainingRun(Trainer(config, TrainingData(pairs)), out)


@pytest.mark.parametrize("validates", [True, False])
def test_more_steps_are_those_of_a_run_that_was_begun_with_them(
    constant, pairs, tmp_path, validates
):
    data = TrainingData(pairs, pairs if validates else None)
    train(constant(8), data, tmp_path / "whole")
    train(constant(4), data, tmp_path / "longer")
    result = train(constant(8), data, tmp_path / "longer", resume=True)
    assert result.num_steps == 8
    for name in EXPORTED:
        one, other = (hash_file(tmp_path / run / name) for run in ("whole", "longer"))
        assert one == other, name


def test_a_loss_goes_on_in_the_state_that_it_was_in(changed, pairs, tmp_path):
    """Without it the weights of the layers would be fixed at another step, and differ."""
    loss = {"name": "deep_features", "warmup_batches": 3, "averaged_batches": 2}
    config = changed(losses=[loss], training={"num_steps": 5, "checkpoint_interval_steps": 2})
    train(config, TrainingData(pairs), tmp_path / "whole")
    losses = run_of(config, pairs, tmp_path / "whole").trainer.gradients.objectives
    again = run_of(config, pairs, tmp_path / "whole")
    assert again.restore()
    restored = again.trainer.gradients.objectives.state_dict()
    assert restored["objectives.0.num_batches"] == 3
    assert (restored["objectives.0.weights"] != losses.state_dict()["objectives.0.weights"]).all()


def test_the_card_of_weights_that_stay_the_best_tells_the_new_number_of_steps(
    constant, pairs, tmp_path, monkeypatch
):
    """And the step of the weights is theirs, not that at which they are exported again."""
    data = TrainingData(pairs, pairs)
    train(constant(4), data, tmp_path)
    weights = hash_file(tmp_path / "model.safetensors")
    monkeypatch.setattr(type(METRICS["stoi"]), "is_better", lambda *_: False)
    result = train(constant(8), data, tmp_path, resume=True)
    assert result.best_step == 4
    facts = json.loads((tmp_path / "config.json").read_text())["facts"]
    assert (facts["step"], facts["steps_total"]) == (4, 8)
    assert "for 8 steps" in (tmp_path / "README.md").read_text()
    assert hash_file(tmp_path / "model.safetensors") == weights


def test_the_steps_of_a_falling_learning_rate_stay_what_they_were(changed, pairs, tmp_path):
    data = TrainingData(pairs)
    train(changed(training={"num_steps": 2}), data, tmp_path)
    with pytest.raises(UsageError, match=r"num_steps 2, now 3, on which .* the cosine schedule"):
        train(changed(training={"num_steps": 3}), data, tmp_path, resume=True)


def test_fewer_steps_than_were_done_are_refused(constant, pairs, tmp_path):
    train(constant(4), TrainingData(pairs), tmp_path)
    for num_steps in (2, 3):
        says = f"4 steps are done, training.num_steps is {num_steps}; set it to more than 4"
        with pytest.raises(UsageError, match=says):
            train(constant(num_steps), TrainingData(pairs), tmp_path, resume=True)


def test_every_other_setting_stays_what_it_was(constant, tmp_path):
    """Each field of the recipe by itself: a new one may not slip through."""
    begun = json.loads(json.dumps(asdict(constant())))
    allowed = set()
    for section, value in begun.items():
        names = [*value] if isinstance(value, dict) else [None]
        for name in names:
            now = json.loads(json.dumps(begun))
            if name is None:
                now[section] = "changed"
            else:
                now[section][name] = 99
            try:
                check_continues(tmp_path, begun, now, step=3)
            except UsageError:
                continue
            allowed.add((section, name))
    assert allowed == {(section, n) for section, names in FREE_SETTINGS.items() for n in names}


def test_what_a_run_that_was_killed_while_it_removed_checkpoints_left_goes(
    constant, pairs, tmp_path
):
    """A run of which all steps were done kept them for good: nothing is saved after them."""
    data = TrainingData(pairs, pairs)
    train(constant(), data, tmp_path)
    before = sorted(path.name for path in tmp_path.glob("checkpoints/*/*"))
    for left in ("last/step_00000001.json", "last/step_00000001.safetensors"):
        (tmp_path / "checkpoints" / left).write_text("old")
    (tmp_path / "checkpoints/best/step_00000002.safetensors").write_text("half of one")
    train(constant(), data, tmp_path, resume=True)
    assert sorted(path.name for path in tmp_path.glob("checkpoints/*/*")) == before
