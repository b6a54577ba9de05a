"""Objectives: what training makes small, one file each."""

from bcsim.losses.base import Objective
from bcsim.registry import Registry

LOSSES: Registry[type[Objective]] = Registry("loss", "bcsim.losses")
