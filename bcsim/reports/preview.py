"""The page of `bcsim preview`: what a recipe does to a few recordings, to look at and to hear."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.write import to_pcm16
from bcsim.effects.base import Draw
from bcsim.effects.distributions import Value
from bcsim.reports.html import Figure, Page, Player, Section, Table
from bcsim.reports.pictures import AIR, BONE, OTHER, Color, as_picture, panels
from bcsim.reports.plots import (
    frequency_axis,
    legend_above,
    long_term_spectrum,
    span_levels,
    spectrograms,
)
from bcsim.reports.recipe_text import unit_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot

MAX_ROWS = 8  # of a table, for one parameter that is a vector
PEAK = 0.9  # of the loudest sound of a page, of full scale
MINUS = "\N{MINUS SIGN}"

Samples = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rendering:
    """One rendering of a recording: what a pair would hold.

    Args:
        name: "mean sensor", or "draw 1".
        air: (T,), full scale at 1.
        bone: (T,).
        noisy_air: (T,), or None where the air microphone hears `air` alone.
        drawn: step to parameter to value; no seeds.
    """

    name: str
    air: Samples
    bone: Samples
    noisy_air: Samples | None
    drawn: Mapping[str, Draw]


@dataclass(frozen=True, eq=False)
class PreviewClip:
    """A recording, rendered several times.

    Args:
        id: id of the clip in a dataset.
        source: path of the recording, as it was given.
        note: origin of the draws.
        mean: rendering of the mean sensor.
        draws: renderings of random draws.
    """

    id: str
    source: str
    note: str
    mean: Rendering
    draws: Sequence[Rendering]

    @property
    def renderings(self) -> list[Rendering]:
        """All of them, the mean sensor's first."""
        return [self.mean, *self.draws]


def preview_page(
    clips: Sequence[PreviewClip],
    sample_rate: int,
    facts: Mapping[str, str],
    steps: Sequence[tuple[str, str, str]],
) -> Page:
    """Return the page.

    Args:
        clips: what was rendered.
        sample_rate: in Hz.
        facts: to see first.
        steps: for each effect its name, what it does and the recipe's values.
    """
    peak = max(
        float(np.abs(samples).max(initial=0.0)) for clip in clips for _, samples in _sounds(clip)
    )
    gain = PEAK / min(peak, 1.0) if peak > 0 else 1.0
    return Page(
        title=f"Preview of {facts['sensor']}",
        lead="What bcsim synthesize would make of a few recordings. All sounds of this page are "
        f"played {_signed(20 * np.log10(gain), 1)} dB re the files that it would write, so that "
        "their levels compare. Colours of the spectrograms compare within a recording.",
        facts=facts,
        sections=[
            *(_clip(clip, sample_rate, gain) for clip in clips),
            Section(
                "The recipe",
                "What happens to a recording, first to last. More on an effect: bcsim show recipe "
                "EFFECT.",
                tables=[Table(["step", "what it does", "values"], steps)],
            ),
        ],
    )


def _clip(clip: PreviewClip, sample_rate: int, gain: float) -> Section:
    sounds = dict(_sounds(clip))
    # What a file of 16 bits keeps, clipped where it exceeds full scale.
    written = {name: to_pcm16(samples) / 32768 for name, samples in sounds.items()}
    pictures = spectrograms(written, sample_rate)
    players = [
        Player(name, gain * written[name], sample_rate, pictures[name], _note(samples))
        for name, samples in sounds.items()
    ]
    first, last = clip.draws[0].name, clip.draws[-1].name.split()[-1]
    draws = first if len(clip.draws) == 1 else f"draws {first.split()[-1]} to {last}"
    air = [clip.mean.air]
    bone = _spectra(
        {"air": (air, AIR), "mean sensor": ([clip.mean.bone], BONE)},
        [draw.bone for draw in clip.draws], BONE, draws, sample_rate,
    )  # fmt: skip
    figures = [
        Figure(bone, f"Long-term spectra of air and of bone: the mean sensor, and thin, {draws}.")
    ]
    noisy = [r.noisy_air for r in clip.draws if r.noisy_air is not None]
    if noisy:
        picture = _spectra({"air": (air, AIR)}, noisy, OTHER, draws, sample_rate)
        caption = f"Long-term spectra at the air microphone: air alone, and thin, {draws}."
        figures.append(Figure(picture, caption))
    rows = list(drawn_rows(clip.renderings))
    columns = ["effect", "parameter", "unit", *(r.name for r in clip.renderings)]
    tables = [Table(columns, rows, "What was drawn.")] if rows else []
    return Section(clip.id, clip.note, figures, tables, players)


def _sounds(clip: PreviewClip) -> Iterable[tuple[str, Samples]]:
    """Yield what there is to hear, by name; air once, where all renderings leave it alike."""
    shared = all(np.array_equal(r.air, clip.mean.air) for r in clip.draws)
    if shared:
        yield "air", clip.mean.air
    for rendering in clip.renderings:
        if not shared:
            yield f"{rendering.name}: air", rendering.air
        if rendering.noisy_air is not None:
            yield f"{rendering.name}: noisy air", rendering.noisy_air
        yield f"{rendering.name}: bone", rendering.bone


def _note(samples: Samples) -> str:
    rms = float(np.sqrt(np.mean(samples**2)))
    level = f"{_signed(20 * np.log10(rms), 1)} dB re full scale (rms)" if rms > 0 else "silent"
    clipped = int((np.abs(samples) > 1).sum())
    return f"{level}; {clipped} samples exceed full scale and are clipped" if clipped else level


def drawn_rows(renderings: Sequence[Rendering]) -> Iterable[list[str]]:
    """Yield effect, parameter, unit and the value in each rendering, a row a number.

    Args:
        renderings: of the same effects.
    """
    for step, parameters in renderings[0].drawn.items():
        for name in parameters:
            values = [rendering.drawn[step][name] for rendering in renderings]
            for part, cells in _parts(name, values):
                yield [step, part, unit_of(name), *cells]


def _parts(name: str, values: Sequence[Value]) -> Iterable[tuple[str, list[str]]]:
    """Yield a row for each number of a vector, up to a few; one row for all else."""
    vectors = [value for value in values if isinstance(value, list)]
    if len(vectors) < len(values):
        yield name, [_text(value) for value in values]
    elif len(vectors[0]) > MAX_ROWS:
        yield name, [f"{len(v)} values, {_text(min(v))} to {_text(max(v))}" for v in vectors]
    else:
        for number, entries in enumerate(zip(*vectors, strict=True), start=1):
            yield f"{name} {number}", [_text(entry) for entry in entries]


def _text(value: Value) -> str:
    if isinstance(value, int | float):
        rounded = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        return rounded.replace("-", MINUS)
    return str(value)


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", MINUS)


@as_picture
def _spectra(
    named: Mapping[str, tuple[Sequence[Samples], Color]],
    draws: Sequence[Samples],
    color: Color,
    label: str,
    sample_rate: int,
) -> "Plot":
    """Show long-term spectra: some by name, and thin ones of draws, which share a label."""
    figure, (axes,) = panels(1, height_in=2.6)
    frequencies_hz = np.linspace(0, sample_rate / 2, 513)
    thin_db = [long_term_spectrum([clip], sample_rate) for clip in draws]
    for number, level_db in enumerate(thin_db):
        style = {"color": color.light, "linewidth": 0.8, "alpha": 0.7}
        axes.plot(frequencies_hz, level_db, label=label if number == 0 else None, **style)
    thick_db = []
    for name, (clips, own) in named.items():
        thick_db.append(long_term_spectrum(clips, sample_rate))
        axes.plot(frequencies_hz, thick_db[-1], color=own.light, label=name)
    frequency_axis(axes, sample_rate)
    span_levels(axes, np.stack([*thin_db, *thick_db]), frequencies_hz)
    axes.set_ylabel("dB/Hz re full scale")
    legend_above(axes)
    return figure
