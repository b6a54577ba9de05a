"""`bcsim synthesize`."""

from pathlib import Path

import click


@click.command("synthesize")
@click.option(
    "--in",
    "air",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder tree of air-conducted speech (WAV, FLAC, OGG, AIFF; any rate).",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the pairs.")
@click.option("--sensor", help="NAME.sensor, a bundled sensor, or temporal-transforms.")
@click.option("--recipe", type=click.Path(path_type=Path), help="YAML file [default: sensor.yaml].")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the recipe, such as splits.test=0.1.",
)
@click.option("--seed", default=0, show_default=True, help="Root of everything random.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes [default: one a core].")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option("--mean", is_flag=True, help="The mean sensor: nothing random but its noise floor.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N files.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--overwrite", is_flag=True, help="Throw an earlier dataset in --out away.")
def command(
    air: Path,
    out: Path,
    sensor: str | None,
    recipe: Path | None,
    settings: tuple[str, ...],
    seed: int,
    jobs: int | None,
    device: str,
    mean: bool,
    limit: int | None,
    dry_run: bool,
    overwrite: bool,
) -> int:
    """Render air-conducted speech through a sensor: pairs for training, reproducibly.

    The same command again finishes a run that was stopped.
    """
    from bcsim.errors import UsageError
    from bcsim.workflows.synthesize import plan_synthesis, synthesize

    plan = plan_synthesis(air, out, sensor, recipe, settings, seed, mean, device, limit)
    if dry_run:
        for clip in plan.clips:
            click.echo(f"{clip.split}\t{clip.id}")
        click.echo(f"would render {len(plan.clips)} files into {out}", err=True)
        return 0
    result = synthesize(plan, jobs, overwrite)
    if not result.num_pairs:
        first = next(iter(result.failures.values()))
        raise UsageError(f"{air}: none of {len(result.failures)} files can be used; first: {first}")
    splits = ", ".join(f"{count} {split}" for split, count in result.splits.items() if count)
    click.echo(f"{result.num_pairs} pairs ({splits}), {result.seconds / 60:.1f} min, in {out}")
    if result.num_reused:
        click.echo(f"{result.num_reused} of them were there already", err=True)
    if result.failures:
        click.echo(f"{len(result.failures)} files skipped; see {out}/failures.jsonl", err=True)
        return 3
    return 0
