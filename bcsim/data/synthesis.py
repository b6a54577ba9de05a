"""Rendering of a corpus: from a folder of air recordings to a dataset of pairs.

A run can be killed at any moment; the same command again finishes it and gives the same bytes.
Every output is written under a temporary name and renamed. While a run is under way its folder
holds `.bcsim/`: what the run is (`run.json`), a lock, and a journal with the manifest row of every
finished pair. `dataset.json` is written last, then `.bcsim/` goes.
"""

import contextlib
import fcntl
import hashlib
import itertools
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

import bcsim
from bcsim.data.audio import num_frames, read_audio, write_audio
from bcsim.data.failures import FAILURES_NAME, write_failures
from bcsim.data.manifest import MANIFEST_NAME, SPLITS, PairRow, write_manifest
from bcsim.effects.base import Scene
from bcsim.errors import EnvironmentFault, InputError, UsageError
from bcsim.files import (
    TEMPORARY_SUFFIX,
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

DATASET_NAME = "dataset.json"
STATE_FOLDER, RUN_NAME = ".bcsim", "run.json"
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
    with environment_faults(out), _locked(out, overwrite) as state:
        _check_settings(out, state, settings)
        sweep_temporaries(out)
        finished = _finished(state / "journal.jsonl", renderer, clips)
        todo = [clip for clip in clips if clip.id not in finished]
        rows = {row.id: row for row in finished.values()}
        failures: dict[str, str] = {}
        with (state / "journal.jsonl").open("a", encoding="utf-8") as journal:
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


@contextlib.contextmanager
def _locked(out: Path, overwrite: bool) -> Iterator[Path]:
    """Claim the output folder; the kernel lets go of the lock when the process ends."""
    state = out / STATE_FOLDER
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; choose a folder for --out")
    ours = _is_ours(out / DATASET_NAME) or _is_ours(state / RUN_NAME) or _is_fresh(state)
    if out.is_dir() and not ours and any(out.iterdir()):
        raise UsageError(f"{out}: is not empty and no dataset of bcsim; choose another --out")
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EnvironmentFault(
                f"{out}: another run is writing there; wait for it, or choose another --out"
            ) from None
        if overwrite:
            _clear(out)
        yield state


def _is_ours(path: Path) -> bool:
    """Tell whether a JSON file is the account of a dataset that bcsim wrote."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"schema", "bcsim", "recipe", "seed"} <= content.keys()


def _is_fresh(state: Path) -> bool:
    """Tell whether a run was killed before it had written anything but its lock."""
    if not state.is_dir():
        return False
    names = {path.name for path in state.iterdir() if path.suffix != TEMPORARY_SUFFIX}
    return names <= {"lock"}


def _clear(out: Path) -> None:
    """Remove what bcsim wrote, and nothing else."""
    for split in SPLITS:
        for name in ("air", "bone"):
            shutil.rmtree(out / split / name, ignore_errors=True)
        (out / split / MANIFEST_NAME).unlink(missing_ok=True)
    for name in (DATASET_NAME, "recipe.resolved.yaml", "README.md"):
        (out / name).unlink(missing_ok=True)
    for name in (RUN_NAME, "journal.jsonl"):
        (out / STATE_FOLDER / name).unlink(missing_ok=True)


def _check_settings(out: Path, state: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of other settings; note down the settings of a new one."""
    begun = state / RUN_NAME
    earlier_path = begun if begun.is_file() else out / DATASET_NAME
    if not earlier_path.is_file():
        write_json(begun, dict(settings))
        return
    try:
        earlier = json.loads(earlier_path.read_text("utf-8"))
        earlier = {key: earlier.get(key) for key in settings}
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{earlier_path}: damaged ({error}); use --overwrite to begin anew"
        ) from None
    difference = _difference(earlier, settings)
    if difference is not None:
        if not begun.is_file():
            shutil.rmtree(state)
        raise UsageError(
            f"{out}: made with {difference}; nothing was changed: use the same settings, another "
            "--out, or --overwrite"
        )
    if not begun.is_file():
        _reopen(out, state)
        write_json(begun, dict(settings))


def _difference(earlier: Any, now: Any, name: str = "") -> str | None:
    """Return the first difference of two settings, such as "seed 0, now 1", or None."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        pairs = [(key, earlier.get(key), now.get(key)) for key in {**now, **earlier}]
    elif isinstance(earlier, list) and isinstance(now, list) and len(earlier) == len(now):
        pairs = list(zip(range(len(now)), earlier, now, strict=True))
    else:
        return None if earlier == now else f"{name} {earlier!r}, now {now!r}"
    found = (_difference(a, b, f"{name}.{key}".lstrip(".")) for key, a, b in pairs)
    return next((difference for difference in found if difference is not None), None)


def hash_sources(folder: Path, sources: Sequence[str]) -> str:
    """Return a hash over the names and sizes of source files."""
    with environment_faults(folder):
        sizes = [(folder / source).stat().st_size for source in sources]
    return hash_text(
        "".join(f"{printable(s)}\t{size}\n" for s, size in zip(sources, sizes, strict=True))
    )


def _reopen(out: Path, state: Path) -> None:
    """Make a journal of a finished dataset's manifests, so that missing files are rendered."""
    lines = itertools.chain.from_iterable(
        (out / split / MANIFEST_NAME).read_text("utf-8").splitlines(keepends=True)
        for split in SPLITS
        if (out / split / MANIFEST_NAME).is_file()
    )
    write_text(state / "journal.jsonl", "".join(lines))


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
    write_text(out / "README.md", _dataset_card(renderer, by_split, seconds))
    totals = {
        "num_pairs": {split: len(members) for split, members in by_split.items()},
        "num_speakers": len({row.speaker for row in rows.values()}),
        "num_failures": len(failures),
        "seconds": round(seconds, 3),
    }
    write_json(out / DATASET_NAME, {**settings, **totals})
    return by_split


def _dataset_card(
    renderer: Renderer, by_split: Mapping[str, Sequence[PairRow]], seconds: float
) -> str:
    configs = "".join(
        f"  - split: {split}\n    path: {split}/**\n" for split, rows in by_split.items() if rows
    )
    counts = "\n".join(
        f"| {split} | {len(rows)} | {len({row.speaker for row in rows})} "
        f"| {sum(row.duration_s for row in rows) / 60:.1f} |"
        for split, rows in by_split.items()
    )
    kind = "the mean sensor, nothing random but its noise" if renderer.mean else "random draws"
    return f"""---
configs:
- config_name: default
  data_files:
{configs}---
# Simulated pairs: {renderer.sensor}

Air-conducted speech (`air`) and what the body-conduction sensor `{renderer.sensor}` would pick up
of it (`bone`): a simulation by bcsim {bcsim.__version__}, seed {renderer.seed}, {kind}.
{renderer.simulator.sample_rate} Hz, 16 bits, one channel a file, {seconds / 3600:.2f} h in all.

| split | pairs | speakers | minutes |
|---|---|---|---|
{counts}

Splits go by speaker. Each line of `metadata.jsonl` names both files, the source recording with
its SHA-256, and every drawn parameter; `recipe.resolved.yaml` says what was done. Read it with
`datasets.load_dataset("audiofolder", data_dir=...)`, which gives the audio columns `bone` and
`air`. The licence of the source recordings holds for `air` and `bone` alike.
"""


def _shorten(part: str) -> str:
    encoded = part.encode("utf-8")
    if len(encoded) <= MAX_NAME_BYTES:
        return part
    digest = hashlib.sha256(encoded).hexdigest()[:12]
    return f"{encoded[: MAX_NAME_BYTES - 13].decode('utf-8', 'ignore')}~{digest}"
