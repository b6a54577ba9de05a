"""The stages of `bcsim adapt`: fits and trainings, each finished by the same command again."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bcsim.datasets.dataset import PairFiles
from bcsim.errors import InputError
from bcsim.files.atomic import write_bytes, write_text
from bcsim.files.text import parse_json
from bcsim.files.tree import make_folders, remove_tree
from bcsim.fitting.cross_validation import folds_of
from bcsim.models.storage import WEIGHTS_FILE, facts_of_run
from bcsim.training.kept_recorders import SYNCHRONISED_FILE
from bcsim.training.run_folder import SPEED_FILE
from bcsim.training.side_by_side import Training, run_trainings

LOGS, WARM_UP = "logs", "warm-up"
LIST_NAME, HELD_OUT_NAME = "pairs.jsonl", "held_out.jsonl"
SENSOR, ESTIMATOR = "adapted.sensor", "band-gain-network"
NUM_FOLDS = 3
MOST_STEPS = 1_000_000_000  # between validations: nothing is chosen by the pairs of a run
WARM_UP_STEPS = 12
WARM_UP_OF_PAIRS = 40  # steps over which the learning rate on recorded pairs rises
LEAST_STEPS = 10
# Other talkers, places of the sensor and levels than the few that were recorded.
AUGMENTATION = (
    "[{name: speed, factor: {uniform: [0.88, 1.12]}}, "
    "{name: smooth_eq, gains_db: {normal: [0, 2, 8]}}, "
    "{name: pair_gain, gain_db: {uniform: [-12, 0]}}]"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """Steps of the trainings.

    Args:
        simulation: number of steps on simulated pairs.
        real: number of steps on recorded pairs alone, from drawn weights.
        both: number of steps on recorded pairs after those on simulated ones.
        learning_rate: peak of the learning rate on recorded pairs.
        real_fraction: fraction of their batches that is recorded, where there is air speech.
    """

    simulation: int = 400
    real: int = 240
    both: int = 200
    learning_rate: float = 1e-3
    real_fraction: float = 0.8

    def scaled(self, factor: float) -> "Schedule":
        """Return the schedule with a part of the steps, 0 to 1, ten of each at least."""
        steps = {
            name: max(min(LEAST_STEPS, getattr(self, name)), int(factor * getattr(self, name)))
            for name in ("simulation", "real", "both")
        }
        return replace(self, **steps)


@dataclass(frozen=True)
class Material:
    """What is trained on beside the recorded pairs.

    Args:
        recipe: path or bundled name of the training recipe.
        settings: `KEY=VALUE` overrides of the recipe.
        corpus: folder of air speech, or None.
        sensor: file of a sensor that was given, or None to fit one.
        init_from: folder of the model that pretraining begins from, or None.
        channels: channel of "air" and "bone" in the recordings, where files have several.
    """

    recipe: str
    settings: tuple[str, ...] = ()
    corpus: Path | None = None
    sensor: Path | None = None
    init_from: Path | None = None
    channels: Mapping[str, str] | None = None

    @property
    def channel_arguments(self) -> list[str]:
        """Options that tell the channels of recordings."""
        return [f"--{role}-channel={name}" for role, name in (self.channels or {}).items()]


@dataclass(frozen=True)
class Fold:
    """Pairs that are trained on together, and those that are held out meanwhile.

    Args:
        name: name of the fold, which is that of its folder below the run's.
        folder: folder of the fold.
        pairs: pairs that are trained on.
        held_out: pairs that are scored; none where all are trained on.
    """

    name: str
    folder: Path
    pairs: Sequence[PairFiles]
    held_out: Sequence[PairFiles] = ()

    @property
    def list(self) -> Path:
        """List of the pairs that are trained on."""
        return self.folder / LIST_NAME

    @property
    def held_out_list(self) -> Path:
        """List of the pairs that are scored."""
        return self.folder / HELD_OUT_NAME

    def sensor(self, material: Material) -> Path:
        """Return the sensor that stands for the pairs, given or fitted to them alone."""
        whose = self.folder if self.held_out else self.folder.parent
        return material.sensor or whose / "sensor" / SENSOR

    def begun_from(self, material: Material) -> Path | None:
        """Return the model that fine-tuning begins from, or None."""
        return material.init_from if material.corpus is None else self.folder / "simulation"

    def networks(self, material: Material) -> dict[str, Path]:
        """Return the folders of the networks that are scored, by the name of the part."""
        start = self.begun_from(material)
        if start is None:
            return {"real": self.folder / "real"}
        name = "start" if material.corpus is None else "simulation"
        return {name: start, "real": self.folder / "real", "both": self.folder / "both"}

    def write_lists(self) -> None:
        """Write the lists of the pairs; the folder of the fold is made."""
        make_folders(self.folder)
        for path, pairs in ((self.list, self.pairs), (self.held_out_list, self.held_out)):
            if pairs:
                write_text(path, "".join(map(_line, pairs)))


def deal(pairs: Sequence[PairFiles], out: Path) -> tuple[list[Fold], bool]:
    """Deal recorded pairs into folds; tell whether they are dealt by talker.

    Args:
        pairs: all pairs that can be used, two or more.
        out: folder of the run.
    """
    held_out = folds_of([(pair.speaker, pair.id) for pair in pairs], NUM_FOLDS, 2)
    folds = []
    for number, indices in enumerate(held_out, start=1):
        name = f"folds/{number}"
        rest = [pair for index, pair in enumerate(pairs) if index not in indices]
        folds.append(Fold(name, out / name, rest, [pairs[index] for index in sorted(indices)]))
    talkers = [{pair.speaker for pair in fold.held_out} for fold in folds]
    known = all(None not in names for names in talkers)
    return folds, known and sum(map(len, talkers)) == len(set().union(*talkers)) > 1


def fit_sensors(folds: Sequence[Fold], final: Fold, material: Material, jobs: int) -> None:
    """Fit a sensor to the pairs of each fold that has none yet."""
    if material.sensor is not None:
        return
    stages = []
    for fold in (*folds, final):
        sensor = fold.sensor(material)
        if not sensor.is_file():
            make_folders(sensor.parent)
            # Choosing an estimator on held-out pairs would take several times as long.
            command = [
                *("fit-response", f"--pairs={fold.list}", f"--out={sensor}"),
                *(f"--estimator={ESTIMATOR}", "--no-cross-validate", "--no-report"),
            ]
            stages.append(_stage(fold, "sensor", [*command, *material.channel_arguments]))
    _run(stages, jobs, "fitting sensors")


def train_networks(
    folds: Sequence[Fold], final: Fold, material: Material, schedule: Schedule, jobs: int
) -> None:
    """Train what is not trained yet: first what begins from drawn weights, then the rest."""
    has_start = final.begun_from(material) is not None
    first = [
        (fold, part)
        for fold in (*folds, final)
        for part in ("simulation", "real")
        if (part == "simulation" and material.corpus is not None)
        or (part == "real" and not (fold is final and has_start))
    ]
    second = [(fold, "both") for fold in (*folds, final)] if has_start else []
    for wanted in (first, second):
        _share_recorders(wanted)
        stages = [
            _stage(fold, part, arguments_of(fold, part, material, schedule))
            for fold, part in wanted
            if not _is_trained(fold.folder / part, getattr(schedule, part))
        ]
        _run(stages, jobs, "training networks")


def arguments_of(fold: Fold, part: str, material: Material, schedule: Schedule) -> list[str]:
    """Return the command that trains a part of a fold.

    Args:
        fold: fold whose pairs are trained on.
        part: "simulation", "real" or "both".
        material: what is trained on beside them.
        schedule: steps of the parts.
    """
    num_steps = getattr(schedule, part)
    settings = [
        *(*material.settings, f"training.num_steps={num_steps}"),
        *(f"validation.interval_steps={MOST_STEPS}", "validation.num_items=1"),
        "validation.num_samples=0",
    ]
    given: list[str] = []
    renders = part != "real" and material.corpus is not None
    if renders:
        given += [f"--air={material.corpus}", f"--sensor={fold.sensor(material)}"]
    if part == "simulation":
        start = material.init_from
    else:
        start = None if part == "real" else fold.begun_from(material)
        given += [f"--{'real-' if renders else ''}pairs={fold.list}", *material.channel_arguments]
        settings += [
            f"data.augmentation={AUGMENTATION}",
            f"data.real_fraction={schedule.real_fraction}",
            f"optimizer.learning_rate={schedule.learning_rate}",
            f"schedule.warmup_steps={min(WARM_UP_OF_PAIRS, num_steps // 4)}",
        ]
    if start is not None:
        given.append(f"--init-from={start}")
    return [
        *("train", f"--recipe={material.recipe}", f"--out={fold.folder / part}", "--resume"),
        *given,
        *(f"--set={setting}" for setting in settings),
    ]


def schedule_within(
    budget_s: float, wanted: Schedule, num_folds: int, final: Fold, material: Material, jobs: int
) -> Schedule:
    """Return as many of the steps as a time allows, by what a few of them take on this machine.

    Args:
        budget_s: time of all trainings together, in seconds.
        wanted: steps that there are at most.
        num_folds: number of folds.
        final: fold with all pairs, whose sensor is fitted.
        material: what is trained on beside them.
        jobs: number of trainings at a time.
    """
    folder = final.folder.parent / WARM_UP
    remove_tree(folder, ignore_errors=True)
    stages = []
    for number in range(jobs):  # at the same time, as they will be
        fold = replace(final, name=f"{WARM_UP}/{number}", folder=folder / str(number))
        fold.write_lists()
        part = "real" if material.corpus is None else "simulation"
        alike = replace(material, sensor=final.sensor(material))
        steps = Schedule(simulation=WARM_UP_STEPS, real=WARM_UP_STEPS)
        settings = f"--set=training.log_interval_steps={WARM_UP_STEPS // 2}"
        stages.append(_stage(fold, part, [*arguments_of(fold, part, alike, steps), settings]))
    _run(stages, jobs, "timing a few steps")
    speeds = [
        parse_json(path.read_text("utf-8").splitlines()[-1])["speed/steps_per_s"]
        for path in sorted(folder.glob(f"*/*/{SPEED_FILE}"))
    ]
    remove_tree(folder, ignore_errors=True)
    simulation = wanted.simulation if material.corpus is not None else 0
    both = wanted.both if final.begun_from(material) is not None else 0
    total = (num_folds + 1) * (simulation + both) + (num_folds + (both == 0)) * wanted.real
    factor = min(1.0, budget_s * sum(speeds) / total)
    log.info(
        "%.3g steps a second: %.0f %% of the steps fit in %.0f s",
        *(sum(speeds), 100 * factor, budget_s),
    )
    return wanted.scaled(factor)


def _share_recorders(wanted: Sequence[tuple[Fold, str]]) -> None:
    """Give "both" what "real" found about the recorders of the same pairs, which takes a while."""
    for fold, part in wanted:
        found, run = fold.folder / "real" / SYNCHRONISED_FILE, fold.folder / part
        if part == "both" and found.is_file() and not (run / SYNCHRONISED_FILE).exists():
            make_folders(run)
            write_bytes(run / SYNCHRONISED_FILE, found.read_bytes())


def _is_trained(run: Path, num_steps: int) -> bool:
    """Tell whether a run has exported the weights of its last step."""
    if not (run / WEIGHTS_FILE).is_file():
        return False
    try:
        return facts_of_run(run).get("steps_total") == num_steps
    except InputError:  # missing, or damaged, and written again
        return False


def _line(pair: PairFiles) -> str:
    # Below a folder that is called after no split: `train` would take others for test.
    row = {"id": f"pairs/{pair.id}", "talker": pair.speaker or ""}
    files = {role: str(pair.files[role].resolve()) for role in ("air", "bone")}
    return json.dumps({**row, **files}) + "\n"


def _stage(fold: Fold, part: str, arguments: list[str]) -> Training:
    name = f"{fold.name}/{part}"
    root = fold.folder
    for _ in fold.name.split("/"):
        root = root.parent
    return Training(name, arguments, root / LOGS / f"{name.replace('/', '-')}.log")


def _run(stages: Sequence[Training], jobs: int, description: str) -> None:
    """Run stages, and raise an InputError for the first that fails."""
    if not stages:
        return
    for stage in stages:
        make_folders(stage.log.parent)
    failed = run_trainings(stages, jobs, description)
    for name, reason in failed.items():
        raise InputError(f"{name}: {reason}")
