"""`bcsim doctor`."""

import json
from typing import Any

import click

from .findings import RecordingsCommand
from .options import json_option
from .recordings import recordings_options

MARKS = {"ok": "ok", "warning": "warning", "unusable": "UNUSABLE"}


@click.command("doctor", cls=RecordingsCommand)
@recordings_options
@click.option(
    "--sample-rate",
    type=click.IntRange(4000, 192_000),
    help="Look at this rate, in Hz. Default: the recordings' own.",
)
@json_option
def command(sample_rate: int | None, as_json: bool, **recordings: Any) -> int:
    """Say what is wrong with paired recordings, before anything is fitted to them.

    Exit code 0 if every pair can be used, with or without warnings; 4 if one cannot.
    """
    from bcsim.files.paths import printable
    from bcsim.workflows.doctor import ALL_SWAPPED, doctor, versions

    result = doctor(sample_rate=sample_rate, **recordings)
    if as_json:
        click.echo(json.dumps(result.facts(), indent=2, allow_nan=False))
        return 4 if result.verdict == "unusable" else 0
    if result.all_swapped:
        click.echo(ALL_SWAPPED)
    repeated = result.repeated
    width = max((len(printable(pair.name)) for pair in result.pairs), default=0)
    for pair in result.pairs:
        click.echo(f"{printable(pair.name):<{width}}  {MARKS[pair.verdict]}")
        if pair.findings:
            click.echo(f"{'':<{width}}    {printable(' with '.join(result.files[pair.name]))}")
        for finding in pair.findings:
            if (finding.kind, finding.channel, finding.remedy) in repeated:
                continue  # said once, below
            text = f"{finding.text}; {finding.remedy}"
            if finding.kind == "swapped" and result.all_swapped:
                text = finding.text.partition(",")[0]  # the rest is said above
            click.echo(f"{'':<{width}}    {finding.kind}: {text}")
    for (kind, _, remedy), rows in repeated.items():
        name, first = rows[0]
        count = len({name for name, _ in rows})
        text = f"{first.text}; {remedy}"
        if kind == "swapped" and result.all_swapped:
            text = first.text.partition(",")[0]  # the rest is said above
        where = f"in {count} of {len(result.pairs)} pairs, such as {printable(name)}"
        click.echo(f"{kind}: {where}: {text}")
    for reason in result.failures.values():
        click.echo(f"left out: {printable(reason)}")
    for sentence in result.summary:
        if sentence == ALL_SWAPPED:
            continue  # said at the top
        click.echo(sentence)
    click.echo(", ".join(f"{name} {version}" for name, version in versions().items()))
    return 4 if result.verdict == "unusable" else 0
