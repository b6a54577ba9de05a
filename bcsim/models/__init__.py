"""Enhancers: networks that turn body-conducted into air-conducted speech, one file each."""

from bcsim.models.base import Enhancer
from bcsim.registry import Registry

MODELS: Registry[type[Enhancer]] = Registry("model", "bcsim.models")
