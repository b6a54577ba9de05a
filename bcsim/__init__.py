"""Learn a bone-conduction sensor from pairs, simulate it, and train enhancers on the result."""

__version__ = "0.1.0"
