"""Use of trained enhancers."""
