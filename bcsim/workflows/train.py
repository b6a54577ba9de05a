"""`bcsim train`: pairs in, an enhancer out."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bcsim.data.audio import audio_names
from bcsim.data.clips import hash_sources, plan_clips
from bcsim.data.manifest import MANIFEST_NAME
from bcsim.data.pairs import Pairs, RenderedPairs, StoredPairs
from bcsim.errors import UsageError, did_you_mean
from bcsim.files import hash_file, write_text
from bcsim.recipe import (
    build_simulator,
    from_mapping,
    override,
    read_yaml,
    resolve_effect,
    write_yaml,
)
from bcsim.sensors.profile import SensorProfile
from bcsim.training.config import TrainingConfig
from bcsim.training.run_folder import CHECKPOINTS, RECIPE_FILE, check_run_folder
from bcsim.training.trainer import TrainingResult
from bcsim.training.trainer import train as train_model
from bcsim.workflows.presets import (
    bundled_recipes,
    find_sensor,
    resolve_simulator,
    sensorless_presets,
)

VALIDATION, TEST = 0.05, 0.05  # parts of the speakers kept back where pairs are rendered


def load_training_recipe(recipe: str, settings: tuple[str, ...] = ()) -> TrainingConfig:
    """Read a training recipe.

    Args:
        recipe: a file, or the name of one that comes with bcsim.
        settings: `KEY=VALUE` overrides.

    Raises:
        UsageError: if it is missing, or anything in it is unknown or wrong.
    """
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
) -> TrainingResult:
    """Train the recipe's model on pairs from disk, or on pairs rendered as they are needed.

    Args:
        recipe: file or bundled name.
        out: folder of the run.
        pairs: folder that `synthesize` wrote.
        air: folder of air recordings, in its place.
        sensor: file, bundled sensor or preset that they are rendered through.
        settings: `KEY=VALUE` overrides.
        resume: go on with the run in `out`.

    Raises:
        UsageError: if neither or both of `pairs` and `air` are given, or settings are wrong.
    """
    config = load_training_recipe(recipe, settings)
    if (pairs is None) == (air is None):
        raise UsageError("give either --pairs, or --air with --sensor")
    if pairs is not None:
        if sensor is not None:
            raise UsageError("--sensor goes with --air; the pairs have been rendered already")
        training: Pairs = StoredPairs(pairs, "train", config.sample_rate, config.seed)
        validation: Pairs | None = None
        if (pairs / "validation").is_dir():
            validation = StoredPairs(pairs, "validation", config.sample_rate, config.seed)
        manifests = [pairs / split / MANIFEST_NAME for split in ("train", "validation")]
        facts: dict[str, Any] = {
            "pairs_sha256": [hash_file(path) for path in manifests if path.is_file()]
        }
    else:
        assert air is not None
        training, validation, effects, facts = _rendered(air, sensor, config)
        config = replace(config, effects=effects)
    check_run_folder(out, resume)
    if not (out / CHECKPOINTS).is_dir():
        write_text(out / RECIPE_FILE, resolved_text(config))
    return train_model(config, training, validation, out, resume, facts)


def _rendered(
    air: Path, sensor: str | None, config: TrainingConfig
) -> tuple[Pairs, Pairs | None, list[dict[str, Any]], dict[str, Any]]:
    names = audio_names(air)
    if sensor is None:
        raise UsageError(f"--air {air} needs --sensor: what shall the pairs be rendered through?")
    digest = None
    if config.effects is None:
        simulator = resolve_simulator(
            sensor, settings=(f"sample_rate={config.sample_rate}",)
        ).simulator
        digest = None if sensor in sensorless_presets() else hash_file(find_sensor(sensor))
    else:
        path = find_sensor(sensor)
        digest = hash_file(path)
        profile = SensorProfile.load(path)
        simulator = build_simulator(config.effects, config.sample_rate, profile, "recipe")
    clips = plan_clips(names, VALIDATION, TEST)
    by_split = {
        split: [air / clip.source for clip in clips if clip.split == split]
        for split in ("train", "validation")
    }
    if not by_split["train"]:
        raise UsageError(f"{air}: every speaker fell into validation or test; give more speakers")
    training, validation = (
        RenderedPairs(chosen, air, simulator, config.seed) if chosen else None
        for chosen in by_split.values()
    )
    assert training is not None
    effects = [resolve_effect(effect) for effect in simulator.effects]
    sources = hash_sources(air, [clip.source for clip in clips])
    facts = {"sensor_sha256": digest, "sources_sha256": sources}
    return training, validation, effects, facts


def resolved_text(config: TrainingConfig) -> str:
    """Return the checked recipe, every default spelled out, as YAML."""
    content = asdict(config)
    content["optimizer"]["betas"] = list(config.optimizer.betas)
    return write_yaml({"kind": content.pop("kind"), **content})
