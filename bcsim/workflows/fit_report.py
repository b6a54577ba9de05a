"""The page beside a fitted sensor: simulate what was held out, draw, write."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bcsim.dsp.activity import active_frames, active_rms
from bcsim.extras import optional_import
from bcsim.fitting.fit import FitResult
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.rendering import Rendering
from bcsim.reports.fit import Example, fit_page
from bcsim.reports.html import write_page
from bcsim.rng import MAX_SEED, stream
from bcsim.sensors.responses.residual import Residual

MAX_EXAMPLES = 64  # simulated for the long-term spectra
LISTENING_S = 4.0  # a sentence


def report_path(sensor: Path) -> Path:
    """Return NAME.report.html beside NAME.sensor."""
    return sensor.with_name(f"{sensor.stem}.report.html")


def check_report_packages() -> None:
    """Make sure that a report can be drawn.

    Raises:
        UsageError: naming the command that installs what is missing.
    """
    for module in ("jinja2", "matplotlib", "PIL.Image"):
        optional_import(module, extra="report")


def write_fit_report(path: Path, result: FitResult) -> None:
    """Write the report of a fit.

    Raises:
        UsageError: if a package of the `report` extra is missing.
        EnvironmentFault: if the disk is full or forbidden.
    """
    profile = result.profile
    if result.held_out:
        residual = profile.speech.residual if profile.speech else None
        examples = examples_of(result.held_out, held_out=True, residual=residual)
    else:
        fitted = Rendering(
            profile.transfer_function, profile.noise_psd, profile.level_db, profile.speech
        )
        examples = examples_of([(pair, fitted) for pair in result.aligned], held_out=False)
    write_page(path, fit_page(result, examples))


def examples_of(
    pairs: Sequence[tuple[AlignedPair, Rendering]],
    held_out: bool,
    residual: Residual | None = None,
) -> list[Example]:
    """Simulate recordings, with the residual of the speech-dependent part drawn.

    Args:
        pairs: recordings, each with the rendering that is to simulate it.
        held_out: whether these were fitted without the recording.
        residual: for renderings that have none of their own, as those of a trial.

    Returns:
        At most 64, for listening first: a sentence of each talker, then the others.
    """
    chosen = sorted(pairs, key=lambda item: abs(item[0].seconds - LISTENING_S))
    heard: dict[str, int] = {}
    turns = []
    for pair, _ in chosen:
        talker = pair.talker or pair.name
        turns.append(heard.get(talker, 0))
        heard[talker] = turns[-1] + 1
    order = sorted(range(len(chosen)), key=lambda index: turns[index])
    return [
        _example(pair, _with_residual(rendering, residual), held_out)
        for pair, rendering in (chosen[index] for index in order[:MAX_EXAMPLES])
    ]


def _with_residual(rendering: Rendering, residual: Residual | None) -> Rendering:
    speech = rendering.speech
    if speech is None or speech.residual is not None or residual is None:
        return rendering
    return replace(rendering, speech=replace(speech, residual=residual))


def _example(pair: AlignedPair, rendering: Rendering, held_out: bool) -> Example:
    seed = int(stream(0, "report", pair.name).integers(MAX_SEED))
    simulated = rendering.simulate(pair.air, seed, seed)
    active = active_frames(pair.air[None], pair.sample_rate)
    have, want = (
        float(active_rms(signal[None], active, pair.sample_rate))
        for signal in (simulated, pair.bone)
    )
    gain = want / have if have > 0 else 1.0
    return Example(
        name=pair.name,
        talker=pair.talker,
        air=pair.air.numpy(),
        bone=pair.bone.numpy(),
        simulated=(gain * simulated).numpy(),
        held_out=held_out,
    )
