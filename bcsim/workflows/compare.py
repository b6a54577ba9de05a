"""`bcsim compare`: several recipes trained alike, and scored on the same recordings."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcsim.audio.folder import list_audio
from bcsim.datasets.pairs import contents_of
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import environment_faults, is_temporary, sweep_temporaries, write_text
from bcsim.files.failures import FAILURES_NAME, none_usable, write_failures
from bcsim.files.findings import FINDINGS_NAME
from bcsim.files.outputs import check_output_folder
from bcsim.files.paths import printable
from bcsim.files.run_folder import LOCK_NAME, locked
from bcsim.files.text import parse_json, plain
from bcsim.models.base import Enhancer
from bcsim.models.storage import AIR_TO_BONE
from bcsim.reports.comparison import Sounds, comparison_csv, comparison_page
from bcsim.reports.html import check_report_packages, write_page
from bcsim.training.config import TrainingConfig
from bcsim.training.processes import processes_of_run
from bcsim.training.side_by_side import Training, run_trainings
from bcsim.workflows.compared_scores import ScoredRecordings
from bcsim.workflows.enhancers import INVERSE, find_enhancer
from bcsim.workflows.presets import sensorless_presets
from bcsim.workflows.train import load_recipe

MARKER = ".bcsim-compare"
RESULTS, TABLE, REPORT = "results.json", "results.csv", "report.html"
RUNS, LOGS = "runs", "logs"
_OF_A_COMPARISON = {
    *(MARKER, LOCK_NAME, RESULTS, TABLE, REPORT, RUNS, LOGS, FAILURES_NAME, FINDINGS_NAME),
}
MOST_STEPS = 1_000_000_000  # of a run that ends with its time
CHECKPOINT_STEPS = 100  # steps that a killed run loses at most
MAX_LOOKED_AT = 2**31  # bytes of files that are compared with the recordings that score

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What all recipes are trained on: pairs, or air recordings that are rendered.

    Args:
        pairs: what `train` takes as pairs, or None.
        air: folder of air recordings, or None.
        sensor: sensor that they are rendered through.
        speakers: table of the speakers in `air`, or None.
        speaker_level: number of the folder in each path that is called after the speaker, or None.
    """

    pairs: Path | None = None
    air: Path | None = None
    sensor: str | None = None
    speakers: Path | None = None
    speaker_level: int | None = None

    def __post_init__(self) -> None:
        if (self.pairs is None) == (self.air is None):
            raise UsageError("give either pairs, or air recordings with a sensor")
        if (self.air is None) != (self.sensor is None):
            raise UsageError("air recordings and a sensor go together; give both, or pairs alone")

    @property
    def trained_files(self) -> Path:
        """Folder or list whose recordings may be trained on."""
        folder = self.pairs or self.air
        assert folder is not None
        return folder / "train" if (folder / "train").is_dir() else folder

    def baseline(self) -> Enhancer | None:
        """Return the inverse of the sensor's response, or None where no sensor is given."""
        if self.sensor is None or self.sensor in sensorless_presets():
            return None
        return find_enhancer(f"{INVERSE}{self.sensor}").enhancer

    def arguments(self) -> list[str]:
        """Return the options of `bcsim train`."""
        given = {
            "--pairs": self.pairs, "--air": self.air, "--sensor": self.sensor,
            "--speakers": self.speakers, "--speaker-level": self.speaker_level,
        }  # fmt: skip
        return [f"{flag}={value}" for flag, value in given.items() if value is not None]


@dataclass(frozen=True)
class Comparison:
    """The end of a comparison: its results as `results.json` holds them, and what failed."""

    out: Path
    facts: Mapping[str, Any]
    failures: Mapping[str, str]


def compare(
    recipes: Sequence[str],
    out: Path,
    material: Material,
    validation_pairs: Path,
    *,
    budget_s: float | None = None,
    num_steps: int | None = None,
    settings: Sequence[str] = (),
    jobs: int = 1,
) -> Comparison:
    """Train each recipe for the same time or steps, and score all on the same recordings.

    The weights are those of the last step: the recordings that score choose nothing. The same call
    again goes on with the runs that were stopped, and scores all of them anew.

    Args:
        recipes: paths or bundled names of training recipes.
        out: folder of the comparison, with a folder of each run in it.
        material: what is trained on.
        validation_pairs: folder of recordings or dataset (its validation split) that all are
            scored on.
        budget_s: time of training in seconds that each recipe gets, resumed runs counted on.
        num_steps: number of steps that each gets instead.
        settings: `KEY=VALUE` overrides of every recipe.
        jobs: number of recipes that are trained at a time, each on one thread.

    Raises:
        UsageError: if the request makes no sense, or `out` holds something else.
        InputError: if no recording can be scored, or no recipe could be trained.
        EnvironmentFault: if another comparison is at work in `out`, or the disk is at fault.
    """
    check_report_packages()
    if (budget_s is None) == (num_steps is None):
        raise UsageError("give either a time or a number of steps that each recipe is trained for")
    if processes_of_run()[1] > 1:
        raise UsageError("compare starts its own processes; leave torchrun out")
    if not material.trained_files.exists():
        raise InputError(f"{material.trained_files}: no such file or folder to train on")
    names = _names(recipes)
    inputs = [material.pairs, material.air, validation_pairs, *map(Path, recipes)]
    check_output_folder(
        out, [path for path in inputs if path and path.exists()], lambda _: _is_own(out)
    )
    alike = (
        ("training.num_steps", num_steps)
        if budget_s is None
        else ("training.time_limit_s", budget_s)
    )
    steps = [] if budget_s is None else [f"training.num_steps={MOST_STEPS}"]
    every = [
        *(*settings, *steps, f"{alike[0]}={alike[1]}"),
        f"validation.interval_steps={MOST_STEPS}",
        f"training.checkpoint_interval_steps={CHECKPOINT_STEPS}",
    ]
    configs, refused = _configs(names, every)
    with environment_faults(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / MARKER, "made by bcsim compare\n")  # a kill changes nothing
        for folder in (RUNS, LOGS):
            (out / folder).mkdir(exist_ok=True)
    with locked(out, out / LOCK_NAME):
        sweep_temporaries(out)
        scored_on = ScoredRecordings(validation_pairs, material.baseline())
        for config in configs.values():
            scored_on.prepare(config.sample_rate)
        _warn_of_overlap(scored_on.files, material.trained_files)
        trainings = [
            Training(
                name,
                _arguments(names[name], out / RUNS / name, material, every),
                out / LOGS / f"{name}.log",
            )
            for name in configs
        ]
        failed = refused | run_trainings(trainings, jobs, "training recipes")
        trained = [name for name in configs if name not in failed]
        if not trained:
            raise none_usable(out, f"{len(names)} recipes", failed)
        budget = {"budget_s": budget_s, "num_steps": num_steps}
        return _scored(out, names, trained, failed, scored_on, budget)


def _scored(
    out: Path,
    names: Mapping[str, str],
    trained: Sequence[str],
    failed: dict[str, str],
    scored_on: ScoredRecordings,
    budget: Mapping[str, Any],
) -> Comparison:
    """Score the trained networks, and write the results."""
    rows: dict[str, dict[str, Any]] = {}
    sounds: dict[str, Sounds] = {}
    for name in trained:
        try:
            rows[name], sounds[name] = scored_on.row(out / RUNS / name)
        except InputError as error:
            failed[name] = str(error)
            log.warning("%s: %s", name, error)
    if not rows:
        raise none_usable(out, f"{len(names)} recipes", failed)
    ordered = sorted(rows, key=lambda name: -(rows[name]["scores"].get("stoi") or 0))
    facts = {
        **budget,
        **scored_on.facts(),
        "rows": [
            *scored_on.references(),
            *({"name": name, "recipe": names[name], **rows[name]} for name in ordered),
            *(
                {"name": name, "recipe": names[name], "failure": failed[name]}
                for name in names
                if name in failed
            ),
        ],
    }
    write_text(out / RESULTS, json.dumps(facts, indent=1, allow_nan=False) + "\n")
    write_text(out / TABLE, comparison_csv(facts))
    write_page(out / REPORT, comparison_page(facts, {name: sounds[name] for name in ordered}))
    failures = {**failed, **scored_on.failures}
    for name in trained:
        add_left_out(failures, out / RUNS / name / FAILURES_NAME)
    write_failures(out / FAILURES_NAME, "compare", failures)
    return Comparison(out, facts, failures)


def _names(recipes: Sequence[str]) -> dict[str, str]:
    """Return the recipes by the names of their runs, which are those of their files."""
    names: dict[str, str] = {}
    for recipe in recipes:
        name = plain(Path(recipe).name.removesuffix(".yaml").removesuffix(".yml"))
        if name in names:
            raise UsageError(f"two recipes are called {printable(name)}; rename one")
        if name in ("", ".", ".."):
            raise UsageError(f"{recipe!r} is no recipe; give a file or the name of a bundled one")
        names[name] = recipe
    return names


def _is_own(out: Path) -> bool:
    there = {path.name for path in out.iterdir() if not is_temporary(path.name)}
    return (out / MARKER).is_file() and there <= _OF_A_COMPARISON


def _configs(
    names: Mapping[str, str], settings: Sequence[str]
) -> tuple[dict[str, TrainingConfig], dict[str, str]]:
    """Return the recipes that can be trained, and why the others cannot."""
    configs, refused = {}, {}
    for name, recipe in names.items():
        try:
            config = load_recipe(recipe, tuple(settings))
            if config.direction == AIR_TO_BONE:
                raise UsageError(f"{recipe}: trains a simulator of the sensor, and no enhancer")
            configs[name] = config
        except UsageError as error:
            refused[name] = str(error)
            log.warning("%s: %s", name, error)
    if not configs:
        raise UsageError(next(iter(refused.values())))
    return configs, refused


def _arguments(recipe: str, run: Path, material: Material, settings: Sequence[str]) -> list[str]:
    sets = [f"--set={setting}" for setting in settings]
    return ["train", f"--recipe={recipe}", f"--out={run}", "--resume", *material.arguments(), *sets]


def add_left_out(failures: dict[str, str], path: Path) -> None:
    """Add the recordings that a run did not train on, unless they are there for this reason."""
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
        try:
            entry = parse_json(line)
            source, reason = str(entry["source"]), str(entry["error"])
        except (ValueError, KeyError, TypeError):  # a line of others
            continue
        if failures.get(source) != reason:
            failures[source if source not in failures else f"{source} (training)"] = reason


def _warn_of_overlap(scored: Sequence[Path], trained: Path) -> None:
    """Log how many files that score are files that may be trained on, told by what they hold."""
    sizes = {path.stat().st_size for path in scored if path.is_file()}
    there = [trained / name for name in list_audio(trained).names] if trained.is_dir() else []
    found = [path for path in there if path.is_file() and path.stat().st_size in sizes]
    if sum(path.stat().st_size for path in found) > MAX_LOOKED_AT:
        return
    known = {*contents_of(found)} - {"-"}
    both = [
        path for path, digest in zip(scored, contents_of(scored), strict=True) if digest in known
    ]
    if both:
        log.warning(
            "%d of %d files that score the models are trained on, too, such as %s: their scores "
            "are better than those of other recordings",
            *(len(both), len(scored), printable(str(both[0]))),
        )
