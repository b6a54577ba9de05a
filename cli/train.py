"""`bcsim train`."""

from pathlib import Path

import click


@click.command("train")
@click.option("--recipe", required=True, help="YAML file, or a bundled one: eben, seanet, ...")
@click.option("--pairs", type=click.Path(path_type=Path), help="Folder that synthesize wrote.")
@click.option(
    "--air", type=click.Path(path_type=Path), help="Air speech, rendered on the fly instead."
)
@click.option("--sensor", help="With --air: NAME.sensor, a bundled sensor, or a preset.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe."
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or begin it.")
def command(
    recipe: str,
    pairs: Path | None,
    air: Path | None,
    sensor: str | None,
    out: Path,
    settings: tuple[str, ...],
    resume: bool,
) -> int:
    """Train an enhancer on pairs from disk, or on air speech rendered through a sensor."""
    from bcsim.workflows.train import train

    result = train(recipe, out, pairs, air, sensor, settings, resume)
    click.echo(f"{result.num_steps} steps; weights of step {result.best_step} in {result.out}")
    for name, value in result.validation.items():
        before = result.unprocessed.get(name)
        if value is not None and before is not None:
            click.echo(f"{name:<8} {before:8.3f} unprocessed -> {value:8.3f} enhanced")
    return 0
