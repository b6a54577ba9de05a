"""`bcsim export-response`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import NAMED, OUT, json_option, overwrite_option

if TYPE_CHECKING:
    from bcsim.sensors.filters.export import Kind

KINDS = ("linear-phase", "minimum-phase", "zero-phase", "iir")


@click.command("export-response")
@click.option("--sensor", type=NAMED, required=True, help="NAME.sensor, or a bundled sensor.")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="minimum-phase",
    show_default=True,
    help="FIR of one of three phases, or second-order sections.",
)
@click.option("--taps", type=click.IntRange(3, 8192), help="Of an FIR [default: 512].")
@click.option(
    "--order", type=click.IntRange(2, 32), help="Of an iir [default: the least within 1 dB rms]."
)
@click.option("--out", type=OUT, required=True, help="NAME.json, .wav or .npy")
@overwrite_option
@json_option
def command(
    sensor: str,
    kind: "Kind",
    taps: int | None,
    order: int | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the response of a sensor as a filter: for convolvers, plug-ins, firmware."""
    if kind == "iir" and taps is not None:
        raise click.UsageError("an iir has no --taps; use --order")
    if kind != "iir" and order is not None:
        raise click.UsageError(f"a {kind} FIR has no --order; use --taps")
    from bcsim.workflows.export_response import export_response

    size = order if kind == "iir" else taps
    exported = export_response(sensor, out, kind, size, overwrite)
    facts = exported.facts()
    if as_json:
        click.echo(json.dumps({**facts, "path": str(out)}, indent=2))
        return
    error = exported.filter.error
    size = f"order {2 * len(facts['sections'])}" if kind == "iir" else f"{len(facts['taps'])} taps"
    at = f"latency {facts['latency_samples']} samples"
    if kind == "zero-phase":
        at = f"time zero at tap {facts['time_zero']}"
    click.echo(f"{facts['sensor']}: {kind}, {size} at {facts['sample_rate']} Hz, {at}: {out}")
    click.echo(
        f"fit error {error.rms_db:.2f} dB rms, {error.max_db:.2f} dB at most, over "
        f"{error.low_hz:.0f}-{error.high_hz:.0f} Hz"
    )
