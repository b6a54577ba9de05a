"""Worker processes: the pool, and the limits that contain them."""
