"""How a sensor is fitted to paired recordings."""
