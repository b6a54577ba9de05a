"""Headers of audio containers, checked before libsndfile sees the file."""
