"""`bcsim train`: pairs in, an enhancer out."""

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bcsim.audio.folder import audio_names
from bcsim.audio.read import audio_info, read_audio
from bcsim.datasets.dataset import read_manifest, read_pairs
from bcsim.datasets.manifest import DATASET_NAME, MANIFEST_NAME, SPLITS, STATE_FOLDER, SUMS_NAME
from bcsim.datasets.noise_folder import fingerprint
from bcsim.datasets.pairs import Pairs, RecordedPairs, RenderedPairs, StoredPairs, open_pairs
from bcsim.datasets.verification import unfit_files, verify_files
from bcsim.errors import DivergedError, InputError, UsageError, did_you_mean
from bcsim.files.atomic import write_text
from bcsim.files.hashing import hash_file, hash_files, hash_text
from bcsim.files.text import shown
from bcsim.models.storage import WEIGHTS_FILE
from bcsim.progress import track
from bcsim.recipe import (
    build_simulator,
    from_mapping,
    override,
    read_yaml,
    resolve_effect,
    write_yaml,
)
from bcsim.reports.run import write_run_report
from bcsim.sensors.profile import SensorProfile
from bcsim.synthesis.clips import hash_sources, lines_of_clips, plan_clips, tell_splits
from bcsim.synthesis.speakers import Speakers, find_speakers
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.training.processes import is_main_process
from bcsim.training.run import TrainingResult
from bcsim.training.run import train as train_model
from bcsim.training.run_folder import RECIPE_FILE, clear_samples
from bcsim.training.synchronised import SynchronisedPairs
from bcsim.workers.pool import num_cores
from bcsim.workflows.presets import (
    bundled_recipes,
    find_sensor,
    resolve_simulator,
    sensorless_presets,
)

REPORT_INTERVAL_S = 60.0
MAX_HASHED_BYTES = 2**31  # of an air corpus: a larger one is not read before a run
NUM_TOLD = 5  # problems of a dataset that are named
VALIDATION, TEST = 0.05, 0.05  # parts of the speakers kept back where pairs are rendered

log = logging.getLogger(__name__)


def _load_recipe(recipe: str, settings: tuple[str, ...]) -> TrainingConfig:
    bundled = bundled_recipes("training")
    path = bundled.get(recipe.removesuffix(".yaml")) if not Path(recipe).exists() else Path(recipe)
    if path is None:
        raise UsageError(f"{recipe}: no such recipe{did_you_mean(recipe, bundled)}")
    return from_mapping(TrainingConfig, override(read_yaml(path), settings), path.name)


def train(
    recipe: str,
    out: Path,
    pairs: Path | None = None,
    air: Path | None = None,
    sensor: str | None = None,
    settings: tuple[str, ...] = (),
    resume: bool = False,
    real_pairs: Path | None = None,
    validation_pairs: Path | None = None,
    init_from: Path | None = None,
    bone: Path | None = None,
    channels: Mapping[str, str] | None = None,
    speakers: Path | None = None,
    speaker_level: int | None = None,
) -> TrainingResult:
    """Train the recipe's model on pairs from disk, or on pairs rendered as they are needed.

    Before a run begins its files are looked at, and the first bad one is refused: of a dataset by
    their hashes; recordings, and air of up to 2 GiB, are decoded; of more air the headers are read.

    Args:
        recipe: path or bundled name of a training recipe.
        out: folder of the run.
        pairs: folder that `synthesize` or `import` wrote, or folder or list of recorded pairs.
        air: folder of air recordings that are rendered through `sensor`, instead of `pairs`; or,
            with `bone`, the recordings of the air microphone (`find_pairs`).
        sensor: path or bundled name of a sensor, or name of a preset.
        settings: `KEY=VALUE` overrides of the recipe.
        resume: whether to continue the run in `out`.
        real_pairs: folder of recordings or dataset (its training split) that a part of every batch
            comes from.
        validation_pairs: folder of recordings or dataset (its validation split) that decides which
            weights are best.
        init_from: folder of the model whose weights the run begins with.
        bone: recordings of the sensor that make pairs with those in `air`.
        channels: channel of "air" and "bone" in recordings, where files have several.
        speakers: table of the speakers in `air`; None to tell them by the paths of the files.
        speaker_level: number of the folder in each path that is called after the speaker, from 1;
            0 where none is.

    Raises:
        UsageError: if neither or both of `pairs` and `air` are given, or settings are wrong.
        InputError: if pairs or model cannot be read.
        EnvironmentFault: if another process trains in `out`.
    """
    config = _load_recipe(recipe, settings)
    told = (speakers, speaker_level)
    data, config = _training_data(config, pairs, air, bone, sensor, channels, told)
    facts = dict(data.facts)  # their names are in checkpoints
    if init_from is not None:
        weights = init_from / WEIGHTS_FILE
        if not weights.is_file():
            raise InputError(
                f"{weights}: no such file; give a run of bcsim train or import-checkpoint"
            )
        facts["--init-from"] = hash_file(weights)
    real = _open_real(real_pairs, config, "train", channels)
    judged = _open_real(validation_pairs, config, "validation", channels)
    for pairs_read, name in ((real, "--real-pairs"), (judged, "--validation-pairs")):
        if pairs_read is not None:
            facts[name] = _fingerprint(pairs_read)
    data = replace(data, real=real, validation_real=judged, facts=facts)
    if channels and not any(isinstance(pairs, RecordedPairs) for pairs in data.sets.values()):
        raise UsageError("channels are chosen of pairs of recordings, and there are none")

    def prepare(begins: bool) -> None:
        if isinstance(data.training, StoredPairs):
            assert pairs is not None
            check_dataset(pairs, hashes=begins)
        if begins:
            clear_samples(out)
            _check_recordings(data)

    def before_steps() -> None:
        content = json.loads(json.dumps(asdict(config)))  # tuples become lists
        content = {"kind": content.pop("kind"), **content}
        write_text(out / RECIPE_FILE, write_yaml(content))

    try:
        result = train_model(
            config,
            data,
            out,
            resume=resume,
            init_from=init_from,
            after_validation=_Reporter(out),
            prepare=prepare,
            before_steps=before_steps,
        )
    except DivergedError:
        if is_main_process():
            write_run_report(out)
        raise
    if is_main_process():
        write_run_report(out)
    return result


def _training_data(
    config: TrainingConfig,
    pairs: Path | None,
    air: Path | None,
    bone: Path | None,
    sensor: str | None,
    channels: Mapping[str, str] | None,
    told: tuple[Path | None, int | None],
) -> tuple[TrainingData, TrainingConfig]:
    """Return what `train` trains on, and the recipe with the effects that render it, if any do."""
    if (pairs is None) == (air is None):
        raise UsageError("give either pairs, or air recordings with a sensor")
    if bone is not None and air is None:
        raise UsageError("recordings of the sensor need those of the air microphone beside them")
    if (pairs is not None or bone is not None) and sensor is not None:
        raise UsageError(
            "a sensor goes with air recordings alone; the pairs have its signal already"
        )
    if (pairs is not None or bone is not None) and told != (None, None):
        raise UsageError("speakers are told of air recordings alone; pairs have their splits")
    if pairs is not None:
        return _stored(pairs, config, channels), config
    if bone is not None and air is not None:
        recorded = open_pairs(air, config.sample_rate, config.seed, channels=channels, bone=bone)
        return _recorded(recorded, air), config
    assert air is not None
    names = audio_names(air)
    data, effects = _rendered(air, names, find_speakers(air, names, *told), sensor, config)
    return data, replace(config, effects=effects)


def check_dataset(dataset: Path, hashes: bool) -> None:
    """Raise InputError for a dataset in which anything is missing, changed, torn or listed twice.

    The first few problems are logged. A changed file that kept its length is not noticed without
    `hashes`, nor where the dataset has no `SHA256SUMS`.
    """
    if (dataset / STATE_FOLDER).is_dir():
        raise InputError(f"{dataset}: is not finished; run the command that makes it again")
    splits = [split for split in ("train", "validation") if (dataset / split).is_dir()]
    if (dataset / SUMS_NAME).is_file():
        problems = [*verify_files(dataset, splits, hashes)]
    else:
        log.warning("%s: has no %s; its files are looked at by length alone", dataset, SUMS_NAME)
        problems = [
            line
            for split in splits
            for row in read_manifest(dataset / split / MANIFEST_NAME)
            for line in unfit_files(dataset / split, row)
        ]
    for line in problems[1:NUM_TOLD]:
        log.error("%s", line)
    if problems:
        more = f" (the first of {len(problems)} problems)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0]}{more}; make the dataset again: see bcsim verify")


def _check_recordings(data: TrainingData) -> None:
    """Raise InputError for the first recording that could not be read when it is drawn.

    All are decoded once, but for air of more than 2 GiB, of which the headers are read. Datasets
    are left to `check_dataset`.
    """
    air: list[Path] = []
    recorded: list[tuple[Path, int | None]] = []
    for pairs in data.sets.values():
        if isinstance(pairs, RenderedPairs):
            air += pairs.files
        elif isinstance(pairs, RecordedPairs):
            recorded += [
                (files[role], pairs.recorded_channels.get(role))
                for files in pairs.files
                for role in ("air", "bone")
            ]
    are_small = _are_small(air)
    decoded = [*recorded, *((path, None) for path in air if are_small)]
    for path, channel in track(decoded, len(decoded), "looking at recordings"):
        try:
            read_audio(path, channel=channel)
        except InputError as error:
            raise InputError(f"{error}; or leave it out") from error
    for path in track(air, len(air), "looking at headers") if not are_small else ():
        if audio_info(path) is None:
            raise InputError(f"{path}: cannot be read as audio; copy it again, or leave it out")


class _Reporter:
    """Writes the report of a run that goes on, but not so often that it holds the run up."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.due_at = 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self.due_at:
            write_run_report(self.out)
            self.due_at = time.monotonic() + REPORT_INTERVAL_S


def _stored(
    pairs: Path, config: TrainingConfig, channels: Mapping[str, str] | None
) -> TrainingData:
    if not pairs.exists():
        raise InputError(f"{pairs}: no such folder; give what synthesize or import wrote")
    _check_split(pairs, "train")
    of_dataset = (pairs / "train" / MANIFEST_NAME, pairs / DATASET_NAME)
    if not any(path.is_file() for path in of_dataset):
        recorded = open_pairs(pairs, config.sample_rate, config.seed, channels=channels)
        return _recorded(recorded, pairs)
    validation: Pairs | None = None
    if (pairs / "validation").is_dir():
        validation = StoredPairs(pairs, "validation", config.sample_rate, config.seed)
    training = StoredPairs(pairs, "train", config.sample_rate, config.seed)
    twice = set(training.ids).intersection([] if validation is None else validation.ids)
    if twice:
        name = shown(min(twice))
        raise InputError(f"{pairs}: '{name}' is in train and in validation; remove one")
    manifests = [pairs / split / MANIFEST_NAME for split in ("train", "validation")]
    hashes = [hash_file(path) for path in manifests if path.is_file()]
    return TrainingData(training, validation, facts={"pairs_sha256": hashes})


def _recorded(recorded: RecordedPairs, folder: Path) -> TrainingData:
    """Return recordings to train on: those in folders of splits, where they are all in such."""
    facts = {"pairs_sha256": _fingerprint(recorded)}
    splits = recorded.by_split()
    if not splits:
        return TrainingData(SynchronisedPairs(recorded), facts=facts)
    _check_has_split(splits, "train", folder)
    counts = ", ".join(f"{len(pairs)} in {split}" for split, pairs in splits.items())
    log.info("pairs by the folders of splits: %s; those in test are left alone", counts)
    training, validation = (
        SynchronisedPairs(splits[split]) if split in splits else None
        for split in ("train", "validation")
    )
    assert training is not None
    return TrainingData(training, validation, facts=facts)


def _fingerprint(recorded: RecordedPairs) -> str:
    """Return a hash of names and contents: recordings are few, and any change is noticed."""
    channels = recorded.recorded_channels
    chosen = [f"channels {channels}"] if set(channels.values()) != {None} else []
    return hash_text("\n".join([*chosen, *recorded.ids, *_contents(_paths_of(recorded))]))


def _paths_of(recorded: RecordedPairs) -> list[Path]:
    return [path for files in recorded.files for path in (files["air"], files["bone"])]


def _contents(paths: Sequence[Path]) -> list[str]:
    digests = track(hash_files(paths, num_cores()), len(paths), "hashing")
    return [digest or "-" for digest in digests]


def _fingerprint_corpus(air: Path, sources: Sequence[str]) -> str:
    """Return a hash of the names and sizes of air recordings, and of the contents of few.

    Up to 2 GiB everything is read, and any change is noticed. Of larger corpora, which would take
    minutes before each resume, a file that changed and kept its size is not.
    """
    paths = [air / source for source in sources]
    by_size = hash_sources(air, sources)
    return hash_text("\n".join([by_size, *_contents(paths)])) if _are_small(paths) else by_size


def _are_small(paths: Sequence[Path]) -> bool:
    return sum(path.stat().st_size for path in paths if path.is_file()) <= MAX_HASHED_BYTES


def _open_real(
    folder: Path | None, config: TrainingConfig, split: str, channels: Mapping[str, str] | None
) -> RecordedPairs | None:
    if folder is None:
        return None
    _check_split(folder, split)
    is_dataset = (folder / split / MANIFEST_NAME).is_file()
    split_read = split if is_dataset else None
    pairs = open_pairs(folder, config.sample_rate, config.seed, split_read, channels)
    splits = {} if is_dataset else pairs.by_split()
    if splits:
        _check_has_split(splits, split, folder)
        pairs = splits[split]
    # What was rendered is synchronised but for what its effects did to it.
    manifest = folder / split / MANIFEST_NAME
    is_rendered = is_dataset and any(pair.content.get("drawn") for pair in read_pairs(manifest))
    return pairs if is_rendered else SynchronisedPairs(pairs)


def _check_split(folder: Path, split: str) -> None:
    """Raise for a dataset that has splits, but not the one that is wanted."""
    there = [name for name in SPLITS if (folder / name / MANIFEST_NAME).is_file()]
    if there:
        _check_has_split(there, split, folder)


def _check_has_split(splits: Iterable[str], split: str, folder: Path) -> None:
    there = [*splits]
    if split not in there:
        raise InputError(
            f"{folder}: has no split {split}, only {', '.join(there)}; give the folder of one of "
            f"them, such as {folder / there[0]}, to use that in its place"
        )


def _rendered(
    air: Path, names: list[str], speakers: Speakers, sensor: str | None, config: TrainingConfig
) -> tuple[TrainingData, list[dict[str, Any]]]:
    if sensor is None:
        raise UsageError(f"{air}: air recordings need a sensor that they are rendered through")
    path = None if sensor in sensorless_presets() else find_sensor(sensor)
    if config.effects is None or path is None:  # a preset without a sensor has effects of its own
        settings = (f"sample_rate={config.sample_rate}",)
        simulator = resolve_simulator(sensor, settings=settings).simulator
    else:
        profile = SensorProfile.load(path)
        simulator = build_simulator(config.effects, config.sample_rate, profile, "recipe")
    clips = plan_clips(names, VALIDATION, TEST, speakers=speakers)
    tell_splits(clips, speakers, {"train": 1.0, "validation": VALIDATION, "test": TEST})
    files, kept_back = (
        [air / clip.source for clip in clips if clip.split == split]
        for split in ("train", "validation")
    )
    if not files:
        raise UsageError(f"{air}: every speaker fell into validation or test; give more speakers")
    num_kept = len(clips) - len(files) - len(kept_back)
    if num_kept:
        log.info("test: %d recordings are neither trained on nor validated with", num_kept)
    training = RenderedPairs(files, air, simulator, config.seed)
    validation = RenderedPairs(kept_back, air, simulator, config.seed) if kept_back else None
    effects = [resolve_effect(effect) for effect in simulator.effects]
    sources = _fingerprint_corpus(air, [clip.source for clip in clips])
    facts = {"sensor_sha256": path and hash_file(path), "sources_sha256": sources}
    noise = fingerprint(simulator)
    if noise is not None:
        facts["noise_sha256"] = noise
    lines = [*lines_of_clips(clips, VALIDATION, TEST)]
    if any("\t" in line for line in lines):  # else the names of the sources tell the splits
        facts["speakers_sha256"] = hash_text("\n".join(lines))
    return TrainingData(training, validation, facts=facts), effects
