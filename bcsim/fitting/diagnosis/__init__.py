"""What is wrong with paired recordings."""
