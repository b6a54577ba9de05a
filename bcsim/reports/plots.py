"""The plots of reports and cards: numbers in, a `Picture` out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch
from numpy.typing import NDArray

from bcsim.dsp.spectra import fractional_octave_smooth
from bcsim.errors import InputError
from bcsim.extras import optional_import
from bcsim.reports.pictures import (
    AIR,
    BONE,
    ENHANCED,
    INK,
    OTHER,
    SOFT,
    Color,
    Picture,
    as_picture,
    as_png,
    panels,
)
from bcsim.sensors.profile import SensorProfile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOWEST_HZ = 50.0  # speech and sensors have no energy below
SPECTROGRAM_RANGE_DB = 80.0
MAX_POINTS = 300  # of a curve; a longer one is drawn as means of neighbours with their range
MAX_RANGE = 30.0  # of a training curve's values, as a ratio, before its scale is logarithmic


@as_picture
def fitted_against_true(fitted: SensorProfile, true: SensorProfile) -> "Figure":
    """Show a fitted response over the true one, and below it fitted minus true, in dB.

    The difference is drawn within the fitted usable band: elsewhere the fit makes no claim.
    """
    figure, (top, bottom) = panels(2, height_in=3.6, ratios=(2.4, 1.0))
    frequencies_hz = fitted.transfer_function.frequencies_hz
    fitted_db = fitted.transfer_function.magnitude_db
    true_db = np.interp(
        frequencies_hz, true.transfer_function.frequencies_hz, true.transfer_function.magnitude_db
    )
    top.plot(frequencies_hz, fitted_db, color=BONE.light, label="fitted")
    truth = {"color": INK.light, "linewidth": 1.2, "linestyle": (0, (3, 2))}
    top.plot(frequencies_hz, true_db, label="true", **truth)
    frequency_axis(top, fitted.sample_rate, label=False)
    level_axis(top, [fitted_db, true_db], frequencies_hz, "bone re air, dB")
    low_hz, high_hz = fitted.usable_band_hz
    inside = (frequencies_hz >= low_hz) & (frequencies_hz <= high_hz)
    difference_db = np.where(inside, fitted_db - true_db, np.nan)
    bottom.axhline(0.0, color=SOFT.light, linewidth=0.9)
    bottom.plot(frequencies_hz, difference_db, color=BONE.light)
    limit_db = max(1.0, 1.2 * np.nanmax(np.abs(difference_db), initial=0.0))
    bottom.set_ylim(-limit_db, limit_db)
    bottom.set_ylabel("error, dB")
    frequency_axis(bottom, fitted.sample_rate)
    shade_usable_band(top, fitted, label="usable band")
    shade_usable_band(bottom, fitted)
    legend_above(top)
    return figure


@as_picture
def noise_floor(profile: SensorProfile) -> "Figure":
    """Show the sensor's own noise: its power spectral density re active bone speech, dB/Hz."""
    figure, (axes,) = panels(1, height_in=2.6)
    frequencies_hz = profile.transfer_function.frequencies_hz
    psd_db = 10 * np.log10(np.maximum(profile.noise_psd, 1e-20))
    sd = profile.noise_level_std_db
    style = {"color": OTHER.light, "linewidth": 0, "alpha": 0.2}
    axes.fill_between(frequencies_hz, psd_db - sd, psd_db + sd, label="recordings, ±1 sd", **style)
    axes.plot(frequencies_hz, psd_db, color=OTHER.light, label="noise floor")
    frequency_axis(axes, profile.sample_rate)
    level_axis(axes, [psd_db - sd, psd_db + sd], frequencies_hz, "re bone speech, dB/Hz")
    legend_above(axes)
    return figure


@as_picture
def long_term_spectra(
    signals: Mapping[str, Sequence[NDArray[np.floating]]],
    sample_rate: int,
    unit: str = "full scale",
    *,
    draws: Sequence[NDArray[np.floating]] = (),
    draws_label: str = "",
    draws_color: Color = OTHER,
) -> "Figure":
    """Show the long-term average spectra of sets of clips, in dB/Hz.

    Args:
        signals: name to clips (T,); a name with the word air, bone or enhanced gets its colour.
        sample_rate: sample rate of all clips, in Hz.
        unit: name of the quantity that 0 dB stands for.
        draws: clips (T,), each with a thin curve of its own.
        draws_label: common label of the thin curves.
        draws_color: colour of the thin curves.
    """
    figure, (axes,) = panels(1, height_in=2.6)
    frequencies_hz = np.linspace(0, sample_rate / 2, 513)
    levels_db = [_long_term_spectrum([clip], sample_rate) for clip in draws]
    for number, level_db in enumerate(levels_db):
        style = {"color": draws_color.light, "linewidth": 0.8, "alpha": 0.7}
        axes.plot(frequencies_hz, level_db, label=draws_label if number == 0 else None, **style)
    for (name, clips), color in zip(signals.items(), _colors(signals), strict=True):
        levels_db.append(_long_term_spectrum(clips, sample_rate))
        axes.plot(frequencies_hz, levels_db[-1], color=color.light, label=plain(name))
    frequency_axis(axes, sample_rate)
    level_axis(axes, levels_db, frequencies_hz, f"dB/Hz re {unit}")
    legend_above(axes)
    return figure


def _long_term_spectrum(
    clips: Sequence[NDArray[np.floating]], sample_rate: int
) -> NDArray[np.float64]:
    """Return the mean one-sided power density of clips (T,), (513,), in dB/Hz re full scale."""
    padded = [np.pad(clip, (0, max(0, 1024 - len(clip)))) for clip in clips]
    spectra = [scipy.signal.welch(p, sample_rate, nperseg=1024, noverlap=768)[1] for p in padded]
    # Sixths of an octave: harmonics of single voices would hide how sets of clips compare.
    mean = fractional_octave_smooth(torch.from_numpy(np.mean(spectra, axis=0)), 6).numpy()
    return 10 * np.log10(np.maximum(mean, 1e-16))


def spectrograms(
    signals: Mapping[str, NDArray[np.floating]], sample_rate: int
) -> dict[str, Picture]:
    """Draw a spectrogram of each signal (T,), on common scales of time, frequency and colour.

    Colours span the 80 dB under the loudest point of all signals: fainter signals look fainter.
    """
    levels_db = {name: _spectrogram_db(samples, sample_rate) for name, samples in signals.items()}
    top_db = max(level_db.max() for level_db in levels_db.values())
    seconds = max(len(samples) for samples in signals.values()) / sample_rate
    return {
        name: _spectrogram(level_db, len(signals[name]) / sample_rate, seconds, top_db, sample_rate)
        for name, level_db in levels_db.items()
    }


@as_png
def spectrogram_row(signals: Mapping[str, NDArray[np.floating]], sample_rate: int) -> "Figure":
    """Draw spectrograms of signals (T,) of one length side by side, with one scale of colours."""
    figure = optional_import("matplotlib.figure", extra="report").Figure(
        figsize=(3.3 * len(signals) + 0.8, 2.7), layout="constrained"
    )
    stack = figure.subplots(1, len(signals), sharey=True, squeeze=False)[0]
    levels_db = [_spectrogram_db(samples, sample_rate) for samples in signals.values()]
    top_db = max(level_db.max() for level_db in levels_db)
    images = [
        _show_levels(axes, level_db, len(samples) / sample_rate, top_db, sample_rate)
        for axes, level_db, samples in zip(stack, levels_db, signals.values(), strict=True)
    ]
    for axes, name in zip(stack, signals, strict=True):
        axes.set_title(plain(name), loc="left", fontsize=9, color=INK.light)
        axes.set_xlabel("time, s")
    stack[0].set_ylabel("kHz")
    figure.colorbar(images[0], ax=list(stack), label="dB re the loudest point", pad=0.01)
    return figure


@as_picture
def _spectrogram(
    level_db: NDArray[np.float64], end_s: float, axis_s: float, top_db: float, sample_rate: int
) -> "Figure":
    figure, (axes,) = panels(1, height_in=1.9, width_in=3.9)
    _show_levels(axes, level_db, end_s, top_db, sample_rate)
    axes.set_xlim(0, axis_s)
    axes.set_xlabel("time, s")
    axes.set_ylabel("kHz")
    return figure


def _show_levels(
    axes: "Axes", level_db: NDArray[np.float64], end_s: float, top_db: float, sample_rate: int
) -> Any:
    step_db = SPECTROGRAM_RANGE_DB / 40  # enough for the eye, and compresses far better than 256
    axes.grid(False)
    return axes.imshow(
        np.round((level_db - top_db) / step_db) * step_db,
        cmap="magma",
        vmin=-SPECTROGRAM_RANGE_DB,
        vmax=0.0,
        origin="lower",
        aspect="auto",
        extent=(0.0, end_s, 0.0, sample_rate / 2000),
        interpolation="none",
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the metrics of a run: rows with `step` and numbers (or null) by `split/metric`.

    Returns:
        Rows in the order of their steps, without a last line that a kill cut short; none where
        the file does not exist yet.

    Raises:
        InputError: if another line is not a JSON object with a step.
    """
    if not path.is_file():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
        elif line.strip() and number < len(lines):
            raise InputError(
                f"{path} line {number}: not an object with a step; train again, or cut it"
            )
    return sorted(rows, key=lambda row: row["step"])


@as_picture
def training_curves(
    rows: Sequence[Mapping[str, Any]], metrics: Sequence[str] | None = None
) -> "Figure":
    """Show metrics over the steps of a training run, one panel each.

    `validation/unprocessed_NAME`, the metric without the enhancer, is a dashed line in the panel
    of `validation/NAME`; `validation/clean_NAME`, that of clean speech, a dotted one. The scale of
    a training curve is logarithmic where its values are positive and range over a factor of 30.

    Args:
        rows: from `read_metrics`; a row without a metric is skipped.
        metrics: keys to show, such as `train/loss`; all where None.
    """
    keys = dict.fromkeys(key for row in rows for key in row if key != "step")
    curves = [key for key in keys if not any(f"/{kind}_" in key for kind in _LEVELS)]
    shown = list(metrics or curves) or ["train/loss"]
    figure, stack = panels(len(shown), height_in=0.4 + 1.3 * len(shown))
    for axes, metric in zip(stack, shown, strict=True):
        steps, values = series(rows, metric)
        lowest, highest = min(values, default=0.0), max(values, default=0.0)
        if metric.startswith("train/") and 0 < MAX_RANGE * lowest < highest:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
        _draw_thinned(axes, steps, values)
        split, _, name = metric.rpartition("/")
        notes = []
        for kind, (color, word, dashes) in _LEVELS.items():
            _, levels = series(rows, f"{split}/{kind}_{name}")
            if levels:
                axes.axhline(levels[-1], color=color.light, linewidth=1.2, linestyle=(0, dashes))
                notes.append(f"{word}: {kind}")
        note = f" ({', '.join(notes)})" if notes else ""
        axes.set_title(plain(metric) + note, loc="left", fontsize=9, color=INK.light)
        axes.margins(x=0.02, y=0.12)
        if axes.get_yscale() == "linear":
            axes.locator_params(axis="y", nbins=5)
    for axes in stack[:-1]:
        axes.tick_params(labelbottom=False)
    stack[-1].set_xlabel("step")
    return figure


_LEVELS = {
    "unprocessed": (BONE, "dashed", (3, 2)),
    "clean": (AIR, "dotted", (1, 2)),
}


@as_picture
def gains_by_part(gains: Mapping[str, Sequence[float | None]], label: str) -> "Figure":
    """Show the gain of each recording by what it was enhanced with, and the means.

    Args:
        gains: gains of the recordings by name of the part; None where there is none.
        label: name of the metric.
    """
    figure, (axes,) = panels(1, height_in=2.6)
    axes.axhline(0, color=SOFT.light, linewidth=1)
    for place, (name, values) in enumerate(gains.items()):
        known = [value for value in values if value is not None]
        # Side by side, in their order, so that equal ones are seen.
        across = place + 0.5 * (np.arange(len(known)) / max(1, len(known) - 1) - 0.5)
        color = ENHANCED.light if name == list(gains)[-1] else BONE.light
        axes.plot(across, known, "o", color=color, markersize=3.5, alpha=0.7)
        if known:
            mean = float(np.mean(known))
            axes.plot([place - 0.3, place + 0.3], [mean, mean], color=INK.light, linewidth=1.6)
    axes.set_xticks(range(len(gains)), [plain(name) for name in gains])
    axes.set_xlim(-0.6, len(gains) - 0.4)
    axes.set_ylabel(f"gain in {label}")
    return figure


def _draw_thinned(axes: "Axes", steps: Sequence[int], values: Sequence[float]) -> None:
    """Draw a curve; where it has too many points, means of neighbours and their range."""
    if len(steps) <= MAX_POINTS:
        marker = "o" if len(steps) <= 40 else ""
        axes.plot(steps, values, color=ENHANCED.light, marker=marker, markersize=3)
        return
    groups = np.array_split(np.asarray(values, dtype=np.float64), MAX_POINTS)
    centres = [float(group.mean()) for group in np.array_split(np.asarray(steps), MAX_POINTS)]
    low, high = ([float(limit(group)) for group in groups] for limit in (np.min, np.max))
    style = {"color": ENHANCED.light, "linewidth": 0, "alpha": 0.25}
    axes.fill_between(centres, low, high, **style)
    means = [float(group.mean()) for group in groups]
    axes.plot(centres, means, color=ENHANCED.light, linewidth=1.2)


def series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Return the steps that have a number for `key`, and the numbers."""
    points = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), int | float)]
    return [step for step, _ in points], [value for _, value in points]


def frequency_axis(axes: "Axes", sample_rate: int, label: bool = True) -> None:
    """Give `axes` a logarithmic frequency axis with ticks at round numbers."""
    top_hz = sample_rate / 2
    ticks = [hz for hz in (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000) if hz <= top_hz]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(LOWEST_HZ, top_hz)
    axes.tick_params(labelbottom=label)
    if label:
        axes.set_xlabel("frequency, Hz")


def level_axis(
    axes: "Axes",
    levels_db: Sequence[NDArray[np.floating]],
    frequencies_hz: NDArray[np.floating],
    label: str,
) -> None:
    """Label the vertical axis; let it span the levels (F,), at most 90 dB, plus a margin."""
    # The last bins are a resampler's edge: a fall by 60 dB there would flatten all the rest.
    inside = (frequencies_hz >= LOWEST_HZ) & (frequencies_hz < 0.95 * frequencies_hz[-1])
    shown = np.stack(levels_db)[:, inside]
    top = float(shown.max())
    bottom = max(float(shown.min()), top - 90)
    margin = max(1.0, 0.06 * (top - bottom))
    axes.set_ylim(bottom - margin, top + margin)
    axes.set_ylabel(label)


def shade_usable_band(axes: "Axes", profile: SensorProfile, label: str | None = None) -> None:
    """Shade the usable band, where the coherence exceeds 0.5."""
    low_hz, high_hz = profile.usable_band_hz
    if high_hz > low_hz:
        axes.axvspan(
            max(low_hz, LOWEST_HZ), high_hz, color=SOFT.light, alpha=0.1, linewidth=0, label=label
        )


def shade_unrecorded(axes: "Axes", profile: SensorProfile, label: str | None = None) -> None:
    """Hatch the ranges that the recordings do not hold."""
    low_hz, high_hz = profile.recorded_band_hz
    for start_hz, stop_hz in ((LOWEST_HZ, low_hz), (high_hz, profile.sample_rate / 2)):
        if stop_hz > start_hz:
            style: dict[str, Any] = {"facecolor": "none", "edgecolor": SOFT.light, "linewidth": 0}
            axes.axvspan(start_hz, stop_hz, hatch="////", alpha=0.5, label=label, **style)
            label = None  # once is enough


def legend_above(axes: "Axes") -> None:
    """Put the legend above the axes, where it hides no curve."""
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)


def _colors(names: Mapping[str, Any]) -> list[Color]:
    """Return a colour for each name: air, bone and enhanced have theirs in every picture."""
    # "simulated bone" stands beside "real bone": the rarer word, which comes first, decides.
    roles = {"simulated": OTHER, "enhanced": ENHANCED, "bone": BONE, "sensor": BONE, "air": AIR}
    spare = (OTHER, ENHANCED, BONE, AIR)
    chosen: list[Color] = []
    for name in names:
        words = name.lower().split()
        known = [color for word, color in roles.items() if word in words]
        free = [color for color in (*known, *spare) if color not in chosen]
        chosen.append(free[0] if free else SOFT)
    return chosen


def _spectrogram_db(samples: NDArray[np.floating], sample_rate: int) -> NDArray[np.float64]:
    """Return levels in dB re full scale, (F, frames), at most about 600 frames."""
    hop = max(sample_rate // 125, len(samples) // 600)
    num_fft = 2 * round(sample_rate * 0.016)
    padded = np.pad(samples, (num_fft // 2, num_fft // 2 + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, num_fft)[::hop]
    spectra = np.fft.rfft(frames * scipy.signal.get_window("hann", num_fft))
    return 20 * np.log10(np.maximum(np.abs(spectra.T) / (num_fft / 4), 1e-8))


def plain(name: str) -> str:
    """Return a name for XML: without control characters, at most 60 characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)[:60]
