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
from bcsim.models.storage import AIR_TO_BONE, build_enhancer, load_enhancer, save_enhancer
from bcsim.training.config import TrainingConfig

# Parameters that say nothing of weights that have learnt: what they were at first, and what is done
# to the outputs outside training.
NOT_OF_WEIGHTS = {"initial_gain", "gain_scale", "expansion", "band_smoothing"}

log = logging.getLogger(__name__)


def build_model(config: TrainingConfig) -> Enhancer:
    """Make the network of a recipe; UsageError if its sample rate or channels do not fit."""
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
    """The networks of a run: the enhancer, the moving average of its weights, the discriminator."""

    config: TrainingConfig
    model: Enhancer
    average: AveragedModel | None
    discriminator: Discriminator | None

    @property
    def enhancer(self) -> Enhancer:
        """The network that is validated and exported."""
        return self.model if self.average is None else cast(Enhancer, self.average.module)

    def begin_from(self, folder: Path) -> None:
        """Load the weights of an exported model, and of its discriminator if there is one.

        Raises:
            InputError: if the model cannot be read, or has another direction or other weights.
            UsageError: if the recipe's network has other parameters.
        """
        source = load_enhancer(folder, self.config.direction)
        for key, value in self.model.config.items():
            theirs = source.config.get(key)
            if key not in NOT_OF_WEIGHTS and theirs != value:
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

    def export(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write the networks as users load them, with `facts` in `config.json`."""
        save_enhancer(folder, self.enhancer, facts, self.config.direction)
        if self.discriminator is not None:
            assert self.config.adversarial is not None
            spec = self.config.adversarial.discriminator
            discriminators.save_discriminator(folder, self.discriminator, spec)

    def check_export(self, folder: Path) -> None:
        """Raise InputError if what `export` wrote is missing or damaged."""
        load_enhancer(folder, self.config.direction)
        if self.discriminator is not None:
            discriminators.load_discriminator(folder)
