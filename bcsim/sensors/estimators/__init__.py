"""Estimators of the air-to-bone response, one file each."""

from bcsim.registry import Registry
from bcsim.sensors.estimators.base import Estimator

ESTIMATORS: Registry[type[Estimator]] = Registry("estimator", "bcsim.sensors.estimators")
