"""The standard streams of the command."""

import io
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


class _Unbreakable(io.TextIOWrapper):
    """A stream whose reader may go away: what is written then is dropped, and the work goes on.

    Attributes:
        dropped_at: error after which what is written is dropped.
    """

    dropped_at: type[OSError] = BrokenPipeError

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except self.dropped_at:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except self.dropped_at:
            self._drop()

    def _drop(self) -> None:
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, self.fileno())
        os.close(nobody)


def outlive_readers() -> None:
    """Let the command go on, to its own exit code, when nobody reads what it prints any more.

    Messages may get lost on a full disk, too; results may not.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        encoding, errors = stream.encoding, stream.errors
        told = _Unbreakable(stream.detach(), encoding, errors, line_buffering=stream.line_buffering)
        if name == "stderr":
            told.dropped_at = OSError
        for place in (name, f"__{name}__"):
            setattr(sys, place, told)


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
