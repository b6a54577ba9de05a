"""Worker processes: the pool, the engines that run them, and their limits."""
