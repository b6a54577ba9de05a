"""`bcsim synthesize`: air-conducted speech in, pairs out."""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import bcsim
from bcsim.audio.folder import audio_names
from bcsim.datasets.dataset import read_dataset_metadata, read_manifest
from bcsim.datasets.manifest import DATASET_NAME, PROFILE_NAME, RECIPE_NAME, SPLITS
from bcsim.datasets.noise_folder import fingerprint, noise_folders
from bcsim.effects.sensor_level import SensorLevel
from bcsim.errors import InputError, UsageError
from bcsim.extras import optional_import
from bcsim.files.hashing import hash_file
from bcsim.files.outputs import check_disjoint
from bcsim.files.run_folder import told_by_hash
from bcsim.synthesis.clips import (
    Clip,
    Shard,
    plan_clips,
    replay_clips,
    split_of,
)
from bcsim.synthesis.rendering import Renderer, RenderingOptions
from bcsim.synthesis.run import SynthesisPlan, SynthesisResult, synthesize_corpus
from bcsim.synthesis.run_folder import check_dataset_folder
from bcsim.synthesis.speakers import find_speakers
from bcsim.workers.device import choose_device
from bcsim.workers.pool import Workers, num_cores
from bcsim.workflows.presets import ResolvedSimulator, find_sensor, resolve_simulator

log = logging.getLogger(__name__)


def plan_synthesis(
    air: Path,
    out: Path,
    sensor: str | None,
    recipe: Path | None = None,
    settings: tuple[str, ...] = (),
    device: str = "auto",
    shard: Shard | None = None,
    limit: int | None = None,
    speakers: Path | None = None,
    speaker_level: int | None = None,
    **options: Any,
) -> SynthesisPlan:
    """Check everything that can be checked before work starts.

    Args:
        air: folder of air-conducted speech.
        out: folder of the dataset.
        sensor: file of a profile, or name of a bundled sensor or preset.
        recipe: recipe of the synthesis; None renders the fitted sensor on a new wearer each time.
        settings: `KEY=VALUE` overrides of the recipe.
        device: "auto", "cpu" or "cuda".
        shard: part of the files to render; None for all.
        limit: take only the first so many files.
        speakers: table of the speakers; None to tell them by the paths of the files.
        speaker_level: number of the folder in each path that is called after the speaker, from 1;
            0 where none is.
        options: other fields of `RenderingOptions`; None for the default.

    Raises:
        UsageError: if the request cannot be met; nothing has been written.
    """
    check_dataset_folder(out, [air])
    names = audio_names(air)
    resolved = resolve_simulator(sensor, recipe, settings)
    found = find_speakers(air, names, speakers, speaker_level)
    splits = resolved.recipe.splits
    clips = plan_clips(names, splits.validation, splits.test, limit, found)
    plan = _plan(
        clips,
        resolved,
        air=air,
        out=out,
        sensor=sensor,
        inputs=(recipe, speakers),
        options=_chosen(RenderingOptions(), options, device),
        shard=shard,
    )
    return replace(plan, speakers=found)


def plan_replay(
    manifest: Path,
    air: Path,
    out: Path,
    sensor: str | None = None,
    recipe: Path | None = None,
    settings: tuple[str, ...] = (),
    device: str = "auto",
    shard: Shard | None = None,
    **options: Any,
) -> SynthesisPlan:
    """Prepare to render the rows of a manifest again, from the values that they hold.

    Args:
        manifest: manifest of a dataset, or some lines of one.
        air: folder of the recordings that the rows were rendered from.
        out: folder of the new dataset.
        sensor: the same sensor from another place; None for the profile in the manifest's dataset.
        recipe: recipe of the rows; None for that in the manifest's dataset.
        settings: `KEY=VALUE` overrides of the recipe.
        device: "auto", "cpu" or "cuda".
        shard: part of the rows to render; None for all.
        options: fields of `RenderingOptions` but for the seed, which the rows hold; None for that
            which the dataset was made with.

    Raises:
        UsageError: if the request cannot be met; nothing has been written.
    """
    check_dataset_folder(out, [air])
    rows = read_manifest(manifest)
    if not rows:
        raise InputError(f"{manifest}: lists no pairs")
    dataset = manifest.resolve().parent
    if dataset.name in SPLITS:
        dataset = dataset.parent
    # Only the manifest may be left of a dataset.
    metadata = dataset / DATASET_NAME
    made = read_dataset_metadata(metadata) if metadata.is_file() else {}
    if made:
        check_disjoint(dataset, out)
    recipe = recipe or dataset / RECIPE_NAME
    if not recipe.is_file():
        raise UsageError(f"{recipe}: no such file; give the recipe that {manifest} was rendered by")
    digest = made.get("sensor_sha256")
    if sensor is None and digest is not None:
        sensor = str(dataset / PROFILE_NAME)
    resolved = resolve_simulator(sensor, recipe, settings)
    _check_same("the sensor", sensor, digest, resolved.sensor_sha256, made)
    if resolved.sensor_sha256 is not None and resolved.sensor != rows[0].sensor:
        raise UsageError(
            f"{manifest}: its pairs were rendered with {rows[0].sensor!r}, not with "
            f"{resolved.sensor!r}; give that sensor"
        )
    if made and made["bcsim"] != bcsim.__version__:
        log.warning(
            "%s: made by bcsim %s, which may have rounded otherwise", dataset, made["bcsim"]
        )
    splits = resolved.recipe.splits
    split = manifest.parent.name
    if split not in SPLITS:
        by = rows[0].source.rpartition(".")[0] if rows[0].speaker is None else rows[0].speaker
        split = split_of(by, splits.validation, splits.test)
        log.info("%s: lies in no folder of a split; all of its pairs go to %s", manifest, split)
    plan = _plan(
        replay_clips(rows, audio_names(air), air, split),
        replace(resolved, sensor=rows[0].sensor),
        air=air,
        out=out,
        sensor=sensor,
        inputs=(manifest, recipe),
        options=_chosen(
            replace(RenderingOptions.from_settings(made), seed=rows[0].seed), options, device
        ),
        shard=shard,
    )
    noise = "the recipe's noise"
    meaning = told_by_hash("noise_sha256")
    _check_same(noise, None, made.get("noise_sha256"), plan.noise_sha256, made, meaning)
    return replace(plan, replayed_sha256=hash_file(manifest))


def _plan(
    clips: list[Clip],
    resolved: ResolvedSimulator,
    *,
    air: Path,
    out: Path,
    sensor: str | None,
    inputs: Iterable[Path | None],
    options: RenderingOptions,
    shard: Shard | None,
) -> SynthesisPlan:
    """Return the plan for some clips; `plan_synthesis` and `plan_replay` say what the rest is."""
    sensor_file = find_sensor(str(sensor)) if resolved.sensor_sha256 else None
    _warn_of_lowered_level(resolved)
    folders = noise_folders(resolved.simulator).values()
    return SynthesisPlan(
        clips=clips,
        renderer=Renderer(
            simulator=resolved.simulator,
            source_folder=air.absolute(),
            out=out.absolute(),
            sensor=resolved.sensor,
            options=options,
            audio_format=resolved.recipe.audio_format,
            subtype=resolved.recipe.audio.subtype,
        ),
        recipe_text=resolved.recipe_text,
        sensor_file=sensor_file,
        sensor_sha256=resolved.sensor_sha256,
        noise_sha256=fingerprint(resolved.simulator),
        shard=shard,
        inputs=tuple(path for path in (sensor_file, *inputs) if path is not None),
        failures={name: why for folder in folders for name, why in folder.failures.items()},
    )


def _warn_of_lowered_level(resolved: ResolvedSimulator) -> None:
    for effect in resolved.simulator.effects:
        if isinstance(effect, SensorLevel) and effect.mean_db is None:
            fitted_db, mean_db = effect.sensor.level_db, effect.rendered_mean_db
            if mean_db < fitted_db:
                log.warning(
                    "%s: was recorded at %+.1f dB re air, and is rendered at %+.1f dB, so that its "
                    "peaks stay within full scale; sensor_level.highest_mean_db: null keeps the "
                    "level of the recordings",
                    resolved.sensor,
                    fitted_db,
                    mean_db,
                )


def _chosen(
    defaults: RenderingOptions, options: Mapping[str, Any], device: str
) -> RenderingOptions:
    """Return the defaults with the options that were given, and the device that is there."""
    given = {name: value for name, value in options.items() if value is not None}
    return replace(defaults, **given, device=choose_device(device))


def synthesize(
    plan: SynthesisPlan, workers: Workers | None = None, overwrite: bool = False
) -> SynthesisResult:
    """Render what was planned, or finish what an earlier run of the same plan began.

    Args:
        plan: plan from `plan_synthesis` or `plan_replay`.
        workers: processes that render on the CPU, by default one a core; a GPU is fed by this one.
        overwrite: throw away an earlier dataset in the same folder.

    Raises:
        UsageError: if the output folder holds something else, an input is in there and would be
            overwritten, or Dask is wanted and not there.
        InputError: if the sensor is not what it was when this was planned.
        EnvironmentFault: if the disk is full or forbidden.
    """
    if overwrite:
        _check_inputs_outside(plan.inputs, plan.renderer.out)
    workers = workers or Workers(num_cores())
    if workers.engine == "dask":
        optional_import("distributed", extra="dask")
        if plan.renderer.options.device != "cpu":
            raise UsageError("Dask renders on CPUs; choose the device cpu")
    return synthesize_corpus(plan, workers, overwrite)


def _check_inputs_outside(inputs: Iterable[Path], out: Path) -> None:
    """Raise if what the pairs are to be made of is in a folder that is to be overwritten."""
    folder = Path(os.path.realpath(out))
    for path in inputs:
        place = Path(os.path.realpath(path.parent), path.name)
        if folder in place.parents or folder in Path(os.path.realpath(path)).parents:
            raise UsageError(
                f"{path}: overwriting throws away what is in {out}; copy it to another place, or "
                "choose another output folder"
            )


def _check_same(
    what: str,
    name: str | None,
    recorded: str | None,
    now: str | None,
    made: dict[str, Any],
    meaning: str = "",
) -> None:
    if made and recorded != now:
        raise UsageError(
            f"{what}{f' {name}' if name else ''}: is not what the pairs were rendered with "
            f"(SHA-256 {recorded}, now {now}){meaning}; give the same, or render the recordings "
            "anew in place of their rows"
        )
