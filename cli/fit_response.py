"""`bcsim fit-response`."""

import json
from pathlib import Path
from typing import Any

import click

from .findings import RecordingsCommand
from .options import NAMED, OUT, PATH, Real, json_option, overwrite_option
from .recordings import recordings_options
from .registered import registered_names
from .streams import say

ESTIMATORS = ("auto", *registered_names("bcsim.fitting.estimators"))


@click.command("fit-response", cls=RecordingsCommand)
@recordings_options
@click.option("--out", type=OUT, required=True, help="NAME.sensor")
@click.option("--estimator", default="auto", show_default=True, help=", ".join(ESTIMATORS))
@click.option(
    "--average",
    type=click.Choice(["mean", "median"]),
    help="Over frames; the median ignores clicks [default: mean].",
)
@click.option(
    "--gate", "gated", is_flag=True, default=None, help="Believe only bins with coherence (H1-Hv)."
)
@click.option(
    "--smoothing",
    type=Real(1, 96),
    default=12,
    show_default=True,
    help="Of the magnitude, over 1/N octave.",
)
@click.option(
    "--high-pass",
    "high_pass_hz",
    metavar="HZ",
    type=Real(0, 1000, min_open=True),
    help="Fit nothing below: for recordings with rumble [default: all is fitted].",
)
@click.option("--prior", type=NAMED, help="Sensor of the kind to start from: file or bundled name.")
@click.option("--noise-air", type=PATH, help="Ambient noise alone.")
@click.option("--noise-bone", type=PATH, help="The same at the sensor.")
@click.option(
    "--cross-validate/--no-cross-validate",
    default=True,
    help="Without: a fifth of the time, but no held-out scores and no residual.",
)
@click.option("--sample-rate", default=16_000, show_default=True, type=click.IntRange(4000, 96_000))
@click.option("--name", help="Of the sensor [default: that of the file].")
@click.option("--source", default="", help="What was recorded, by whom; kept in the profile.")
@click.option("--licence", default="", help="Of the recordings; kept in the profile.")
@click.option(
    "--report/--no-report", default=None, help="Write NAME.report.html, too [default: report]."
)
@overwrite_option
@json_option
def command(
    out: Path,
    average: str | None,
    gated: bool | None,
    smoothing: float,
    high_pass_hz: float | None,
    noise_air: Path | None,
    noise_bone: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Learn a sensor from pairs of recordings of the same speech, found by their names."""
    from bcsim.fitting.estimation import EstimationSettings
    from bcsim.fitting.summary import sensor_summary
    from bcsim.reports.text import sensor_lines
    from bcsim.workflows.fit_response import fit_response

    if (noise_air is None) != (noise_bone is None):
        raise click.UsageError("--noise-air and --noise-bone go together")
    noise = None if noise_air is None or noise_bone is None else (noise_air, noise_bone)
    settings = EstimationSettings(average, gated, smoothing, high_pass_hz)
    fitted = fit_response(out=out, settings=settings, noise=noise, **options)
    facts = sensor_summary(fitted.result)
    if as_json:
        page = None if fitted.report is None else str(fitted.report)
        written = {"path": str(out), "report": page, "failures": fitted.failures}
        click.echo(json.dumps({**facts, **written}, indent=2))
    else:
        click.echo("\n".join(sensor_lines(facts)))
        click.echo(f"{'written to':<14}{out}")
        if fitted.report is not None:
            click.echo(f"{'look at':<14}{fitted.report}")
    for reason in fitted.failures.values():
        say(f"skipped: {reason}")
    return 3 if fitted.failures else 0
