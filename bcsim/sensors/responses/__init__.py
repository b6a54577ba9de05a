"""Speech-dependent responses."""
