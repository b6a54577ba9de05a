"""`bcsim demo`."""

from pathlib import Path

import click

from .options import COUNT, OUT, overwrite_option


@click.command("demo")
@click.option("--out", type=OUT, default=Path("demo_out"), show_default=True)
@click.option("--steps", type=COUNT, help="Training steps.")
@overwrite_option
def command(out: Path, steps: int | None, overwrite: bool) -> None:
    """Fit, synthesize, train and enhance on bundled data whose truth is known."""
    from bcsim.metrics import METRICS
    from bcsim.workflows.demo import NUM_STEPS, run_demo

    result = run_demo(out, steps or NUM_STEPS, overwrite)
    low, high = result.band_hz
    click.echo(
        f"fit against the known sensor: {result.error_db:.2f} dB rms over {low:.0f}-{high:.0f} Hz, "
        f"delay off by {1000 * result.delay_error_s:+.4f} ms"
    )
    for name in ("si_sdr", "stoi", "lsd"):
        before, after = result.trained.before[name], result.trained.after[name]
        click.echo(f"{METRICS[name].label:<7}{before:7.2f} at the sensor -> {after:7.2f} enhanced")
    before, after = result.throat.before["stoi"], result.throat.after["stoi"]
    click.echo(
        f"{METRICS['stoi'].label:<7}{before:7.2f} at a throat   -> {after:7.2f} by the bundled "
        "enhancer 'throat'"
    )
    click.echo(f"look at   {out}/report.html")
    click.echo(f"listen to {result.trained.path} and {result.throat.path}")
