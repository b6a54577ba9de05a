"""`bcsim preview`: hear a recipe on a few recordings before it runs for a day."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bcsim.audio.folder import audio_names
from bcsim.audio.read import read_audio
from bcsim.effects.base import Scene
from bcsim.effects.distributions import Seed
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import sweep_beside
from bcsim.files.outputs import check_output_file
from bcsim.files.paths import printable
from bcsim.progress import track
from bcsim.recipe import resolve_effect
from bcsim.reports.html import check_report_packages, is_page, write_page
from bcsim.reports.preview import PreviewClip, Rendering, preview_page
from bcsim.reports.recipe_text import flow
from bcsim.simulator import Simulator
from bcsim.synthesis.clips import Clip, plan_clips
from bcsim.workflows.presets import DEFAULT_RECIPE, resolve_simulator, sensorless_presets
from bcsim.workflows.show import effect_facts


def preview(
    inputs: Sequence[Path],
    out: Path,
    sensor: str | None,
    recipe: Path | None = None,
    settings: tuple[str, ...] = (),
    seed: int = 0,
    num_draws: int = 4,
    seconds: float = 10.0,
    limit: int = 2,
    overwrite: bool = False,
) -> tuple[list[PreviewClip], dict[str, str]]:
    """Render recordings through the mean sensor and a few draws, and write a page to hear them.

    Draw 1 is what `synthesize` draws for a clip of the same id with `seed`, draw 2 what it draws
    with `seed + 1`, and so on.

    Args:
        inputs: recordings, and folders of them. A clip's id is its path below the folder that was
            given, as it is for `synthesize`; that of a single file is its name.
        out: path of the page, NAME.html; an earlier one of bcsim is replaced.
        sensor: file of a sensor, or name of a bundled one or of a preset.
        recipe: file of a synthesis recipe; the default is that of `synthesize`.
        settings: `KEY=VALUE` overrides of the recipe.
        seed: root seed of the first draw.
        num_draws: number of renderings beside the mean sensor's.
        seconds: longest part of a recording that is rendered, from its start, in seconds.
        limit: largest number of recordings of a folder, in the order of their paths.
        overwrite: whether a file that bcsim did not write may be replaced.

    Returns:
        The recordings with their renderings, and the reason for each file that could not be used.

    Raises:
        UsageError: if the request cannot be met; nothing has been written.
        EnvironmentFault: if the page cannot be written.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: a preview is a page, NAME.html")
    check_output_file(out, [*inputs, recipe, Path(sensor or "")], is_page, overwrite)
    check_report_packages()
    sources = _sources(inputs, limit)
    resolved = resolve_simulator(sensor, recipe, settings)
    simulator = resolved.simulator
    rate = simulator.sample_rate
    clips: list[PreviewClip] = []
    failures: dict[str, str] = {}
    for source, clip in track(sources, len(sources), "rendering"):
        try:
            samples, _ = read_audio(source, rate)
        except InputError as error:
            failures[str(source)] = str(error)
            continue
        kept = samples[: round(seconds * rate)]
        is_part = len(kept) < len(samples)
        part = f" Of {len(samples) / rate:.1f} s, the first {seconds:g} s." if is_part else ""
        air = torch.from_numpy(kept)[None]
        draws = [
            _render(simulator, air, clip.id, seed + number, f"draw {number + 1}")
            for number in range(num_draws)
        ]
        mean = _render(simulator, air, clip.id, seed, "mean sensor", mean=True)
        note = f"{printable(str(source))}.{part}\n\n{_origin(clip.id, seed, num_draws)}"
        clips.append(PreviewClip(clip.id, note, mean, draws))
    if not clips:
        first = next(iter(failures.values()))
        raise UsageError(f"none of {len(sources)} recordings can be used; first: {first}")
    is_preset = sensor is not None and sensor in sensorless_presets()
    recipe_name = sensor if is_preset else f"{DEFAULT_RECIPE}.yaml"
    facts = {
        "sensor": resolved.sensor,
        "recipe": recipe_name if recipe is None else recipe.name,
        "sample rate": f"{rate} Hz",
        "seed": str(seed),
        "draws": f"{num_draws} a recording",
    }
    sweep_beside(out)
    write_page(out, preview_page(clips, rate, facts, _steps(simulator)))
    return clips, failures


def _sources(inputs: Sequence[Path], limit: int) -> list[tuple[Path, Clip]]:
    sources = []
    for given in inputs:
        if given.is_dir():
            clips = plan_clips(audio_names(given), 0.0, 0.0)[:limit]
            sources += [(given / clip.source, clip) for clip in clips]
        elif given.is_file():
            sources.append((given, plan_clips([given.name], 0.0, 0.0)[0]))
        else:
            raise InputError(f"{given}: no such file or folder")
    return sources


def _render(
    simulator: Simulator, air: Tensor, clip_id: str, seed: int, name: str, mean: bool = False
) -> Rendering:
    """Render one clip (1, T) as `synthesize` does: by itself, in float64."""
    draws = simulator.sample(seed, clip_id, mean)
    with torch.inference_mode():
        scene = simulator.apply(Scene.from_air(air, simulator.sample_rate), [draws])
    length = int(scene.lengths[0])
    air, bone = scene.air[0, :length], scene.bone[0, :length]
    noisy_air = None if scene.noisy_air is None else scene.noisy_air[0, :length]
    if not all(bool(torch.isfinite(s).all()) for s in (air, bone, noisy_air) if s is not None):
        raise UsageError(
            f"{clip_id}, {name}: the simulated signal is not finite; look at the recipe's effects"
        )
    effects = dict(zip(simulator.step_names, simulator.effects, strict=True))
    drawn = {
        step: {
            parameter: value
            for parameter, value in draw.items()
            if not isinstance(getattr(effects[step], parameter), Seed)
        }
        for step, draw in draws.items()
    }
    return Rendering(
        name=name,
        air=air.numpy(),
        bone=bone.numpy(),
        noisy_air=None if noisy_air is None else noisy_air.numpy(),
        drawn={step: draw for step, draw in drawn.items() if draw},
    )


def _origin(clip_id: str, seed: int, num_draws: int) -> str:
    """Say which draws of `synthesize` the renderings are."""
    text = f"Clip id {clip_id}. Draw 1 is what synthesize --seed {seed} draws for it"
    if num_draws > 1:
        text += f", draw 2 that of --seed {seed + 1}"
    return text + (", and so on." if num_draws > 2 else ".")


def _steps(simulator: Simulator) -> list[tuple[str, str, str]]:
    """Return each effect's name, what it does, and its parameters as a recipe would write them."""
    steps = []
    for step, effect in zip(simulator.step_names, simulator.effects, strict=True):
        spec = resolve_effect(effect)
        summary = effect_facts(spec.pop("name"))["summary"]
        values = "; ".join(f"{key}: {flow(value)}" for key, value in spec.items())
        steps.append((step, summary, values))
    return steps
