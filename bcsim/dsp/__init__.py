"""Signal processing: pure, batched torch functions, (B, T) in and out."""
