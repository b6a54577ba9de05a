"""The networks of a run, loaded from the folders of models and exported to them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch.optim.swa_utils import AveragedModel

from bcsim.discriminators import storage as discriminators
from bcsim.discriminators.base import Discriminator
from bcsim.errors import UsageError
from bcsim.files.safetensors_file import check_shapes, shapes_of
from bcsim.models.base import CHANNELS, Enhancer
from bcsim.models.storage import (
    AIR_TO_BONE,
    Direction,
    build_enhancer,
    load_enhancer,
    save_enhancer,
)
from bcsim.training.config import TrainingConfig

INITIAL = {"initial_gain"}  # parameters that say nothing of weights that have learnt

log = logging.getLogger(__name__)


def build_model(config: TrainingConfig) -> Enhancer:
    """Make the network that a recipe asks for.

    Raises:
        UsageError: if the network is of another rate than the recipe, or takes channels that the
            pairs do not have.
    """
    model = build_enhancer({"sample_rate": config.sample_rate, **config.model}, config.seed)
    if model.sample_rate != config.sample_rate:
        raise UsageError(
            f"model.sample_rate is {model.sample_rate}, the recipe's is {config.sample_rate}; "
            "leave the first one out"
        )
    if model.channels not in CHANNELS:
        raise UsageError(
            f"the network takes {', '.join(model.channels)}; pairs have bone, or bone and air"
        )
    if config.direction == AIR_TO_BONE and model.channels != ("bone",):
        raise UsageError(
            f"model.channels is {list(model.channels)}, and direction air-to-bone trains a network "
            "that makes bone from air alone: use [bone]"
        )
    return model


@dataclass(frozen=True)
class Networks:
    """The networks of a run.

    Args:
        model: network that is trained.
        average: moving average of its weights, or None.
        discriminator: discriminator that it is trained against, or None.
    """

    model: Enhancer
    average: AveragedModel | None
    discriminator: Discriminator | None

    @property
    def enhancer(self) -> Enhancer:
        """The network that is validated and exported."""
        return self.model if self.average is None else cast(Enhancer, self.average.module)

    def begin_from(self, folder: Path, direction: Direction) -> None:
        """Load the weights of another model, for training to begin with.

        Args:
            folder: folder that `save_enhancer` wrote, with or without a discriminator.
            direction: direction that the model has to have.

        Raises:
            InputError: if the model cannot be read, or has other weights.
            UsageError: if the recipe's network has other parameters.
        """
        source = load_enhancer(folder, direction)
        for key, value in self.model.config.items():
            theirs = source.config.get(key)
            if key not in INITIAL and theirs != value:
                raise UsageError(
                    f"{folder}: a network with {key} {theirs!r}, the recipe's has {value!r}; set "
                    f"model.{key}"
                )
        weights = source.state_dict()
        check_shapes(folder, shapes_of(self.model.state_dict()), shapes_of(weights))
        for network in {self.model, self.enhancer}:
            network.load_state_dict(weights)
        if self.discriminator is not None and (folder / discriminators.WEIGHTS_FILE).is_file():
            weights = discriminators.load_discriminator(folder).state_dict()
            if shapes_of(weights) == shapes_of(self.discriminator.state_dict()):
                self.discriminator.load_state_dict(weights)
            else:
                log.warning("%s: its discriminator is another one; ours begins afresh", folder)

    def export(self, folder: Path, config: TrainingConfig, facts: Mapping[str, Any]) -> None:
        """Write the networks as users load them.

        Args:
            folder: folder of the run.
            config: all settings of the run.
            facts: what else `config.json` says, under "facts".

        Raises:
            EnvironmentFault: if a file cannot be written.
        """
        save_enhancer(folder, self.enhancer, facts, config.direction)
        if self.discriminator is not None:
            assert config.adversarial is not None
            discriminators.save_discriminator(
                folder, self.discriminator, config.adversarial.discriminator
            )

    def check_export(self, folder: Path, direction: Direction) -> None:
        """Check that what `export` wrote can be read.

        Raises:
            InputError: if a file is missing or damaged.
        """
        load_enhancer(folder, direction)
        if self.discriminator is not None:
            discriminators.load_discriminator(folder)
