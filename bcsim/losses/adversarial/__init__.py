"""Losses of generator and discriminator in adversarial training, one file a criterion."""

from bcsim.losses.adversarial.base import Criterion
from bcsim.registry import Registry

CRITERIA: Registry[type[Criterion]] = Registry("adversarial criterion", "bcsim.losses.adversarial")
