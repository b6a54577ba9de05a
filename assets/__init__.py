"""Bundled sensor profiles and a small speech set."""
