"""What happens between the talker's mouth and the sensor's samples: one effect a file."""

from bcsim.effects.base import Effect
from bcsim.registry import Registry

EFFECTS: Registry[type[Effect]] = Registry("effect", "bcsim.effects")
