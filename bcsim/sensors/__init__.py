"""What a sensor is: its profile, its responses, its filters."""
