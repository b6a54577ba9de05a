"""`bcsim fit-response`."""

import json
from pathlib import Path

import click

ESTIMATORS = (
    "power-ratio", "frequency-response-curve", "h1", "h2", "h3", "hv", "cross-correlation",
)  # fmt: skip


@click.command("fit-response")
@click.option(
    "--air", type=click.Path(path_type=Path), required=True, help="Air recordings: file or folder."
)
@click.option(
    "--bone", type=click.Path(path_type=Path), required=True, help="Recordings of the sensor."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="NAME.sensor")
@click.option("--estimator", default="power-ratio", show_default=True, help=", ".join(ESTIMATORS))
@click.option("--sample-rate", default=16_000, show_default=True, type=click.IntRange(4000, 96_000))
@click.option("--name", help="Of the sensor [default: that of the file].")
@click.option("--source", default="", help="What was recorded, by whom; kept in the profile.")
@click.option("--licence", default="", help="Of the recordings; kept in the profile.")
@click.option("--json", "as_json", is_flag=True, help="Everything, for machines.")
def command(
    air: Path,
    bone: Path,
    out: Path,
    estimator: str,
    sample_rate: int,
    name: str | None,
    source: str,
    licence: str,
    as_json: bool,
) -> int:
    """Learn a sensor from pairs of recordings of the same speech, found by equal file names."""
    from bcsim.reports.text import sensor_lines
    from bcsim.sensors.summary import summary
    from bcsim.workflows.fit_response import fit_response

    fitted = fit_response(air, bone, out, estimator, sample_rate, name, source, licence)
    facts = summary(fitted.result)
    if as_json:
        click.echo(json.dumps({**facts, "path": str(out), "failures": fitted.failures}, indent=2))
    else:
        click.echo("\n".join(sensor_lines(facts)))
        click.echo(f"{'written to':<14}{out}")
    for reason in fitted.failures.values():
        click.echo(f"skipped: {reason}", err=True)
    return 3 if fitted.failures else 0
