"""`bcsim synthesize`: air-conducted speech in, pairs out."""

import os
from dataclasses import dataclass
from pathlib import Path

from bcsim.data.audio import audio_files
from bcsim.data.synthesis import Clip, Renderer, SynthesisResult, plan_clips, synthesize_corpus
from bcsim.errors import UsageError
from bcsim.workflows.presets import resolve_simulator


@dataclass(frozen=True)
class SynthesisPlan:
    """What a run would do.

    Args:
        clips: that it would render.
        renderer: how.
        recipe_text: the resolved recipe.
        sensor_sha256: of the sensor's file, if there is one.
    """

    clips: list[Clip]
    renderer: Renderer
    recipe_text: str
    sensor_sha256: str | None


def plan_synthesis(
    air: Path,
    out: Path,
    sensor: str | None,
    recipe: Path | None = None,
    settings: tuple[str, ...] = (),
    seed: int = 0,
    mean: bool = False,
    device: str = "auto",
    limit: int | None = None,
) -> SynthesisPlan:
    """Check everything that can be checked before work starts.

    Args:
        air: folder of air-conducted speech.
        out: folder of the dataset.
        sensor: file, bundled sensor or preset.
        recipe: of the synthesis; the default renders the fitted sensor on a new wearer each time.
        settings: `KEY=VALUE` overrides of the recipe.
        seed: root seed.
        mean: render the mean sensor, with nothing random but its noise floor.
        device: "auto", "cpu" or "cuda".
        limit: render only the first so many files.

    Raises:
        UsageError: if the request cannot be met; nothing has been written.
    """
    files = audio_files(air)
    inside, outside = air.resolve(), out.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise UsageError(f"{out}: --out and --in ({air}) must not contain each other")
    resolved = resolve_simulator(sensor, recipe, settings)
    splits = resolved.recipe.splits
    return SynthesisPlan(
        clips=plan_clips(files, air, splits.validation, splits.test, limit),
        renderer=Renderer(
            simulator=resolved.simulator,
            source_folder=air,
            out=out,
            sensor=resolved.sensor,
            seed=seed,
            mean=mean,
            audio_format=resolved.recipe.audio_format,
            device=choose_device(device),
        ),
        recipe_text=resolved.recipe_text,
        sensor_sha256=resolved.sensor_sha256,
    )


def synthesize(
    plan: SynthesisPlan, jobs: int | None = None, overwrite: bool = False
) -> SynthesisResult:
    """Render what was planned, or finish what an earlier run of the same plan began.

    Args:
        plan: from `plan_synthesis`.
        jobs: worker processes; by default one a core. A GPU is fed by one process.
        overwrite: throw an earlier dataset in the same folder away.

    Raises:
        UsageError: if the output folder holds something else.
        EnvironmentFault: if the disk is full or forbidden.
    """
    if plan.renderer.device != "cpu":
        jobs = 1
    return synthesize_corpus(
        plan.renderer,
        plan.clips,
        plan.recipe_text,
        plan.sensor_sha256,
        jobs or len(os.sched_getaffinity(0)),
        overwrite,
    )


def choose_device(device: str) -> str:
    """Return "cuda" or "cpu" for "auto", "cuda" or "cpu".

    Raises:
        UsageError: if CUDA is asked for and not there.
    """
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return "cuda" if available and device == "auto" else device.replace("auto", "cpu")
