"""The bundled training recipes: each can be trained with."""

import pytest
import torch

from bcsim.recipe import from_mapping, read_yaml
from bcsim.training.config import TrainingConfig
from bcsim.training.networks import build_model
from bcsim.training.optimization import WeightedObjectives
from bcsim.workflows.presets import bundled_recipes

RECIPES = bundled_recipes("training")


@pytest.fixture(params=RECIPES)
def config(request) -> TrainingConfig:
    return from_mapping(TrainingConfig, read_yaml(RECIPES[request.param]), request.param)


def test_it_makes_a_network_and_losses(config):
    with torch.device("meta"):  # some are large
        assert build_model(config).num_parameters > 0
    losses = WeightedObjectives(config.losses, config.sample_rate)
    assert len(losses.objectives) == len(config.losses)
