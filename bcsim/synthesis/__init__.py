"""Rendering of a corpus of air-conducted speech into a dataset of pairs."""
