"""Options of paired recordings, which several commands share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .options import PATH, options

channel_options = options(
    click.option(
        "--air-channel",
        metavar="CHANNEL",
        help="Of files with several: 1, 2, ..., left, right, x, y, z or strongest "
        "[default: their average].",
    ),
    click.option("--bone-channel", metavar="CHANNEL", help="The same, of the sensor's files."),
)
talkers_option = click.option(
    "--talkers",
    type=PATH,
    help="Table with columns file, talker [default: a list tells, or the first folder].",
)
_recordings_options = options(
    click.option("--air", type=PATH, help="Air recordings: file, folder or 'PATTERN' in quotes."),
    click.option("--bone", type=PATH, help="Recordings of the sensor, given in the same way."),
    click.option(
        "--pairs", type=PATH, help="Both in one folder, or a list with the columns air and bone."
    ),
    talkers_option,
    channel_options,
)


def recordings_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of paired recordings: `air`, `bone`, `talkers` and `channels`."""

    @_recordings_options
    @functools.wraps(command)
    def with_recordings(
        air: Path | None,
        bone: Path | None,
        pairs: Path | None,
        air_channel: str | None,
        bone_channel: str | None,
        **others: Any,
    ) -> int:
        if (pairs is None) == (air is None and bone is None) or (air is None) != (bone is None):
            raise click.UsageError("give --air and --bone, or --pairs for both")
        channels = named_channels(air_channel, bone_channel)
        return command(air=pairs or air, bone=pairs or bone, channels=channels, **others)

    return with_recordings


def named_channels(air: str | None, bone: str | None) -> dict[str, str]:
    """Return the channel of each role that has one."""
    given = {"air": air, "bone": bone}
    return {role: name for role, name in given.items() if name is not None}
