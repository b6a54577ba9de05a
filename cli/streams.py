"""The standard streams of the command."""

import os
import sys
from typing import TYPE_CHECKING

import click

from bcsim.errors import fit_line

if TYPE_CHECKING:
    from bcsim.synthesis.run import SynthesisResult


def open_closed_streams() -> None:
    """Open /dev/null in place of standard streams that the caller closed.

    Otherwise the next opened files would get their descriptors, and messages would end up in them.
    """
    for number in range(3):  # all of them first: what is opened takes the lowest free number
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # child processes need it
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def say(text: str) -> None:
    """Print one line on stderr, made safe and short by `fit_line`: it may hold untrusted names."""
    click.echo(fit_line(text), err=True)


def say_turned_down(result: "SynthesisResult") -> None:
    """Print how many pairs of a dataset were turned down by their peaks, if any were."""
    if result.num_turned_down:
        say(
            f"{result.num_turned_down} pairs would have exceeded full scale and are turned down, "
            f"{result.num_air_turned_down} of them air too, by {-result.lowest_gain_db:.1f} dB at "
            "most; see applied_gain_db in metadata.jsonl"
        )
