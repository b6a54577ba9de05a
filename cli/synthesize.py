"""`bcsim synthesize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .findings import RecordingsCommand
from .options import OUT, PATH, SEED, device_option, recipe_options, speaker_options, worker_options
from .registered import registered_names
from .streams import say, say_turned_down

if TYPE_CHECKING:
    from bcsim.workers.pool import Workers


@click.command("synthesize", cls=RecordingsCommand)
@click.option(
    "--in",
    "air",
    type=PATH,
    required=True,
    help="Folder tree of air-conducted speech (any rate; docs/recordings.md has the formats).",
)
@click.option("--out", type=OUT, required=True, help="Folder of the pairs.")
@recipe_options
@click.option("--seed", type=SEED, help="Root of everything random [default: 0].")
@click.option(
    "--replay",
    type=PATH,
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
@device_option
@click.option(
    "--mean",
    is_flag=True,
    default=None,
    help="The mean sensor: nothing random but its noise floor.",
)
@speaker_options
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N files.")
@click.option(
    "--format",
    type=click.Choice(registered_names("bcsim.datasets.exporters")),
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
    replay: Path | None,
    shard: str | None,
    workers: "Workers",
    format: str,
    strict: bool,
    dry_run: bool,
    overwrite: bool,
    **options: Any,
) -> int:
    """Render air-conducted speech through a sensor: pairs for training, reproducibly.

    The same command again finishes a run that was stopped.
    """
    if shard is not None and format != "audiofolder":
        raise click.UsageError("--format: first bcsim merge the shards, then bcsim convert them")
    told = ("seed", "mean", "limit", "speakers", "speaker_level")
    if replay is not None and any(options[name] is not None for name in told):
        raise click.UsageError(
            "--replay takes everything from its rows; leave out --seed, --mean, --limit, "
            "--speakers and --speaker-level"
        )
    from bcsim.datasets.exporters import export, plan_export_beside
    from bcsim.synthesis.clips import Shard
    from bcsim.workflows.synthesize import plan_replay, plan_synthesis, synthesize

    options["shard"] = Shard.parse(shard) if shard else None
    if replay is not None:
        plan = plan_replay(replay, air, out, **options)
    else:
        plan = plan_synthesis(air, out, **options)
    beside = plan_export_beside(out, format, overwrite) if format != "audiofolder" else None
    if dry_run:
        plan.tell_splits()
        for clip in plan.todo:
            click.echo(f"{clip.split}\t{clip.id}")
        say(f"would render {len(plan.todo)} files into {out}")
        return 0
    result = synthesize(plan, workers, overwrite)
    splits = ", ".join(f"{count} {split}" for split, count in result.splits.items() if count)
    click.echo(f"{result.num_pairs} pairs ({splits}), {result.seconds / 60:.1f} min, in {out}")
    if beside is not None:
        export(out, format, beside, overwrite=overwrite)
        click.echo(f"as {format} in {beside}")
    say_turned_down(result)
    if result.num_reused:
        say(f"{result.num_reused} of them were there already")
    for remark in result.remarks:
        say(remark)
    if result.failures:
        say(f"{len(result.failures)} files skipped; see {out}/failures.jsonl")
        return 2 if strict else 3
    return 0
