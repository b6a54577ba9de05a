"""Training of enhancers."""
