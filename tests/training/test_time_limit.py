"""A run with a limit of time: its steps count, and nothing else does."""

import json
from dataclasses import asdict
from typing import Literal

import pytest

from bcsim.errors import UsageError
from bcsim.training import clock
from bcsim.training.config import ScheduleConfig
from bcsim.training.data import TrainingData
from bcsim.training.run import train
from bcsim.training.trainer import Trainer

STEP_S = 10.0


@pytest.fixture
def now(monkeypatch):
    """Replace the clock by one that steps move on by 10 s; return it, a list of one time."""
    time_s = [0.0]
    take_step = Trainer.take_step

    def slow_step(self, batch):
        take_step(self, batch)
        time_s[0] += STEP_S

    monkeypatch.setattr(clock.time, "monotonic", lambda: time_s[0])
    monkeypatch.setattr(Trainer, "take_step", slow_step)
    return time_s


@pytest.fixture
def limited(changed):
    """Return the config of a run of 1000 steps with a limit of time."""

    def make(
        limit_s: float = 25.0,
        schedule: Literal["constant", "cosine"] = "cosine",
        validate_every: int = 1000,
    ):
        training = {"num_steps": 1000, "time_limit_s": limit_s, "log_interval_steps": 1}
        return changed(
            schedule=asdict(ScheduleConfig(schedule, final_ratio=0.1)),
            training={**training, "checkpoint_interval_steps": 1},
            validation={"interval_steps": validate_every},
        )

    return make


def rates(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["train/learning_rate"] for line in lines if "train/learning_rate" in line]


def test_the_step_that_uses_the_limit_up_is_the_last(limited, pairs, tmp_path, now):
    result = train(limited(), TrainingData(pairs, pairs), tmp_path)
    assert (result.num_steps, result.best_step) == (3, 3)  # of 10 s each
    facts = json.loads((tmp_path / "config.json").read_text())["facts"]
    assert (facts["step"], facts["steps_total"]) == (3, 3)
    assert facts["scores"]["validation"]["enhanced"]["stoi"] is not None


def test_the_learning_rate_falls_with_the_time(limited, pairs, tmp_path, now):
    """It would have stayed at its peak: three of a thousand steps are the beginning of a cosine."""
    train(limited(limit_s=100.0), TrainingData(pairs), tmp_path)
    found = rates(tmp_path)
    assert len(found) == 10
    assert found[0] == pytest.approx(1e-3)
    assert found[5] == pytest.approx(0.55e-3)  # half way between the peak and a tenth of it
    assert found[9] < 0.15e-3


def test_time_that_is_not_trained_in_does_not_count(limited, pairs, tmp_path, now):
    def wait():
        now[0] += 1000.0

    data = TrainingData(pairs, pairs)
    config = limited(validate_every=1)
    assert train(config, data, tmp_path, after_validation=wait).num_steps == 3


def test_a_resumed_run_has_the_time_that_is_left(limited, pairs, tmp_path, now, monkeypatch):
    class Stopped(Exception):
        pass

    data, steps = TrainingData(pairs), []
    take_step = Trainer.take_step

    def stop_after_two(self, batch):
        if len(steps) == 2:
            raise Stopped
        steps.append(self.step)
        take_step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "take_step", stop_after_two)
        with pytest.raises(Stopped):
            train(limited(), data, tmp_path)
    now[0] += 5000.0
    assert train(limited(), data, tmp_path, resume=True).num_steps == 3
    assert train(limited(), data, tmp_path, resume=True).num_steps == 3  # it is over


def test_another_limit_is_another_run_where_the_learning_rate_follows_it(
    limited, pairs, tmp_path, now
):
    data = TrainingData(pairs)
    train(limited(), data, tmp_path / "falling")
    with pytest.raises(UsageError, match=r"time_limit_s 25.0, now 50.0, on which .* cosine"):
        train(limited(50.0), data, tmp_path / "falling", resume=True)
    train(limited(schedule="constant"), data, tmp_path / "constant")
    with pytest.raises(UsageError, match=r"30 s of training are done, training.time_limit_s is 5"):
        train(limited(5.0, "constant"), data, tmp_path / "constant", resume=True)
    result = train(limited(50.0, "constant"), data, tmp_path / "constant", resume=True)
    assert result.num_steps == 5


def test_several_processes_would_end_at_different_steps(limited, pairs, tmp_path, monkeypatch):
    init = Trainer.__init__

    def one_of_two(self, *arguments):
        init(self, *arguments)
        self.world_size = 2

    monkeypatch.setattr(Trainer, "__init__", one_of_two)
    with pytest.raises(UsageError, match="time_limit_s is for one process"):
        train(limited(), TrainingData(pairs), tmp_path)
