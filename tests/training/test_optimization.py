import math

import pytest
import torch

from bcsim.errors import UsageError
from bcsim.training.config import OptimizerConfig, ScheduleConfig
from bcsim.training.optimization import WeightedObjectives, make_optimizer, set_learning_rate


def rates(schedule: ScheduleConfig, num_steps: int) -> list[float]:
    optimizer = make_optimizer(torch.nn.Linear(1, 1), OptimizerConfig(learning_rate=2.0))
    seen = []
    for step in range(num_steps):
        set_learning_rate(optimizer, schedule, step, num_steps)
        seen.append(optimizer.param_groups[0]["lr"])
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


def test_every_term_comes_with_the_weight_of_its_loss():
    specs = [{"name": "l1", "weight": 3.0}, {"name": "mse"}]
    losses = WeightedObjectives(specs, sample_rate=16_000)
    terms, weights = losses(torch.full((1, 1, 4), 0.5), torch.zeros(1, 1, 4))
    assert {name: value.item() for name, value in terms.items()} == {"l1": 0.5, "mse": 0.25}
    assert weights == {"l1": 3.0, "mse": 1.0}


def test_layers_have_rates_of_their_own_and_the_longest_name_counts():
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1), "ab": torch.nn.Linear(1, 1)})
    config = OptimizerConfig(learning_rate=2.0, layers={"a": 0.5, "a.bias": 0})
    optimizer = make_optimizer(model, config)
    found = {
        name: group["initial_lr"]
        for group in optimizer.param_groups
        for name, weights in model.named_parameters()
        if any(weights is member for member in group["params"])
    }
    assert found == {"a.weight": 1.0, "ab.weight": 2.0, "ab.bias": 2.0}
    assert not model["a"].bias.requires_grad


def test_layers_that_are_not_there_are_refused():
    with pytest.raises(UsageError, match="no weight is called 'weigt'; did you mean 'weight'"):
        make_optimizer(torch.nn.Linear(1, 1), OptimizerConfig(layers={"weigt": 0.1}))
    with pytest.raises(UsageError, match="leave something to learn"):
        make_optimizer(torch.nn.Linear(1, 1, bias=False), OptimizerConfig(layers={"weight": 0.0}))


def test_frozen_weights_are_left_to_themselves():
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    (group,) = make_optimizer(model, OptimizerConfig()).param_groups
    assert group["params"] == [model.weight]
