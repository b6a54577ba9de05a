"""Audio files: one way to open, read and write them."""
