"""Rendering of a corpus: from a folder of air recordings to a dataset of pairs.

A run can be killed at any moment; the same command again finishes it and gives the same bytes.
Every output is written under a temporary name and renamed. While a run is under way its folder
holds `.bcsim/`: what the run is (`run.json`), a lock, and a journal with the manifest row of every
finished pair. `dataset.json` is written last, then `.bcsim/` goes.
"""

import hashlib
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

import bcsim
from bcsim.data.audio import num_frames, read_audio, write_audio
from bcsim.data.card import dataset_card
from bcsim.data.failures import FAILURES_NAME, write_failures
from bcsim.data.manifest import MANIFEST_NAME, SPLITS, PairRow, write_manifest
from bcsim.data.run_state import DATASET_NAME, JOURNAL_NAME, check_settings, claimed
from bcsim.effects.base import Scene
from bcsim.errors import InputError
from bcsim.files import (
    environment_faults,
    hash_file,
    hash_text,
    printable,
    sweep_temporaries,
    write_json,
    write_text,
)
from bcsim.parallel import run_parallel
from bcsim.progress import track
from bcsim.simulator import Simulator

SCHEMA = 1
MAX_NAME_BYTES = 200  # of a file's stem; file systems allow 255 for the whole name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """One air recording and where it goes.

    Args:
        id: unique in the dataset; also the path of its files, without suffix.
        source: relative to the input folder.
        speaker: the first folder of the path, or the file's own name where there is none.
        split: train, validation or test.
    """

    id: str
    source: str
    speaker: str
    split: str


@dataclass(frozen=True)
class Renderer:
    """Everything that rendering one clip takes, apart from the clip; goes to worker processes.

    Args:
        simulator: what is done to it.
        source_folder: of the air recordings.
        out: folder of the dataset.
        sensor: name for the manifest.
        seed: root seed.
        mean: render the mean sensor.
        audio_format: "flac" or "wav".
        device: of torch.
    """

    simulator: Simulator
    source_folder: Path
    out: Path
    sensor: str
    seed: int
    mean: bool = False
    audio_format: str = "flac"
    device: str = "cpu"

    def file_names(self, clip: Clip) -> tuple[str, str]:
        """Return the paths of bone and air, relative to the split's folder."""
        return f"bone/{clip.id}.{self.audio_format}", f"air/{clip.id}.{self.audio_format}"

    def render(self, clip: Clip) -> PairRow | str:
        """Render a clip and write its two files.

        Returns:
            The manifest's row, or the reason why the source cannot be used.

        Raises:
            EnvironmentFault: if the disk is full or forbidden.
        """
        source = self.source_folder / clip.source
        rate = self.simulator.sample_rate
        try:
            samples, _ = read_audio(source, rate)
            digest = hash_file(source)
        except InputError as error:
            return str(error)
        draws = self.simulator.sample(self.seed, clip.id, self.mean)
        # float64 throughout: after rounding to 16 bits, processors and thread counts agree.
        air = torch.from_numpy(samples).to(self.device)[None]
        with torch.inference_mode():
            scene = self.simulator.apply(Scene.from_air(air, rate), [draws])
        if not bool(torch.isfinite(scene.bone).all() & torch.isfinite(scene.air).all()):
            return f"{source}: the simulated signal is not finite; look at the recipe's effects"
        bone_name, air_name = self.file_names(clip)
        for name, signal in ((air_name, scene.air), (bone_name, scene.bone)):
            write_audio(self.out / clip.split / name, signal[0].cpu().numpy(), rate)
        return PairRow(
            id=clip.id,
            bone_file_name=bone_name,
            air_file_name=air_name,
            speaker=clip.speaker,
            duration_s=scene.air.shape[-1] / rate,
            sample_rate=rate,
            sensor=self.sensor,
            source=printable(clip.source),
            source_sha256=digest,
            seed=self.seed,
            drawn=draws,
        )


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


def plan_clips(
    files: Sequence[Path], folder: Path, validation: float, test: float, limit: int | None = None
) -> list[Clip]:
    """Decide what every file becomes; independent of the order in which they are listed.

    Args:
        files: below `folder`.
        folder: of the corpus.
        validation: part of the speakers in the validation split.
        test: likewise.
        limit: take only the first so many, in the order of their paths.

    Returns:
        Clips sorted by source.
    """
    sources = sorted(path.relative_to(folder).as_posix() for path in files)[:limit]
    stems = Counter(source.rpartition(".")[0] for source in sources)
    clips = []
    for source in sources:
        stem, _, suffix = source.rpartition(".")
        # a.wav and a.flac may stand side by side, and must not become one
        name = stem if stems[stem] == 1 else f"{stem}.{suffix}"
        speaker = source.split("/")[0] if "/" in source else stem
        clips.append(
            Clip(
                id="/".join(_shorten(part) for part in printable(name).split("/")),
                source=source,
                speaker=printable(speaker),
                split=split_of(speaker, validation, test),
            )
        )
    return clips


def split_of(speaker: str, validation: float, test: float) -> str:
    """Return a speaker's split: a hash of the name alone decides, so more speakers move nobody.

    Example:
        >>> split_of("84", 0.0, 0.0), split_of("84", 1.0, 0.0)
        ('train', 'validation')
    """
    position = int(hash_text(speaker)[:13], 16) / 16**13
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def synthesize_corpus(
    renderer: Renderer,
    clips: Sequence[Clip],
    recipe_text: str,
    sensor_sha256: str | None,
    jobs: int,
    overwrite: bool = False,
) -> SynthesisResult:
    """Render every clip, or finish what an earlier run began.

    Args:
        renderer: how.
        clips: what.
        recipe_text: the resolved recipe, which is kept beside the pairs.
        sensor_sha256: of the sensor's file.
        jobs: worker processes.
        overwrite: throw an earlier dataset at the same place away.

    Raises:
        UsageError: if the folder holds something else, or a dataset of other settings.
        EnvironmentFault: if the disk is full or forbidden, or another run is at work there.
    """
    settings = {
        "schema": SCHEMA,
        "bcsim": bcsim.__version__,
        "sensor": renderer.sensor,
        "sensor_sha256": sensor_sha256,
        "seed": renderer.seed,
        "mean": renderer.mean,
        "device": renderer.device,
        "recipe": yaml.safe_load(recipe_text),
        "num_sources": len(clips),
        "sources_sha256": hash_sources(renderer.source_folder, [clip.source for clip in clips]),
    }
    out = renderer.out
    with environment_faults(out), claimed(out, overwrite) as state:
        check_settings(out, state, settings)
        sweep_temporaries(out)
        finished = _finished(state / JOURNAL_NAME, renderer, clips)
        todo = [clip for clip in clips if clip.id not in finished]
        rows = {row.id: row for row in finished.values()}
        failures: dict[str, str] = {}
        with (state / JOURNAL_NAME).open("a", encoding="utf-8") as journal:
            results = run_parallel(renderer.render, todo, jobs, key=lambda clip: clip.id)
            for clip, result in track(results, len(clips), "synthesizing", done=len(finished)):
                if isinstance(result, PairRow):
                    rows[result.id] = result
                    journal.write(result.to_json() + "\n")
                    journal.flush()
                else:
                    failures[clip.source] = result
                    log.warning("skipped: %s", printable(result))
        by_split = _finish(renderer, clips, rows, failures, recipe_text, settings)
        shutil.rmtree(state)
    return SynthesisResult(
        out=out,
        num_pairs=len(rows),
        num_reused=len(finished),
        seconds=sum(row.duration_s for row in rows.values()),
        splits={name: len(members) for name, members in by_split.items()},
        failures=failures,
    )


def hash_sources(folder: Path, sources: Sequence[str]) -> str:
    """Return a hash over the names and sizes of source files."""
    with environment_faults(folder):
        sizes = [(folder / source).stat().st_size for source in sources]
    return hash_text(
        "".join(f"{printable(s)}\t{size}\n" for s, size in zip(sources, sizes, strict=True))
    )


def _finished(journal: Path, renderer: Renderer, clips: Iterable[Clip]) -> dict[str, PairRow]:
    """Return the journal's rows whose two files are there and of the length they should have."""
    if not journal.is_file():
        return {}
    by_id = {clip.id: clip for clip in clips}
    finished = {}
    content = journal.read_text("utf-8", errors="replace")
    for line in content.split("\n"):
        try:
            row = PairRow.from_json(line, str(journal))
        except InputError:
            continue  # the run was killed while it wrote this line; the pair is rendered again
        clip = by_id.get(row.id)
        if clip is None:
            continue
        folder = renderer.out / clip.split
        wanted = round(row.duration_s * row.sample_rate)
        if all(num_frames(folder / name) == wanted for name in renderer.file_names(clip)):
            finished[row.id] = row
    if content and not content.endswith("\n"):
        with journal.open("a", encoding="utf-8") as file:
            file.write("\n")
    return finished


def _finish(
    renderer: Renderer,
    clips: Sequence[Clip],
    rows: Mapping[str, PairRow],
    failures: dict[str, str],
    recipe_text: str,
    settings: Mapping[str, Any],
) -> dict[str, list[PairRow]]:
    """Write the manifests and what stands beside them; the dataset's own file comes last."""
    out = renderer.out
    by_split: dict[str, list[PairRow]] = {split: [] for split in SPLITS}
    for clip in clips:
        if clip.id in rows:
            by_split[clip.split].append(rows[clip.id])
    for split, members in by_split.items():
        if members:
            write_manifest(out / split / MANIFEST_NAME, members)
    write_text(out / "recipe.resolved.yaml", recipe_text)
    write_failures(out / FAILURES_NAME, "synthesize", failures)
    seconds = sum(row.duration_s for row in rows.values())
    card = dataset_card(
        renderer.sensor,
        renderer.simulator.sample_rate,
        renderer.seed,
        renderer.mean,
        by_split,
        seconds,
    )
    write_text(out / "README.md", card)
    totals = {
        "num_pairs": {split: len(members) for split, members in by_split.items()},
        "num_speakers": len({row.speaker for row in rows.values()}),
        "num_failures": len(failures),
        "seconds": round(seconds, 3),
    }
    write_json(out / DATASET_NAME, {**settings, **totals})
    return by_split


def _shorten(part: str) -> str:
    encoded = part.encode("utf-8")
    if len(encoded) <= MAX_NAME_BYTES:
        return part
    digest = hashlib.sha256(encoded).hexdigest()[:12]
    return f"{encoded[: MAX_NAME_BYTES - 13].decode('utf-8', 'ignore')}~{digest}"
