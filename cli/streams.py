"""What the command says, and where to."""

import os
import sys

import click


def open_closed_streams() -> None:
    """Let standard streams that the caller closed lead to nowhere, as if /dev/null had been given.

    Else the next files that are opened would take their numbers, and what is said get into them.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # Gets the lowest number that is free, this one; processes that we start need it, too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r"))  # noqa: SIM115


def say(text: str) -> None:
    """Print one line on stderr, safe to show although names of strangers may be in it."""
    from bcsim.errors import fit_line

    click.echo(fit_line(text), err=True)
