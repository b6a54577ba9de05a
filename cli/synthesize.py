"""`bcsim synthesize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .numbers import SEED
from .streams import say
from .workers import worker_options

if TYPE_CHECKING:
    from bcsim.workers.pool import Workers


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
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe."
)
@click.option("--seed", type=SEED, help="Root of everything random [default: 0].")
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    help="Render the rows of this metadata.jsonl again, from the values drawn for them.",
)
@click.option(
    "--air",
    "air_files",
    type=click.Choice(["copy", "link", "encode"]),
    help="How recordings that no effect changed get there [default: copy]. A link is a hard one: "
    "writing into either file writes into both.",
)
@click.option("--shard", metavar="I/N", help="Only part I of N, 1/N to N/N; join with bcsim merge.")
@worker_options
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option("--mean", is_flag=True, help="The mean sensor: nothing random but its noise floor.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N files.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["audiofolder", "webdataset", "lhotse", "speechbrain", "kaldi"]),
    default="audiofolder",
    show_default=True,
    help="Then write it in this format as well, beside it as OUT.FORMAT.",
)
@click.option("--strict", is_flag=True, help="Exit with 2, not 3, if any file cannot be used.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--overwrite", is_flag=True, help="Throw what an earlier run wrote away.")
def command(
    air: Path,
    out: Path,
    sensor: str | None,
    recipe: Path | None,
    settings: tuple[str, ...],
    seed: int | None,
    replay: Path | None,
    air_files: Literal["copy", "link", "encode"] | None,
    shard: str | None,
    workers: "Workers",
    device: str,
    mean: bool,
    limit: int | None,
    format_: str,
    strict: bool,
    dry_run: bool,
    overwrite: bool,
) -> int:
    """Render air-conducted speech through a sensor: pairs for training, reproducibly.

    The same command again finishes a run that was stopped.
    """
    if shard is not None and format_ != "audiofolder":
        raise click.UsageError("--format: first bcsim merge the shards, then bcsim convert them")
    if replay is not None and (seed is not None or mean or limit is not None):
        raise click.UsageError(
            "--replay takes everything drawn from its rows; leave out --seed, --mean and --limit"
        )
    from bcsim.datasets.exporters import export, plan_export_beside
    from bcsim.synthesis.clips import Shard
    from bcsim.workflows.synthesize import plan_replay, plan_synthesis, synthesize

    part = Shard.parse(shard) if shard else None
    common = (air, out, sensor, recipe, settings, device, part, air_files)
    if replay is not None:
        plan = plan_replay(replay, *common)
    else:
        plan = plan_synthesis(*common, seed=seed or 0, mean=mean, limit=limit)
    beside = plan_export_beside(out, format_, overwrite) if format_ != "audiofolder" else None
    if dry_run:
        for clip in plan.todo:
            click.echo(f"{clip.split}\t{clip.id}")
        say(f"would render {len(plan.todo)} files into {out}")
        return 0
    result = synthesize(plan, workers, overwrite)
    if not result.num_pairs and result.failures and part is None:
        raise click.UsageError(f"{air}: none of its files can be used; see {out}/failures.jsonl")
    splits = ", ".join(f"{count} {split}" for split, count in result.splits.items() if count)
    click.echo(f"{result.num_pairs} pairs ({splits}), {result.seconds / 60:.1f} min, in {out}")
    if beside is not None:
        export(out, format_, beside, overwrite=overwrite)
        click.echo(f"as {format_} in {beside}")
    if result.num_reused:
        say(f"{result.num_reused} of them were there already")
    if result.failures:
        say(f"{len(result.failures)} files skipped; see {out}/failures.jsonl")
        return 2 if strict else 3
    return 0
