"""`bcsim train`: pairs in, an enhancer out."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from bcsim.audio.folder import audio_names
from bcsim.audio.read import read_audio
from bcsim.datasets.dataset import read_rows
from bcsim.datasets.manifest import MANIFEST_NAME, STATE_FOLDER, SUMS_NAME
from bcsim.datasets.pairs import Pairs, RecordedPairs, StoredPairs
from bcsim.datasets.verification import unfit_files, verify_files
from bcsim.errors import DivergedError, InputError, UsageError
from bcsim.files.atomic import write_text
from bcsim.files.failures import FAILURES_NAME, write_failures
from bcsim.files.hashing import hash_file
from bcsim.files.outputs import check_output_folder
from bcsim.models.storage import BONE_TO_AIR, WEIGHTS_FILE
from bcsim.progress import track
from bcsim.recipe import (
    from_mapping,
    override,
    read_yaml,
    write_yaml,
)
from bcsim.reports.run import write_run_report
from bcsim.sensors.profile import SensorProfile
from bcsim.synthesis.speakers import find_speakers
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.training.kept_recorders import read_kept
from bcsim.training.processes import is_main_process
from bcsim.training.run import TrainingResult
from bcsim.training.run import train as train_model
from bcsim.training.run_folder import RECIPE_FILE, VERDICT_FILE, check_run_folder, clear_samples
from bcsim.workflows.enhancers import enhancer_folder
from bcsim.workflows.presets import find_recipe, find_sensor, sensorless_presets
from bcsim.workflows.rendered_air import rendered_pairs
from bcsim.workflows.run_verdict import evaluate_run
from bcsim.workflows.training_pairs import (
    PairOptions,
    augmented,
    keep_recorders,
    pairs_to_train_on,
    real_pairs_of,
    tell_what_both_hold,
)

REPORT_INTERVAL_S = 60.0
NUM_TOLD = 5  # problems of a dataset that are named

log = logging.getLogger(__name__)


def load_recipe(recipe: str, settings: tuple[str, ...]) -> TrainingConfig:
    """Read a training recipe.

    Args:
        recipe: path or bundled name of the recipe.
        settings: `KEY=VALUE` overrides.

    Raises:
        UsageError: if there is no such recipe, or it or a setting is wrong.
    """
    path = find_recipe(recipe, "training")
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
    init_from: str | Path | None = None,
    bone: Path | None = None,
    channels: Mapping[str, str] | None = None,
    speakers: Path | None = None,
    speaker_level: int | None = None,
    talkers: Path | None = None,
) -> TrainingResult:
    """Train the recipe's model on pairs from disk, or on pairs rendered as they are needed.

    Before a run begins its files are looked at: recordings, and air of up to 2 GiB, are decoded; of
    more air the headers are read. What cannot be used is left out and listed in `failures.jsonl`.
    The files of a dataset are compared with their hashes, and the first bad one is refused.

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
        init_from: folder of the model whose weights the run begins with, or the name of one that
            comes with bcsim.
        bone: recordings of the sensor that make pairs with those in `air`.
        channels: channel of "air" and "bone" in recordings, where files have several.
        speakers: table of the speakers in `air`; None to tell them by the paths of the files.
        speaker_level: number of the folder in each path that is called after the speaker, from 1;
            0 where none is.
        talkers: table of the talkers in pairs of recordings, who are counted by split.

    Raises:
        UsageError: if neither or both of `pairs` and `air` are given, or settings are wrong.
        InputError: if pairs or model cannot be read.
        EnvironmentFault: if another process trains in `out`.
    """
    start = None if init_from is None else enhancer_folder(init_from)
    if is_main_process():
        inputs = (pairs, air, bone, real_pairs, validation_pairs, start)
        check_output_folder(
            out, [path for path in inputs if path and path.is_dir()], lambda _: True
        )
        check_run_folder(out, resume)
    config = load_recipe(recipe, settings)
    told = (speakers, speaker_level)
    options = PairOptions(config.sample_rate, config.seed, channels, talkers, read_kept(out))
    data, config = _training_data(config, pairs, air, bone, sensor, options, told)
    options = replace(options, training=data.training)
    facts = dict(data.facts)  # their names are in checkpoints
    if start is not None:
        facts["--init-from"] = _hash_weights(start)
    if real_pairs is not None:
        real, facts["--real-pairs"] = real_pairs_of(real_pairs, "train", options)
        data = replace(data, real=real)
    if validation_pairs is not None:
        judged, facts["--validation-pairs"] = real_pairs_of(validation_pairs, "validation", options)
        data = replace(data, validation_real=judged)
        tell_what_both_hold(data)
    data = replace(data, facts=facts)
    _check_told(data, channels=channels, talkers=talkers)
    learnt_from = augmented(data, config)

    def prepare(begins: bool) -> None:
        if pairs is not None and _is_checked(pairs, data.training):
            check_dataset(pairs, hashes=begins)
        if begins:
            clear_samples(out)
            _check_rendered(data)

    def before_steps() -> None:
        (out / VERDICT_FILE).unlink(missing_ok=True)  # of the steps that were done before
        _write_recipe(out, config)
        write_failures(out / FAILURES_NAME, "train", data.all_failures)
        keep_recorders(out, data)

    try:
        result = train_model(
            config,
            learnt_from,
            out,
            resume=resume,
            init_from=start,
            after_validation=_Reporter(out),
            prepare=prepare,
            before_steps=before_steps,
        )
    except DivergedError:
        if is_main_process():
            write_run_report(out)
        raise
    return _reported(result, config, learnt_from, sensor) if is_main_process() else result


def _reported(
    result: TrainingResult, config: TrainingConfig, data: TrainingData, sensor: str | None
) -> TrainingResult:
    """Write verdict and report of a run that is finished; return its result with the verdict."""
    if config.direction == BONE_TO_AIR:
        profile = _profile_of(sensor)
        verdict = evaluate_run(result.out, config, data, profile, result.num_steps)
        result = replace(result, verdict=verdict.facts())
    write_run_report(result.out)
    return result


def _profile_of(sensor: str | None) -> SensorProfile | None:
    """Return the sensor that pairs are rendered through; None for a preset without one."""
    if sensor is None or sensor in sensorless_presets():
        return None
    return SensorProfile.load(find_sensor(sensor))


def _hash_weights(model: Path) -> str | None:
    """Return a hash of a model's weights, or raise InputError where there are none."""
    weights = model / WEIGHTS_FILE
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; give a run of bcsim train or import-checkpoint")
    return hash_file(weights)


def _write_recipe(out: Path, config: TrainingConfig) -> None:
    content = json.loads(json.dumps(asdict(config)))  # tuples become lists
    content = {"kind": content.pop("kind"), **content}
    write_text(out / RECIPE_FILE, write_yaml(content))


def _check_told(data: TrainingData, **told: object) -> None:
    """Raise UsageError for what is told of pairs of recordings where there are none."""
    for what, given in told.items():
        if given and not any(isinstance(pairs, RecordedPairs) for pairs in data.sets.values()):
            raise UsageError(f"{what} are told of pairs of recordings, and there are none")


def _training_data(
    config: TrainingConfig,
    pairs: Path | None,
    air: Path | None,
    bone: Path | None,
    sensor: str | None,
    options: PairOptions,
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
        return pairs_to_train_on(pairs, None, options), config
    assert air is not None
    if bone is not None:
        return pairs_to_train_on(air, bone, options), config
    names = audio_names(air)
    data, effects = rendered_pairs(air, names, find_speakers(air, names, *told), sensor, config)
    return data, replace(config, effects=effects)


def _is_checked(dataset: Path, training: Pairs) -> bool:
    """Tell whether the files of pairs are compared with what bcsim wrote of them."""
    has_splits = (dataset / "train" / MANIFEST_NAME).is_file()
    return isinstance(training, StoredPairs) or (has_splits and (dataset / SUMS_NAME).is_file())


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
            for line in unfit_files(dataset / split, read_rows(dataset / split / MANIFEST_NAME))
        ]
    for line in problems[1:NUM_TOLD]:
        log.error("%s", line)
    if problems:
        more = f" (the first of {len(problems)} problems)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0]}{more}; make the dataset again: see bcsim verify")


def _check_rendered(data: TrainingData) -> None:
    """Raise InputError for the first file of a rendered pair, among recorded ones, that is bad.

    Recorded pairs were decoded when they were synchronised.
    """
    files = [
        (path, pairs.recorded_channels.get(role))
        for pairs in data.sets.values()
        if isinstance(pairs, RecordedPairs)
        for pair in pairs.pairs
        if pair.is_rendered
        for role, path in pair.files.items()
    ]
    for path, channel in track(files, len(files), "looking at rendered pairs"):
        try:
            read_audio(path, channel=channel)
        except InputError as error:
            raise InputError(f"{error}; or leave it out") from error


class _Reporter:
    """Writes the report of a run that goes on, but not so often that it holds the run up."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.due_at = 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self.due_at:
            write_run_report(self.out)
            self.due_at = time.monotonic() + REPORT_INTERVAL_S
