import math

import pytest
import torch

from bcsim.training.config import OptimizerConfig, ScheduleConfig
from bcsim.training.optimization import WeightedObjectives, make_optimizer, make_scheduler


def rates(schedule: ScheduleConfig, num_steps: int) -> list[float]:
    weight = torch.nn.Linear(1, 1)
    optimizer = make_optimizer(weight, OptimizerConfig(learning_rate=2.0))
    scheduler = make_scheduler(optimizer, schedule, num_steps)
    seen = []
    for _ in range(num_steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


def test_a_constant_rate_stays():
    assert rates(ScheduleConfig(), 4) == [2.0] * 4


def test_a_warm_up_rises_in_equal_steps_to_the_peak():
    assert rates(ScheduleConfig(warmup_steps=4), 6) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_a_cosine_falls_from_the_peak_to_its_end():
    seen = rates(ScheduleConfig("cosine", warmup_steps=10, final_ratio=0.1), 110)
    for step in range(10, 110):
        progress = (step - 10) / 100
        assert seen[step] == pytest.approx(2 * (0.1 + 0.45 * (1 + math.cos(math.pi * progress))))


def test_losses_add_up_with_their_weights():
    losses = WeightedObjectives([{"name": "l1", "weight": 3.0}], sample_rate=16_000)
    total, terms = losses(torch.ones(1, 1, 4), torch.zeros(1, 1, 4))
    assert total.item() == 3.0
    assert {name: value.item() for name, value in terms.items()} == {"l1": 1.0}


def test_frozen_weights_are_left_to_themselves():
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    (group,) = make_optimizer(model, OptimizerConfig()).param_groups
    assert group["params"] == [model.weight]
