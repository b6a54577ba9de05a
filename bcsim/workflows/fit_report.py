"""The page beside a fitted sensor: simulate what was held out, draw, write."""

from collections.abc import Sequence
from pathlib import Path

from bcsim.dsp.activity import active_frames, active_rms
from bcsim.extras import optional_import
from bcsim.fitting.fit import FitResult
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.simulation import simulate
from bcsim.reports.fit import Example, fit_page
from bcsim.reports.html import write_page
from bcsim.sensors.profile import SensorProfile

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
    fitted = [(pair, result.profile) for pair in result.pairs]
    write_page(path, fit_page(result, examples_of(result.predictions or fitted)))


def examples_of(pairs: Sequence[tuple[AlignedPair, SensorProfile]]) -> list[Example]:
    """Simulate recordings, with the residual of the speech-dependent part drawn.

    Args:
        pairs: aligned pairs, each with the sensor that is to simulate it.

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
    return [_example(*chosen[index]) for index in order[:MAX_EXAMPLES]]


def _example(pair: AlignedPair, sensor: SensorProfile) -> Example:
    simulated = simulate(sensor, pair.air, pair.name, within_clip=True)
    active = active_frames(pair.air[None], pair.sample_rate)
    have, want = (
        float(active_rms(signal[None], active, pair.sample_rate))
        for signal in (simulated, pair.bone)
    )
    gain = want / have if have > 0 else 1.0
    return Example(
        name=pair.name,
        air=pair.air.numpy(),
        bone=pair.bone.numpy(),
        simulated=(gain * simulated).numpy(),
    )
