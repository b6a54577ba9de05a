"""Air recordings that are rendered while something learns from them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bcsim.audio.read import open_audio
from bcsim.datasets.noise_folder import fingerprint
from bcsim.datasets.pairs import contents_of
from bcsim.datasets.rendered_pairs import RenderedPairs
from bcsim.errors import InputError, UsageError
from bcsim.files.failures import none_usable
from bcsim.files.hashing import hash_file, hash_text
from bcsim.files.paths import printable
from bcsim.progress import track
from bcsim.recipe import build_simulator, resolve_effect
from bcsim.sensors.profile import SensorProfile
from bcsim.synthesis.clips import hash_sources, lines_of_clips, plan_clips, tell_splits
from bcsim.synthesis.speakers import Speakers
from bcsim.training.classifier import ClassifierConfig
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.workflows.presets import find_sensor, resolve_simulator, sensorless_presets

MAX_HASHED_BYTES = 2**31  # of an air corpus: a larger one is not read before a run
VALIDATION, TEST = 0.05, 0.05  # parts of the speakers kept back

log = logging.getLogger(__name__)


def rendered_pairs(
    air: Path,
    names: list[str],
    speakers: Speakers,
    sensor: str | None,
    config: TrainingConfig | ClassifierConfig,
) -> tuple[TrainingData, list[dict[str, Any]]]:
    """Return air recordings as pairs that are rendered, and the effects that render them.

    Args:
        air: folder of the recordings.
        names: paths of the recordings in it.
        speakers: what is known of the speakers.
        sensor: path or bundled name of a sensor, or name of a preset.
        config: recipe, with its effects.

    Raises:
        UsageError: without a sensor, or if every speaker is kept back.
        InputError: if no recording can be used, or the sensor cannot be read.
    """
    if sensor is None:
        raise UsageError(f"{air}: air recordings need a sensor that they are rendered through")
    path = None if sensor in sensorless_presets() else find_sensor(sensor)
    usable, failures = _usable_air(air, names)
    if config.effects is None or path is None:  # a preset without a sensor has effects of its own
        settings = (f"sample_rate={config.sample_rate}",)
        simulator = resolve_simulator(sensor, settings=settings).simulator
    else:
        profile = SensorProfile.load(path)
        simulator = build_simulator(config.effects, config.sample_rate, profile, "recipe")
    clips = plan_clips(usable, VALIDATION, TEST, speakers=speakers)
    tell_splits(clips, speakers, {"train": 1.0, "validation": VALIDATION, "test": TEST})
    files, kept_back = (
        [air / clip.source for clip in clips if clip.split == split]
        for split in ("train", "validation")
    )
    if not files:
        raise UsageError(
            f"{air}: every speaker fell into validation or test; give more "
            "speakers, or a table of speakers"
        )
    num_kept = len(clips) - len(files) - len(kept_back)
    if num_kept:
        log.info("test: %d recordings are neither trained on nor validated with", num_kept)
    training = RenderedPairs(files, air, simulator, config.seed)
    validation = RenderedPairs(kept_back, air, simulator, config.seed) if kept_back else None
    effects = [resolve_effect(effect) for effect in simulator.effects]
    sources = fingerprint_corpus(air, names)
    facts = {"sensor_sha256": path and hash_file(path), "sources_sha256": sources}
    noise = fingerprint(simulator)
    if noise is not None:
        facts["noise_sha256"] = noise
    lines = [*lines_of_clips(clips, VALIDATION, TEST)]
    if any("\t" in line for line in lines):  # else the names of the sources tell the splits
        facts["speakers_sha256"] = hash_text("\n".join(lines))
    return TrainingData(training, validation, facts=facts, failures=failures), effects


def fingerprint_corpus(air: Path, sources: Sequence[str]) -> str:
    """Return a hash of the names and sizes of air recordings, and of the contents of few.

    Up to 2 GiB everything is read, and any change is noticed. Of larger corpora, which would take
    minutes before each resume, a file that changed and kept its size is not.
    """
    paths = [air / source for source in sources]
    by_size = hash_sources(air, sources)
    return hash_text("\n".join([by_size, *contents_of(paths)])) if _are_small(paths) else by_size


def _are_small(paths: Sequence[Path]) -> bool:
    return sum(path.stat().st_size for path in paths if path.is_file()) <= MAX_HASHED_BYTES


def _usable_air(air: Path, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the recordings that can be rendered, and why the others are left out.

    All are decoded; of more than 2 GiB, which would take hours, only the headers are read.
    """
    usable, failures = [], {}
    are_small = _are_small([air / name for name in names])
    for name in track(names, len(names), "looking at recordings"):
        try:
            with open_audio(air / name) as audio:
                audio.check_header()
                if are_small:
                    audio.read()
            usable.append(name)
        except InputError as error:
            failures[name] = str(error)
            log.warning("%s; left out", printable(str(error)))
    if not usable:
        raise none_usable(air, f"{len(names)} recordings", failures)
    return usable, failures
