"""The command line of bcsim: one file a command, each a thin layer over `bcsim.workflows`."""
