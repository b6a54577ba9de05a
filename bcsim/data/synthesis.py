"""Rendering of a corpus: from a folder of air recordings to a dataset of pairs.

A run can be killed at any moment; the same command again finishes it and gives the same bytes.
Every output is written under a temporary name and renamed. While a run is under way its folder
holds `.bcsim/`: what the run is (`run.json`), a lock, and a journal with the manifest line of every
finished pair. `dataset.json` is written last, then `.bcsim/` goes.

A corpus may be large: of a finished pair, only the place of its line in the journal is remembered.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import yaml

import bcsim
from bcsim.data.audio import num_frames
from bcsim.data.card import dataset_card
from bcsim.data.clips import Clip, Shard, hash_sources
from bcsim.data.failures import FAILURES_NAME, write_failures
from bcsim.data.manifest import MANIFEST_NAME, SPLITS, PairRow, Tally, write_lines
from bcsim.data.rendering import Renderer, Skipped
from bcsim.data.run_state import (
    DATASET_NAME,
    JOURNAL_NAME,
    PROFILE_NAME,
    RECIPE_NAME,
    check_settings,
    claimed,
)
from bcsim.errors import InputError
from bcsim.files import (
    copy_file,
    environment_faults,
    printable,
    sweep_temporaries,
    sync_folders,
    write_json,
    write_text,
)
from bcsim.parallel import Workers, run_parallel
from bcsim.progress import track

SCHEMA = 1
GPU_BATCH = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SynthesisPlan:
    """What a run would do.

    Args:
        clips: of the whole corpus.
        renderer: how.
        recipe_text: the resolved recipe, which is kept beside the pairs.
        sensor_file: kept there as well, if there is one.
        sensor_sha256: of that file.
        noise_sha256: of the noise recordings that the recipe names, if any.
        shard: the part of the clips that this run renders; None for all.
        replayed_sha256: of the manifest that is rendered again, if it is one.
    """

    clips: list[Clip]
    renderer: Renderer
    recipe_text: str
    sensor_file: Path | None = None
    sensor_sha256: str | None = None
    noise_sha256: str | None = None
    shard: Shard | None = None
    replayed_sha256: str | None = None

    @property
    def todo(self) -> list[Clip]:
        """The clips that this run renders."""
        return self.clips if self.shard is None else self.shard.of(self.clips)

    def settings(self) -> dict[str, Any]:
        """Return everything that decides what the pairs are."""
        renderer = self.renderer
        return {
            "schema": SCHEMA,
            "bcsim": bcsim.__version__,
            "sensor": renderer.sensor,
            "sensor_sha256": self.sensor_sha256,
            "noise_sha256": self.noise_sha256,
            "seed": renderer.seed,
            "mean": renderer.mean,
            "air": renderer.air,
            "device": renderer.device,
            "recipe": yaml.safe_load(self.recipe_text),
            "num_sources": len(self.clips),
            "sources_sha256": hash_sources(
                renderer.source_folder, (clip.source for clip in self.clips)
            ),
            "replayed_sha256": self.replayed_sha256,
            "shard": self.shard and str(self.shard),
        }


@dataclass
class SynthesisResult:
    """What a run of `synthesize` did.

    Args:
        out: the dataset's folder.
        num_pairs: pairs in the dataset.
        num_reused: of those, the ones that an earlier run had finished.
        seconds: of speech in all.
        splits: number of pairs in each.
        failures: sources that could not be used, and why.
    """

    out: Path
    num_pairs: int
    num_reused: int
    seconds: float
    splits: dict[str, int]
    failures: dict[str, str] = field(default_factory=dict)


def synthesize_corpus(
    plan: SynthesisPlan, workers: Workers, overwrite: bool = False
) -> SynthesisResult:
    """Render every clip, or finish what an earlier run began.

    Args:
        plan: what, and how.
        workers: who does it; the bytes do not depend on that.
        overwrite: throw an earlier dataset at the same place away.

    Raises:
        UsageError: if the folder holds something else, or a dataset of other settings.
        EnvironmentFault: if the disk is full or forbidden, or another run is at work there.
    """
    out, clips, settings = plan.renderer.out, plan.todo, plan.settings()
    with environment_faults(out), claimed(out, overwrite) as state:
        check_settings(out, state, settings)
        sweep_temporaries(out)
        failures: dict[str, str] = {}
        with (state / JOURNAL_NAME).open("a+b") as journal:
            places = _finished(journal, out, clips)
            num_reused = len(places)
            todo = [clip for clip in clips if clip.id not in places]
            with contextlib.closing(_render(plan.renderer, todo, workers)) as results:
                for clip, result in track(results, len(clips), "synthesizing", done=num_reused):
                    if isinstance(result, Skipped):
                        failures[clip.source] = result.reason
                        log.warning("skipped: %s", printable(result.reason))
                    else:
                        places[clip.id] = journal.tell()
                        journal.write(f"{result}\n".encode())
                        journal.flush()
            manifests = {
                split: _lines(journal, places, members)
                for split in SPLITS
                if (members := [c.id for c in clips if c.split == split and c.id in places])
            }
            tallies = finish_dataset(
                out, manifests, failures, plan.recipe_text, plan.sensor_file, settings
            )
        shutil.rmtree(state)
    return SynthesisResult(
        out=out,
        num_pairs=len(places),
        num_reused=num_reused,
        seconds=sum(tally.seconds for tally in tallies.values()),
        splits={split: tally.num_pairs for split, tally in tallies.items()},
        failures=failures,
    )


def finish_dataset(
    out: Path,
    manifests: Mapping[str, Iterable[str]],
    failures: dict[str, str],
    recipe_text: str,
    sensor_file: Path | None,
    settings: Mapping[str, Any],
) -> dict[str, Tally]:
    """Write the manifests and what stands beside them; the dataset's own file comes last.

    Args:
        out: folder of the dataset; the pairs are there.
        manifests: for every split that has pairs, its lines sorted by id.
        failures: sources that could not be used, and why.
        recipe_text: the resolved recipe.
        sensor_file: the sensor, if there is one.
        settings: of the run.

    Returns:
        What is in each split.
    """
    for split in manifests:
        sync_folders(out / split)
    tallies = {split: Tally() for split in SPLITS}
    for split, lines in manifests.items():
        tallies[split] = write_lines(out / split / MANIFEST_NAME, lines)
    write_text(out / RECIPE_NAME, recipe_text)
    if sensor_file is not None:
        copy_file(sensor_file, out / PROFILE_NAME)
    write_failures(out / FAILURES_NAME, "synthesize", failures)
    write_text(out / "README.md", dataset_card(settings, tallies))
    totals = {
        "num_pairs": {split: tally.num_pairs for split, tally in tallies.items()},
        "num_speakers": len(set().union(*(tally.speakers for tally in tallies.values()))),
        "num_failures": len(failures),
        "seconds": round(sum(tally.seconds for tally in tallies.values()), 3),
    }
    write_json(out / DATASET_NAME, {**settings, **totals})
    return tallies


def _render(
    renderer: Renderer, clips: Sequence[Clip], workers: Workers
) -> Generator[tuple[Clip, str | Skipped]]:
    if renderer.device == "cpu":
        yield from run_parallel(renderer.render, clips, workers, _give_up)
        return
    size = workers.batch or GPU_BATCH
    for start in range(0, len(clips), size):
        batch = clips[start : start + size]
        yield from zip(batch, renderer.render_together(batch), strict=True)


def _give_up(clip: Clip) -> Skipped:
    return Skipped(f"{clip.source}: took its worker down twice; look at the file, or at the memory")


def _finished(journal: BinaryIO, out: Path, clips: Iterable[Clip]) -> dict[str, int]:
    """Return where the journal has the lines of pairs whose files are there, and whole.

    Args:
        journal: open for reading and appending; ends with a whole line afterwards.
        out: folder of the dataset.
        clips: of this run.

    Returns:
        Id to offset in bytes.
    """
    places: dict[str, int] = {}
    if not journal.seek(0, os.SEEK_END):
        return places
    splits = {clip.id: clip.split for clip in clips}
    end, line = 0, b"\n"
    journal.seek(0)
    for line in journal:
        place, end = end, end + len(line)
        try:
            row = PairRow.from_json(line.decode("utf-8", "replace"), "journal")
        except InputError:
            continue  # the run was killed while it wrote this line; the pair is rendered again
        if not line.endswith(b"\n") or row.id not in splits:
            continue
        folder = out / splits[row.id]
        wanted = round(row.duration_s * row.sample_rate)
        if all(num_frames(folder / name) == wanted for name in row.file_names.values()):
            places[row.id] = place
    journal.seek(0, os.SEEK_END)
    if not line.endswith(b"\n"):
        journal.write(b"\n")
    return places


def _lines(journal: BinaryIO, places: Mapping[str, int], ids: Iterable[str]) -> Iterator[str]:
    """Yield the journal's lines of pairs, sorted by id."""
    for name in sorted(ids):
        journal.seek(places[name])
        yield journal.readline().decode("utf-8")
