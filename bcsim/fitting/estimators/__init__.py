"""Estimators of the air-to-bone response, one file each."""

from bcsim.fitting.estimators.base import Estimator
from bcsim.registry import Registry

ESTIMATORS: Registry[type[Estimator]] = Registry("estimator", "bcsim.fitting.estimators")
