"""Objectives: the losses that training minimises, one file each."""

from bcsim.losses.base import Objective
from bcsim.registry import Registry

LOSSES: Registry[type[Objective]] = Registry("loss", "bcsim.losses")
