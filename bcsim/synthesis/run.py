"""Rendering of a corpus: from a folder of air recordings to a dataset of pairs.

A run can be killed at any moment; the same command again finishes it and gives the same bytes.
Every output is written under a temporary name and renamed. While a run is under way its folder
holds `.bcsim.tmp/`: what the run is (`run.json`), a lock, and a journal with the manifest line of
every finished pair and the SHA-256 of its files. `SHA256SUMS` and `dataset.json` are written last,
then `.bcsim.tmp/` goes. What an earlier run finished is kept if its files are still those, and if
its source is still what it was rendered from.

A corpus may be large: of a finished pair, only the place of its line in the journal is remembered.
"""

import contextlib
import hashlib
import itertools
import logging
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import yaml

import bcsim
from bcsim.datasets.card import dataset_card
from bcsim.datasets.checksums import CHECKED_AT_ONCE, sum_line
from bcsim.datasets.dataset import parse_dataset_metadata
from bcsim.datasets.manifest import (
    CARD_NAME,
    DATASET_NAME,
    MANIFEST_NAME,
    PROFILE_NAME,
    RECIPE_NAME,
    SPLITS,
    SUMS_NAME,
    PairRow,
    Tally,
    WrittenPair,
    write_lines,
)
from bcsim.datasets.remarks import Remarks
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import (
    environment_faults,
    not_a_link,
    replacing,
    sweep_temporaries,
    sync_folders,
    to_json,
    write_bytes,
    write_text,
)
from bcsim.files.failures import FAILURES_NAME, none_usable, write_failures
from bcsim.files.findings import FINDINGS_NAME
from bcsim.files.hashing import hash_file, hash_files, hash_text
from bcsim.files.paths import printable
from bcsim.files.run_lines import RunLines
from bcsim.files.tree import remove_tree
from bcsim.progress import track
from bcsim.synthesis.clips import Clip, Shard, lines_of_clips, tell_splits
from bcsim.synthesis.journal import JOURNAL_NAME, Journal
from bcsim.synthesis.rendering import Renderer, Skipped
from bcsim.synthesis.run_folder import continue_or_begin, locked_output
from bcsim.synthesis.speakers import Speakers
from bcsim.workers.pool import Workers, num_cores, run_parallel

SCHEMA = 2
GPU_BATCH = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SynthesisPlan:
    """What a run would do.

    Args:
        clips: clips of the whole corpus.
        renderer: renderer of the clips.
        recipe_text: resolved recipe, which is kept beside the pairs.
        sensor_file: profile of the sensor, which is kept there as well; None for a preset.
        sensor_sha256: SHA-256 of that file.
        noise_sha256: hash over the noise recordings that the recipe names, if any.
        shard: part of the clips that this run renders; None for all.
        replayed_sha256: SHA-256 of the manifest that is rendered again, if one is.
        inputs: files besides the recordings that the pairs are made of.
        failures: reason by path, for recordings of noise that are left out.
        speakers: speakers of the clips, where this run finds them out; None for a replay.
    """

    clips: list[Clip]
    renderer: Renderer
    recipe_text: str
    sensor_file: Path | None = None
    sensor_sha256: str | None = None
    noise_sha256: str | None = None
    shard: Shard | None = None
    replayed_sha256: str | None = None
    inputs: tuple[Path, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    speakers: Speakers | None = None

    def tell_splits(self) -> None:
        """Log the speakers and recordings of each split, and what of it is a guess."""
        if self.speakers is not None:
            parts = yaml.safe_load(self.recipe_text)["splits"]
            tell_splits(self.clips, self.speakers, {"train": 1.0, **parts})

    @property
    def todo(self) -> list[Clip]:
        """The clips that this run renders."""
        return self.clips if self.shard is None else self.shard.of(self.clips)

    def settings(self) -> dict[str, Any]:
        """Return everything that decides what the pairs are."""
        # Of the sources only the names: one may be mended as long as there is no pair of it, and
        # each pair's row holds the SHA-256 of its own.
        renderer, recipe = self.renderer, yaml.safe_load(self.recipe_text)
        return {
            "schema": SCHEMA,
            "bcsim": bcsim.__version__,
            "sensor": renderer.sensor,
            "sensor_sha256": self.sensor_sha256,
            "noise_sha256": self.noise_sha256,
            **renderer.options.settings(),
            "recipe": recipe,
            "num_sources": len(self.clips),
            "sources_sha256": hash_text(
                "".join(f"{line}\n" for line in lines_of_clips(self.clips, **recipe["splits"]))
            ),
            "replayed_sha256": self.replayed_sha256,
            "shard": self.shard and str(self.shard),
        }


@dataclass(frozen=True)
class SynthesisResult:
    """What a finished dataset holds.

    Args:
        num_pairs: number of pairs in the dataset.
        seconds: duration of all pairs in seconds.
        splits: number of pairs by split.
        failures: reason by source, for sources that could not be used.
        remarks: what is to be said of the pairs; see `bcsim.datasets.remarks`.
        num_reused: number of pairs that an earlier run had finished.
        num_turned_down: number of pairs of which a signal was turned down by its peak.
        num_air_turned_down: number of those whose air was turned down.
        lowest_gain_db: gain in dB of the signal that was turned down most, or 0.
    """

    num_pairs: int
    seconds: float
    splits: dict[str, int]
    failures: dict[str, str]
    remarks: list[str]
    num_reused: int = 0
    num_turned_down: int = 0
    num_air_turned_down: int = 0
    lowest_gain_db: float = 0.0


def synthesize_corpus(
    plan: SynthesisPlan, workers: Workers, overwrite: bool = False
) -> SynthesisResult:
    """Render every clip, or finish what an earlier run began.

    Args:
        plan: what to render, and how.
        workers: processes that render; the bytes do not depend on them.
        overwrite: throw away an earlier dataset in the output folder.

    Raises:
        UsageError: if the folder holds something else, or a dataset of other settings.
        InputError: if the sensor is not what it was when this was planned, or no recording can be
            used; the folder is no dataset then, but for a shard, which `merge` needs.
        EnvironmentFault: if the disk is full or forbidden, or another run is at work there.
    """
    out, settings = plan.renderer.out, plan.settings()
    sensor = _read_sensor(plan.sensor_file, settings)
    with environment_faults(out), locked_output(out, overwrite) as state:
        continue_or_begin(out, state, settings)
        plan.tell_splits()
        sweep_temporaries(out)
        if sensor is not None:  # at once: whoever gave it may replace it while this works
            write_bytes(out / PROFILE_NAME, sensor)
        failures = dict(plan.failures)
        with open(state / JOURNAL_NAME, "a+b", opener=not_a_link) as file:
            journal = Journal(file)
            journal.adopt(state)
            try:
                places = _finished(journal, plan)
            except UsageError:
                if (out / DATASET_NAME).is_file():  # as it was, then
                    remove_tree(state)
                raise
            num_reused = len(places)
            todo = [clip for clip in plan.todo if clip.id not in places]
            renderer = replace(plan.renderer, notes=state)
            with contextlib.closing(_render(renderer, todo, workers)) as results:
                total = num_reused + len(todo)
                for clip, result in track(results, total, "synthesizing", done=num_reused):
                    if isinstance(result, Skipped):
                        failures[clip.source] = result.reason
                        renderer.remove(clip)
                        log.warning("skipped: %s", printable(result.reason))
                    else:
                        places[clip.id] = journal.add(result)
            ids: dict[str, list[str]] = {split: [] for split in SPLITS}
            for clip in plan.todo:
                if clip.id in places:
                    ids[clip.split].append(clip.id)
            # A generator for each split, sorted by id: few pairs are in memory.
            pairs = {
                split: (journal.read(places[name]) for name in sorted(names))
                for split, names in ids.items()
                if names
            }
            sweep_temporaries(out)  # of workers that were killed at their limits
            if not places and plan.todo and plan.shard is None:
                write_failures(out / FAILURES_NAME, "synthesize", failures)
                source, what = plan.renderer.source_folder, f"{len(plan.todo)} recordings"
                raise none_usable(source, what, failures)
            kept = None if sensor is None else out / PROFILE_NAME
            result = finish_dataset(out, pairs, failures, plan.recipe_text, kept, settings)
        remove_tree(state)
    return replace(result, num_reused=num_reused)


def finish_dataset(
    out: Path,
    pairs: Mapping[str, Iterable[WrittenPair]],
    failures: dict[str, str],
    recipe_text: str,
    sensor_file: Path | None,
    settings: Mapping[str, Any],
) -> SynthesisResult:
    """Write the manifests and what stands beside them; the dataset's own file comes last.

    Args:
        out: folder of the dataset; the files of the pairs are there.
        pairs: pairs of every split that has some, sorted by id; read one by one.
        failures: reason by source, for sources that could not be used.
        recipe_text: resolved recipe.
        sensor_file: profile of the sensor; None for a preset.
        settings: settings of the run.

    Raises:
        InputError: if the sensor is not that of the settings.
    """
    sensor = _read_sensor(sensor_file, settings)
    for split in pairs:
        sync_folders(out / split)
    tallies = {split: Tally() for split in SPLITS}
    remarks = Remarks.of_recipe(settings["recipe"])
    with (
        RunLines(out / FINDINGS_NAME, "synthesize") as noticed,
        replacing(out / SUMS_NAME) as temporary,
        temporary.open("w", encoding="utf-8") as sums,
    ):
        for split, entries in pairs.items():
            lines = _summed(entries, split, sums)
            tallies[split] = write_lines(out / split / MANIFEST_NAME, lines, remarks, noticed)
        splits = {split: tally.num_pairs for split, tally in tallies.items()}
        seconds = sum(tally.seconds for tally in tallies.values())
        totals = {
            "num_pairs": splits,
            "num_speakers": len(set().union(*(tally.speakers for tally in tallies.values()))),
            "num_failures": len(failures),
            "seconds": round(seconds, 3),
        }
        metadata = to_json({**settings, **totals})
        parse_dataset_metadata(metadata.encode("utf-8"), out / DATASET_NAME)
        write_text(out / RECIPE_NAME, recipe_text)
        write_text(out / CARD_NAME, dataset_card(settings, tallies))
        names = [CARD_NAME, RECIPE_NAME, *(f"{split}/{MANIFEST_NAME}" for split in pairs)]
        if sensor is not None:
            write_bytes(out / PROFILE_NAME, sensor)
            names.append(PROFILE_NAME)
        sums.writelines(sum_line(hash_file(out / name), name) for name in names)
        sums.write(sum_line(hash_text(metadata), DATASET_NAME))
    write_failures(out / FAILURES_NAME, "synthesize", failures)
    write_text(out / DATASET_NAME, metadata)
    lowered = [gain for tally in tallies.values() for gain in tally.lowered_db]
    return SynthesisResult(
        sum(splits.values()),
        seconds,
        splits,
        failures,
        remarks.lines(),
        num_turned_down=len(lowered),
        num_air_turned_down=sum(tally.num_air_lowered for tally in tallies.values()),
        lowest_gain_db=min(lowered, default=0.0),
    )


def _read_sensor(path: Path | None, settings: Mapping[str, Any]) -> bytes | None:
    if path is None:
        return None
    with environment_faults(path):
        content = path.read_bytes()
    digest, wanted = hashlib.sha256(content).hexdigest(), settings.get("sensor_sha256")
    if digest != wanted:
        raise InputError(
            f"{path}: is not the sensor that the pairs are rendered with (SHA-256 "
            f"{str(wanted)[:12]}, now {digest[:12]}); put it back, or run the command again"
        )
    return content


def _summed(entries: Iterable[WrittenPair], split: str, sums: TextIO) -> Iterator[str]:
    """Yield the manifest's lines of a split, and write the sums of the files that they name."""
    for entry in entries:
        names = PairRow.from_json(entry.line, "journal").file_names.values()
        for digest, name in zip(entry.sha256, names, strict=True):
            sums.write(sum_line(digest, f"{split}/{name}"))
        yield f"{entry.line}\n"


def _render(
    renderer: Renderer, clips: Sequence[Clip], workers: Workers
) -> Generator[tuple[Clip, WrittenPair | Skipped]]:
    if renderer.options.device == "cpu":
        yield from run_parallel(renderer.render, clips, workers, _give_up, renderer.limit_s)
        return
    left = iter(clips)
    while batch := [*itertools.islice(left, workers.batch or GPU_BATCH)]:
        yield from zip(batch, renderer.render_together(batch), strict=True)


def _give_up(clip: Clip, reason: str) -> Skipped:
    return Skipped(f"{clip.source}: {reason}; look at the file, or raise the limits of an item")


def _finished(journal: Journal, plan: SynthesisPlan) -> dict[str, int]:
    """Return the places of pairs whose files are still those that the journal speaks of.

    Raises:
        UsageError: if the source of such a pair is not what it was rendered from any more.
    """
    out, sources = plan.renderer.out, plan.renderer.source_folder
    clips = {clip.id: clip for clip in plan.todo}
    entries = (
        (place, entry, row)
        for place, entry in journal.pairs()
        if (row := _row_of(entry)) is not None and row.id in clips
    )
    places: dict[str, int] = {}
    begun = track(entries, len(clips), "looking at what is there already")
    while block := [*itertools.islice(begun, CHECKED_AT_ONCE)]:
        paths: list[Path] = []
        wanted: list[str] = []
        for _, entry, row in block:
            folder = out / clips[row.id].split
            paths += [folder / name for name in row.file_names.values()]
            paths.append(sources / clips[row.id].source)
            wanted += [*entry.sha256, row.source_sha256]
        found = iter(zip(hash_files(paths, num_cores()), wanted, strict=True))
        for place, entry, row in block:
            kept = [now == then for now, then in itertools.islice(found, len(entry.sha256))]
            now, then = next(found)
            if now != then:
                raise UsageError(
                    f"{out}: its pair {row.id} was rendered from another {clips[row.id].source} "
                    f"(SHA-256 {then[:12]}, now {now and now[:12]}); nothing was changed: put it "
                    "back, choose another output folder, or overwrite this one"
                )
            if all(kept):
                places[row.id] = place
    return places


def _row_of(entry: WrittenPair) -> PairRow | None:
    try:
        row = PairRow.from_json(entry.line, "journal")
    except InputError:
        return None  # the run was killed while it wrote this line; the pair is rendered again
    return row if len(row.file_names) == len(entry.sha256) else None
