"""The page of `bcsim preview`: renderings of a few recordings, to see and to hear."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.write import to_pcm16
from bcsim.effects.base import Draw
from bcsim.effects.distributions import Value
from bcsim.reports.html import Figure, Page, Player, Section, Table, signed
from bcsim.reports.pictures import BONE
from bcsim.reports.plots import long_term_spectra, spectrograms
from bcsim.reports.recipe_text import unit_of

MAX_ROWS = 8  # rows of a table for one parameter that is a vector
PEAK = 0.9  # peak of the loudest sound of a page, re full scale

Samples = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rendering:
    """One rendering of a recording: the signals that a pair would hold.

    Args:
        name: "mean sensor", or "draw 1" and so on.
        air: (T,), full scale at 1.
        bone: (T,).
        noisy_air: (T,), or None where no noise reaches the air microphone.
        drawn: step to parameter to drawn value, without seeds.
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
        note: path of the recording, and origin of the draws.
        mean: rendering of the mean sensor.
        draws: renderings of random draws.
    """

    id: str
    note: str
    mean: Rendering
    draws: Sequence[Rendering]

    @property
    def renderings(self) -> list[Rendering]:
        """All renderings, the mean sensor's first."""
        return [self.mean, *self.draws]


def preview_page(
    clips: Sequence[PreviewClip],
    sample_rate: int,
    facts: Mapping[str, str],
    steps: Sequence[tuple[str, str, str]],
) -> Page:
    """Return the page.

    Args:
        clips: recordings with their renderings.
        sample_rate: sample rate of the renderings, in Hz.
        facts: name to value of what is shown first.
        steps: name, summary and values in the recipe of each effect.
    """
    peak = max(
        float(np.abs(samples).max(initial=0.0)) for clip in clips for _, samples in _sounds(clip)
    )
    gain = PEAK / min(peak, 1.0) if peak > 0 else 1.0
    return Page(
        title=f"Preview of {facts['sensor']}",
        lead="What bcsim synthesize would make of a few recordings. All sounds of this page are "
        f"played {signed(20 * np.log10(gain), 1)} dB re the files that it would write, so that "
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
    spectra = {"air": [clip.mean.air], "mean sensor": [clip.mean.bone]}
    bone = [draw.bone for draw in clip.draws]
    picture = long_term_spectra(
        spectra, sample_rate, draws=bone, draws_label=draws, draws_color=BONE
    )
    caption = f"Long-term spectra of air and of bone: the mean sensor, and thin, {draws}."
    figures = [Figure(picture, caption)]
    noisy = [r.noisy_air for r in clip.draws if r.noisy_air is not None]
    if noisy:
        spectra = {"air": [clip.mean.air]}
        picture = long_term_spectra(spectra, sample_rate, draws=noisy, draws_label=draws)
        caption = f"Long-term spectra at the air microphone: air alone, and thin, {draws}."
        figures.append(Figure(picture, caption))
    rows = list(_drawn_rows(clip.renderings))
    columns = ["effect", "parameter", "unit", *(r.name for r in clip.renderings)]
    tables = [Table(columns, rows, "What was drawn.")] if rows else []
    return Section(clip.id, clip.note, figures, tables, players)


def _sounds(clip: PreviewClip) -> Iterable[tuple[str, Samples]]:
    """Yield each sound with its name; air once, where it is the same in all renderings."""
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
    level = f"{signed(20 * np.log10(rms), 1)} dB re full scale (rms)" if rms > 0 else "silent"
    clipped = int((np.abs(samples) > 1).sum())
    return f"{level}; {clipped} samples exceed full scale and are clipped" if clipped else level


def _drawn_rows(renderings: Sequence[Rendering]) -> Iterable[list[str]]:
    """Yield effect, parameter, unit and the value in each rendering, a row a number."""
    for step, parameters in renderings[0].drawn.items():
        for name in parameters:
            values = [rendering.drawn[step][name] for rendering in renderings]
            for part, cells in _parts(name, values):
                yield [step, part, unit_of(name), *cells]


def _parts(name: str, values: Sequence[Value]) -> Iterable[tuple[str, list[str]]]:
    """Yield a row for each number of a vector of up to 8; one row for anything else."""
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
        return rounded.replace("-", "\N{MINUS SIGN}")
    return str(value)
