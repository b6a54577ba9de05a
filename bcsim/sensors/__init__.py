"""What a sensor is, and how one is fitted."""
