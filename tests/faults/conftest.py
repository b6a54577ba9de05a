"""The drivers are run by the tests, in processes of their own; they hold no doctests."""

collect_ignore = ["disk_full.py", "harness.py", "one.py", "shimmed.py", "sweep.py"]
