"""`bcsim evaluate`."""

import json
import math
from pathlib import Path

import click

LABELS = {
    "lsd": ("LSD, dB", "log-spectral distance, active frames"),
    "lsd_all": ("LSD all, dB", "the same over all frames"),
    "lsd_0_2k": ("LSD 0-2 kHz, dB", ""),
    "lsd_2_8k": ("LSD 2-8 kHz, dB", ""),
    "lsd_pauses": ("LSD pauses, dB", ""),
    "mel_sd": ("MelSD, dB", "the same over 40 mel bands"),
    "mcd": ("MCD, dB", "mel-cepstral distortion"),
    "ltas": ("LTAS, dB", "long-term spectrum, rms over third-octaves"),
    "si_sdr_100_1000": ("SI-SDR 0.1-1 kHz, dB", "higher is better; a diagnostic"),
    "stoi": ("STOI", "higher is better"),
    "estoi": ("ESTOI", "higher is better"),
    "dynamics_ratio": ("dynamics ratio", "1 is right"),
    "c2st": ("C2ST", "0.5: a classifier cannot tell it from real"),
    "c2st_null": ("C2ST real/real", "what two halves of the real pairs give"),
}


@click.command("evaluate")
@click.option("--sensor", required=True, help="NAME.sensor, a bundled sensor, or a preset.")
@click.option(
    "--air", type=click.Path(path_type=Path), required=True, help="Air recordings: file or folder."
)
@click.option(
    "--bone", type=click.Path(path_type=Path), required=True, help="Recordings of the sensor."
)
@click.option("--json", "as_json", is_flag=True, help="Everything, for machines.")
def command(sensor: str, air: Path, bone: Path, as_json: bool) -> int:
    """Measure how close a simulated sensor comes to real pairs (the mean sensor is rendered)."""
    from bcsim.workflows.evaluate import evaluate

    result = evaluate(sensor, air, bone)
    for reason in result.failures.values():
        click.echo(f"skipped: {reason}", err=True)
    if as_json:
        known = {k: None if math.isnan(v) else v for k, v in result.scores.items()}
        pairs = {
            name: {k: None if math.isnan(v) else v for k, v in row.items()}
            for name, row in result.pairs.items()
        }
        facts = {"sensor": result.sensor, "num_pairs": len(pairs), "scores": known, "pairs": pairs}
        click.echo(json.dumps({**facts, "failures": result.failures}, indent=2))
    else:
        click.echo(f"{result.sensor}, {len(result.pairs)} pairs; lower is better unless said")
        for name, value in result.scores.items():
            label, note = LABELS.get(name, (name, ""))
            shown = "-" if math.isnan(value) else f"{value:.2f}"
            click.echo(f"{label:<22}{shown:>8}  {note}".rstrip())
    return 3 if result.failures else 0
