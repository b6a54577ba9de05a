"""The networks of a run, and how they come from the folders of models and go there."""

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
from bcsim.models.base import Enhancer
from bcsim.models.storage import Direction, build_enhancer, load_enhancer, save_enhancer
from bcsim.training.config import TrainingConfig

HARMLESS = {"initial_gain"}  # what a model may be made with otherwise and be the same

log = logging.getLogger(__name__)


def build_model(config: TrainingConfig) -> Enhancer:
    """Make the network that a recipe asks for.

    Raises:
        UsageError: if it is of another rate than the recipe, or wants signals that pairs lack.
    """
    model = build_enhancer({"sample_rate": config.sample_rate, **config.model}, config.seed)
    if model.sample_rate != config.sample_rate:
        raise UsageError(
            f"model.sample_rate is {model.sample_rate}, the recipe's is {config.sample_rate}; "
            "leave the first one out"
        )
    if model.channels != ("bone",):
        raise UsageError(
            f"model.channels is {list(model.channels)}; the pairs have a bone signal alone to "
            "enhance: use [bone]"
        )
    return model


@dataclass(frozen=True)
class Networks:
    """What learns in a run.

    Args:
        model: that is trained.
        average: of its weights, if one is kept.
        discriminator: if there is one.
    """

    model: Enhancer
    average: AveragedModel | None
    discriminator: Discriminator | None

    @property
    def enhancer(self) -> Enhancer:
        """The network that is validated and exported."""
        return self.model if self.average is None else cast(Enhancer, self.average.module)

    def begin_from(self, folder: Path, direction: Direction) -> None:
        """Take the weights of another model to begin with.

        Args:
            folder: that `save_enhancer` wrote, with or without a discriminator.
            direction: that it has to be of.

        Raises:
            InputError: if it cannot be read, or its networks have other weights.
            UsageError: if the recipe's network is made otherwise.
        """
        source = load_enhancer(folder, direction)
        for key, value in self.model.config.items():
            theirs = source.config.get(key)
            if key not in HARMLESS and theirs != value:
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
            folder: of the model.
            config: of the run.
            facts: that its card tells.

        Raises:
            EnvironmentFault: if they cannot be written.
        """
        save_enhancer(folder, self.enhancer, facts, config.direction)
        if self.discriminator is not None:
            assert config.adversarial is not None
            discriminators.save_discriminator(
                folder, self.discriminator, config.adversarial.discriminator
            )

    def check_export(self, folder: Path, direction: Direction) -> None:
        """Read what `export` wrote.

        Raises:
            InputError: if it is missing or damaged.
        """
        load_enhancer(folder, direction)
        if self.discriminator is not None:
            discriminators.load_discriminator(folder)
