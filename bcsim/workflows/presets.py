"""Sensors and recipes by name: those that come with bcsim, and those in files."""

import functools
import importlib.resources
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bcsim.effects import EFFECTS
from bcsim.errors import InputError, UsageError, did_you_mean
from bcsim.files.hashing import hash_file
from bcsim.files.text import plain
from bcsim.recipe import (
    SynthesisRecipe,
    WrittenAudio,
    build_simulator,
    from_mapping,
    override,
    read_yaml,
    resolve_effect,
    write_yaml,
)
from bcsim.registry import parameter_types
from bcsim.sensors.profile import SensorProfile
from bcsim.simulator import Simulator
from bcsim.workflows.hub import download, is_hub_id

DEFAULT_RECIPE = "sensor"


@dataclass(frozen=True)
class ResolvedSimulator:
    """A simulator, with what it was made of.

    Args:
        simulator: simulator of the sensor and the recipe.
        sensor: name of the sensor or preset.
        sensor_sha256: SHA-256 of the sensor's file, or None where there is no file.
        recipe: checked recipe, with every default.
        recipe_text: checked recipe as YAML, for keeping beside the output.
    """

    simulator: Simulator
    sensor: str
    sensor_sha256: str | None
    recipe: SynthesisRecipe
    recipe_text: str


def bundled_folder(package: str) -> Path:
    """Return the folder of data that comes with bcsim: "bcsim.assets" or "bcsim.recipes"."""
    return Path(str(importlib.resources.files(package)))


def bundled_sensors() -> dict[str, Path]:
    """Return the sensor profiles that come with bcsim, by name."""
    folder = bundled_folder("bcsim.assets") / "sensors"
    return {path.stem: path for path in sorted(folder.glob("*.sensor"))}


def bundled_recipes(kind: str) -> dict[str, Path]:
    """Return the recipes of a kind ("synthesis", "training") that come with bcsim, by name."""
    paths = sorted(bundled_folder("bcsim.recipes").glob("*.yaml"))
    # A line tells the kind: to parse them all would take a second of every command.
    line = re.compile(rf"^kind: {kind}$", re.MULTILINE)
    return {path.stem: path for path in paths if line.search(path.read_text("utf-8"))}


def find_recipe(recipe: str, *kinds: str) -> Path:
    """Return the file of a recipe that is given by path or by the name of a bundled one.

    Raises:
        UsageError: if there is neither.
    """
    if Path(recipe).exists():
        return Path(recipe)
    bundled = {name: path for kind in kinds for name, path in bundled_recipes(kind).items()}
    path = bundled.get(recipe.removesuffix(".yaml"))
    if path is None:
        raise UsageError(f"{recipe}: no such recipe{did_you_mean(recipe, bundled)}")
    return path


@functools.cache
def sensorless_presets() -> dict[str, Path]:
    """Return the synthesis recipes that stand for a sensor of their own."""
    return {
        name: path
        for name, path in bundled_recipes("synthesis").items()
        if not any(
            "sensor" in parameter_types(EFFECTS[spec["name"]])
            for spec in read_yaml(path)["effects"]
        )
    }


def find_sensor(name: str) -> Path:
    """Return the file of a sensor that is given by path or by the name of a bundled one.

    Raises:
        InputError: if there is neither.
    """
    path = bundled_sensors().get(name, Path(name))
    if path.is_file():
        return path
    if path.suffix == ".sensor" or "/" in name:
        raise InputError(f"{name}: no such sensor file; make one with fit-response")
    raise InputError(f"unknown sensor {name!r}{did_you_mean(name, _known_sensors())}")


def load_sensor(sensor: str | Path) -> SensorProfile:
    """Load the profile of a sensor.

    Args:
        sensor: file NAME.sensor, name of a bundled sensor, or `Owner/Name` of a repository on the
            hub that holds one .sensor file.

    Raises:
        InputError: if there is no such sensor, or its file is damaged.
        UsageError: if the package that downloads is missing.

    Example:
        >>> load_sensor("vibravox_throat").sample_rate
        16000
    """
    name = str(sensor)
    if not is_hub_id(name) or name.endswith(".sensor") or Path(name).exists():
        return SensorProfile.load(find_sensor(name))
    found = sorted(download(name, ["*.sensor"]).glob("*.sensor"))
    if len(found) != 1:
        raise InputError(f"{name}: holds {len(found)} .sensor files; download the one to use")
    return SensorProfile.load(found[0])


def load_simulator(
    sensor: str | Path | SensorProfile | None,
    recipe: str | Path | None = None,
    settings: Sequence[str] = (),
) -> Simulator:
    """Make the simulator of a sensor, as `synthesize` renders with.

    Args:
        sensor: profile, whatever `load_sensor` takes, or a preset that needs no profile, such as
            "temporal-transforms"; None for a recipe whose effects need no sensor.
        recipe: file of a synthesis recipe; the default renders the sensor alone, as fitted.
        settings: overrides of keys of the recipe, `KEY=VALUE` each.

    Raises:
        InputError: if the sensor cannot be read.
        UsageError: if the recipe cannot be read, or the two do not fit together.

    Example:
        >>> simulator = load_simulator("vibravox_throat")
        >>> simulator.step_names[0], simulator.sample_rate
        ('sensor_speech', 16000)
    """
    if isinstance(sensor, str | Path):
        name = str(sensor)
        sensor = name if name in sensorless_presets() else load_sensor(name)
    recipe = None if recipe is None else Path(recipe)
    return resolve_simulator(sensor, recipe, tuple(settings)).simulator


def resolve_simulator(
    sensor: str | SensorProfile | None, recipe: Path | None = None, settings: tuple[str, ...] = ()
) -> ResolvedSimulator:
    """Make the simulator that a sensor and a recipe stand for.

    Args:
        sensor: file or name of a sensor, name of a preset such as "temporal-transforms", or a
            profile, which has no digest.
        recipe: file of a synthesis recipe; the default is `recipes/sensor.yaml`.
        settings: `KEY=VALUE` overrides of the recipe.

    Raises:
        InputError: if the sensor cannot be found or read.
        UsageError: if sensor and recipe do not fit together, or the recipe or a setting is wrong.
    """
    presets = sensorless_presets()
    profile, digest = None, None
    if isinstance(sensor, SensorProfile):
        profile, name = sensor, sensor.name
    elif sensor in presets:
        if recipe is not None:
            raise UsageError(f"{sensor} is a recipe of its own; leave the other out, or set keys")
        recipe, name = presets[sensor], sensor
    elif sensor is not None:
        path = find_sensor(sensor)
        profile = SensorProfile.load(path)
        name, digest = profile.name, hash_file(path)
    elif recipe is None:
        raise UsageError(f"name a sensor: a file, or one of {', '.join(_known_sensors())}")
    else:
        name = plain(recipe.stem)
    path = recipe if recipe is not None else bundled_recipes("synthesis")[DEFAULT_RECIPE]
    content = override(read_yaml(path), settings)
    sets_rate = any(setting.split("=")[0] == "sample_rate" for setting in settings)
    if profile is not None and recipe is None and not sets_rate:
        content["sample_rate"] = profile.sample_rate
    checked = from_mapping(SynthesisRecipe, content, path.name)
    simulator = build_simulator(checked.effects, checked.sample_rate, profile, path.name)
    resolved = asdict(checked)
    del resolved["effects"]  # they come last
    if checked.audio == WrittenAudio():  # a run from before the key was there has the same recipe
        del resolved["audio"]
    resolved["effects"] = [resolve_effect(effect) for effect in simulator.effects]
    return ResolvedSimulator(simulator, name, digest, checked, write_yaml(resolved))


def _known_sensors() -> list[str]:
    return [*bundled_sensors(), *sensorless_presets()]
