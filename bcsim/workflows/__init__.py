"""One function a command: what the command line does, for those who would rather call it."""
