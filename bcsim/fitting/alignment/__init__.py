"""Delay, drift, polarity and level between the two channels of a pair."""
