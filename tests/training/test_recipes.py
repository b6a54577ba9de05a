"""The training recipes that come with bcsim."""

import pytest
import torch

from bcsim.discriminators.storage import build_discriminator
from bcsim.effects import EFFECTS
from bcsim.files.safetensors_file import _NoNorms
from bcsim.recipe import from_mapping, read_yaml
from bcsim.training.config import TrainingConfig
from bcsim.training.networks import build_model
from bcsim.training.optimization import WeightedObjectives
from bcsim.workflows.presets import bundled_recipes

RECIPES = bundled_recipes("training")


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_makes_all_that_it_names(name):
    config = from_mapping(TrainingConfig, read_yaml(RECIPES[name]), name)
    with torch.device("meta"), _NoNorms():  # large networks would take seconds to draw
        model = build_model(config)
        if config.adversarial is not None:
            build_discriminator(config.adversarial.discriminator, config.seed)
    assert model.num_parameters > 0
    WeightedObjectives(config.losses, config.sample_rate)
    for effect in config.effects or []:
        assert effect["name"] in EFFECTS
