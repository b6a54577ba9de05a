"""Audio files, manifests and datasets of pairs."""
