"""A sensor's response as a filter for other programs."""
