"""`bcsim adapt`: minutes of pairs in, an enhancer for their sensor out, and a verdict on it."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import bcsim
from bcsim.audio.folder import audio_names
from bcsim.datasets.pairs import open_pairs
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import environment_faults, is_temporary, sweep_temporaries, write_text
from bcsim.files.failures import FAILURES_NAME, write_failures
from bcsim.files.findings import FINDINGS_NAME, collecting, note
from bcsim.files.hashing import hash_file, hash_text
from bcsim.files.outputs import check_output_folder
from bcsim.files.run_folder import LOCK_NAME, check_same_settings, locked
from bcsim.files.text import parse_json, read_bytes
from bcsim.files.tree import make_folders
from bcsim.models.base import Enhancer
from bcsim.models.storage import (
    BONE_TO_AIR,
    CONFIG_FILE,
    WEIGHTS_FILE,
    facts_of_run,
    fingerprint_of,
    load_enhancer,
    save_enhancer,
)
from bcsim.reports.adaptation import adaptation_page, how_made
from bcsim.reports.html import check_report_packages, write_page
from bcsim.reports.verdict import verdict_on
from bcsim.training.card import CARD_FILE, write_card
from bcsim.training.config import TrainingConfig
from bcsim.training.kept_recorders import SYNCHRONISED_FILE, read_kept, write_kept
from bcsim.training.networks import NOT_OF_WEIGHTS, Networks, build_model
from bcsim.training.processes import processes_of_run
from bcsim.training.synchronised import SynchronisedPairs
from bcsim.workers.pool import num_cores
from bcsim.workflows.adapt_stages import (
    LOGS,
    WARM_UP,
    Fold,
    Material,
    Schedule,
    deal,
    fit_sensors,
    schedule_within,
    train_networks,
)
from bcsim.workflows.adapted_scores import HeldOutScores, harmless_share
from bcsim.workflows.compare import add_left_out
from bcsim.workflows.enhancers import bundled_enhancers, enhancer_folder
from bcsim.workflows.presets import find_sensor
from bcsim.workflows.rendered_air import fingerprint_corpus
from bcsim.workflows.show_models import size_facts
from bcsim.workflows.train import load_recipe
from bcsim.workflows.training_pairs import fingerprint_of_pairs

MARKER, RESULT, REPORT = "adapt.json", "result.json", "report.html"
_OF_AN_ADAPTATION = {
    *(
        MARKER,
        RESULT,
        REPORT,
        LOCK_NAME,
        LOGS,
        WARM_UP,
        SYNCHRONISED_FILE,
        "folds",
        "final",
        "sensor",
    ),
    *(WEIGHTS_FILE, CONFIG_FILE, CARD_FILE, FAILURES_NAME, FINDINGS_NAME),
}
_MAX_MARKER_BYTES = 1 << 24
MOST_JOBS = 2  # trainings at a time, each on one thread and with a loader beside it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adaptation:
    """The end of an adaptation: its result as `result.json` holds it, and what was left out."""

    out: Path
    facts: Mapping[str, Any]
    failures: Mapping[str, str]


def adapt(
    air: Path,
    bone: Path,
    out: Path,
    *,
    talkers: Path | None = None,
    channels: Mapping[str, str] | None = None,
    air_corpus: Path | None = None,
    sensor: str | None = None,
    init_from: str | Path | None = None,
    budget_s: float | None = None,
    recipe: str = "envelope_mapper-small",
    settings: Sequence[str] = (),
    schedule: Schedule | None = None,
    jobs: int | None = None,
) -> Adaptation:
    """Train an enhancer for the sensor of a few pairs, and score it on pairs that were held out.

    The same call again goes on with what was stopped; what is finished is not done again.

    Args:
        air: recordings of the air microphone (`find_pairs`).
        bone: recordings of the sensor; or the same path as `air` for both.
        out: folder of the run, which is a model's folder in the end.
        talkers: table of the talkers.
        channels: channel of "air" and "bone", where files have several.
        air_corpus: folder of air speech that is rendered through the sensor, or None.
        sensor: path or bundled name of a sensor that stands for the pairs', in place of a fit.
        init_from: folder, or name of a bundled model, whose weights are begun with; None takes a
            bundled one of the recipe's network where there is no `air_corpus`, if there is one.
        budget_s: time of all trainings together in seconds, from which their steps follow.
        recipe: path or bundled name of the training recipe.
        settings: `KEY=VALUE` overrides of the recipe.
        schedule: steps of the trainings; the default ones where None.
        jobs: number of fits and trainings at a time; at most two by default.

    Raises:
        UsageError: if the request makes no sense, or `out` holds something else or was begun with
            other settings or recordings.
        InputError: if the pairs cannot be used, are less than two, or a fit or a training fails.
        EnvironmentFault: if another process is at work in `out`, or the disk is at fault.
    """
    check_report_packages()
    if processes_of_run()[1] > 1:
        raise UsageError("adapt starts its own processes; leave torchrun out")
    start = None if init_from is None else enhancer_folder(init_from)
    inputs = [air, bone, talkers, air_corpus, start, Path(recipe)]
    check_output_folder(
        out, [path for path in inputs if path and path.exists()], lambda _: _is_own(out)
    )
    config, network = _checked_recipe(recipe, settings, start)
    if start is None and air_corpus is None:
        start = bundled_start(network)
    given = None if sensor is None else find_sensor(sensor)
    material = Material(recipe, tuple(settings), air_corpus, given, start, channels)
    pairs = open_pairs(air, config.sample_rate, 0, None, channels, bone, talkers)
    with collecting() as noticed:
        usable = SynchronisedPairs(pairs, read_kept(out))
    for name in noticed.by_name:  # whoever collects them outside
        note(name, noticed.of(name))
    if len(usable) < 2:
        raise InputError(
            f"{air}: one pair is too little, for some are held out to tell what was gained; record "
            "more, or cut a long recording into several"
        )
    told = _settings(config, usable, material, budget_s)
    with environment_faults(out):
        make_folders(out)
    with locked(out, out / LOCK_NAME):
        sweep_temporaries(out)
        begun = _begun(out, told)
        write_kept(out, {usable.key: usable.found})
        folds, by_talker = deal(usable.pairs, out)
        final = Fold("final", out / "final", usable.pairs)
        for fold in (*folds, final):
            fold.write_lists()
        jobs = jobs or min(MOST_JOBS, num_cores())
        fit_sensors(folds, final, material, jobs)
        steps = _decided(out, begun, budget_s, schedule or Schedule(), folds, final, material, jobs)
        train_networks(folds, final, material, steps, jobs)
        held_out = HeldOutScores()
        for fold in folds:
            held_out.add(fold, material, config.sample_rate)
        failures = {**usable.failures, **held_out.failures}
        part = next(reversed(final.networks(material)))
        add_left_out(failures, final.folder / part / FAILURES_NAME)
        facts = {
            "held_out_by": "talker" if by_talker else "recording",
            "num_folds": len(folds),
            "findings": noticed.lines(),
            "recipe": recipe,
            "steps": asdict(steps),
            "has_corpus": air_corpus is not None,
            "given_sensor": sensor,
            "start": None if start is None else start.name,
        }
        share = 1.0
        if held_out.is_worse(part):
            share = harmless_share(folds, material, part, config.sample_rate)
        facts = _told(out, held_out, final.folder / part, steps, share, facts)
        write_failures(out / FAILURES_NAME, "adapt", failures)
        return Adaptation(out, facts, failures)


def _told(
    out: Path,
    held_out: HeldOutScores,
    network: Path,
    steps: Schedule,
    share: float | None,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Write model, card, report and result, and return the latter."""
    part = network.name
    evidence = held_out.evidence(part, getattr(steps, part), facts["has_corpus"])
    verdict = verdict_on(evidence, share)
    enhancer = load_enhancer(network, BONE_TO_AIR)
    if share is not None and share < 1:
        enhancer = enhancer.reduced(share) or enhancer
    facts = {
        "verdict": verdict.facts(),
        "part": part,
        "share_kept": share,
        **facts,
        "num_recordings": len(held_out.ids),
        "num_silent": held_out.num_silent,
        "num_talkers": evidence.num_talkers or None,
        "seconds": round(held_out.seconds, 1),
        "model": size_facts(enhancer),
        "metrics": list(held_out.scores["unprocessed"][0]),
        "rows": held_out.rows(),
        "differences": {
            other: {metric: asdict(difference) for metric, difference in own.items()}
            for other, own in evidence.over.items()
        },
    }
    trained = facts_of_run(network)
    told = {"light": verdict.light, "headline": verdict.headline, "made": how_made(facts)}
    save_enhancer(out, enhancer, {**trained, "scores": {}, "verdict": told})
    write_card(out, parse_json((out / CONFIG_FILE).read_text("utf-8")))
    write_page(out / REPORT, adaptation_page(facts, held_out.sounds))
    write_text(out / RESULT, json.dumps(facts, indent=1, allow_nan=False) + "\n")
    return facts


def bundled_start(network: Enhancer) -> Path | None:
    """Return the folder of a bundled model of the same network, or None."""
    wanted = {key: v for key, v in network.config.items() if key not in NOT_OF_WEIGHTS}
    for name, folder in bundled_enhancers().items():
        if wanted.items() <= load_enhancer(folder).config.items():
            log.info("no air speech is given: training begins from the bundled model %s", name)
            return folder
    log.info("no air speech is given, and no bundled model is of this network: pairs alone")
    return None


def _checked_recipe(
    recipe: str, settings: Sequence[str], start: Path | None
) -> tuple[TrainingConfig, Enhancer]:
    """Return the recipe of an enhancer that takes the sensor's signal alone, and its network.

    Trainings have to be able to begin from the weights in the folder `start`, if one is given.
    """
    config = load_recipe(recipe, tuple(settings))
    if config.direction != BONE_TO_AIR:
        raise UsageError(f"{recipe}: trains a simulator of the sensor, and no enhancer")
    network = build_model(config)
    if network.channels != ("bone",):
        raise UsageError(
            f"{recipe}: its network takes the air microphone, too, which is its target"
        )
    if start is not None:
        Networks(config, network, None, None).begin_from(start)
    return config, network


def _settings(
    config: TrainingConfig, pairs: SynchronisedPairs, material: Material, budget_s: float | None
) -> dict[str, Any]:
    """Return all that decides what comes out, as JSON holds it."""
    corpus, sensor, start = material.corpus, material.sensor, material.init_from
    talkers = [pair.speaker or "" for pair in pairs.pairs]
    found = {
        "bcsim_version": bcsim.__version__,
        "recipe": asdict(config),
        "pairs_sha256": fingerprint_of_pairs(pairs),
        "talkers_sha256": hash_text("\n".join(talkers)),
        "sources_sha256": corpus and fingerprint_corpus(corpus, audio_names(corpus)),
        "sensor_sha256": sensor and hash_file(sensor),
        "init_from_sha256": start and fingerprint_of(start),
        "budget_s": budget_s,
    }
    return json.loads(json.dumps(found))


def _begun(out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is on record of a run, which has to have the same settings; begin one if none."""
    path = out / MARKER
    if path.is_file():
        begun = _read_marker(path)
        check_same_settings(out, begun["settings"], settings)
        return begun
    begun = {"settings": dict(settings), "steps": None}
    write_text(path, json.dumps(begun, indent=1) + "\n")
    return begun


def _read_marker(path: Path) -> dict[str, Any]:
    """Return what is on record of a run: its settings, and its steps once they are decided."""
    try:
        begun = parse_json(read_bytes(path, _MAX_MARKER_BYTES, "what adapt writes"))
        settings, steps = begun["settings"], begun["steps"]
        kinds = {key: type(value) for key, value in asdict(Schedule()).items()}
        found = kinds if steps is None else {key: type(value) for key, value in steps.items()}
        if not isinstance(settings, dict) or found != kinds:
            raise ValueError("other settings or steps")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: is not what adapt wrote there; choose another output folder"
        ) from error
    return begun


def _decided(
    out: Path,
    begun: dict[str, Any],
    budget_s: float | None,
    wanted: Schedule,
    folds: Sequence[Fold],
    final: Fold,
    material: Material,
    jobs: int,
) -> Schedule:
    """Return the steps of a run: those on record, or those that the time allows."""
    if begun["steps"] is None:
        if budget_s is not None:
            wanted = schedule_within(budget_s, wanted, len(folds), final, material, jobs)
        begun = {**begun, "steps": asdict(wanted)}
        write_text(out / MARKER, json.dumps(begun, indent=1) + "\n")
    return replace(wanted, **begun["steps"])


def _is_own(out: Path) -> bool:
    there = {path.name for path in out.iterdir() if not is_temporary(path.name)}
    return (out / MARKER).is_file() and there <= _OF_AN_ADAPTATION
