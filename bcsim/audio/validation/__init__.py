"""Checks of audio files before libsndfile decodes them: one file a container."""
