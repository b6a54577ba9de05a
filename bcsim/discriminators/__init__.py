"""Discriminators: networks that tell air-conducted speech from an enhancer's, one file each."""

from bcsim.discriminators.base import Discriminator
from bcsim.registry import Registry

DISCRIMINATORS: Registry[type[Discriminator]] = Registry("discriminator", "bcsim.discriminators")
