"""The plots of a fitted sensor's report: numbers in, a `Picture` out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bcsim.dsp.spectra import fractional_octave_smooth
from bcsim.reports.pictures import AIR, BONE, ENHANCED, INK, OTHER, SOFT, as_picture, panels
from bcsim.reports.plots import (
    LOWEST_HZ,
    frequency_axis,
    legend_above,
    level_axis,
    plain,
    shade_unrecorded,
    shade_usable_band,
)
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.transfer_function import TransferFunction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NAMED = 40  # pairs whose names fit beside their dots
FAINT_DB = 60.0  # under its maximum a response has no meaningful delay
SHADES = (AIR, BONE, ENHANCED, OTHER, INK, SOFT)  # as many curves as can be told apart
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))


@as_picture
def magnitude(profile: SensorProfile) -> "Figure":
    """Show the magnitude response, its 95 % interval, and the spread between recordings."""
    figure, (axes,) = panels(1, height_in=3.0)
    band = profile.transfer_function
    frequencies_hz, level_db = band.frequencies_hz, band.magnitude_db
    low, high = level_db - profile.spread_db, level_db + profile.spread_db
    style = {"color": BONE.light, "linewidth": 0}
    axes.fill_between(frequencies_hz, low, high, alpha=0.16, label="spread, ±1 sd", **style)
    if len(profile.magnitude_interval_db):
        known = level_db + profile.magnitude_interval_db
        axes.fill_between(frequencies_hz, *known, alpha=0.45, label="95 % interval", **style)
    axes.plot(frequencies_hz, level_db, color=BONE.light, label="response", linewidth=1.3)
    frequency_axis(axes, profile.sample_rate)
    level_axis(axes, [low, high], frequencies_hz, "bone re air, dB")
    shade_usable_band(axes, profile)
    shade_unrecorded(axes, profile, label="not recorded")
    legend_above(axes)
    return figure


@as_picture
def coherence(profile: SensorProfile) -> "Figure":
    """Show the coherence, and the ceiling that the noise of the two channels alone would leave."""
    figure, (axes,) = panels(1, height_in=3.0)
    band = profile.transfer_function
    # As smooth as the ceiling, whose powers are.
    measured = fractional_octave_smooth(torch.from_numpy(band.coherence), 12).numpy()
    ceiling = np.maximum(profile.coherence_ceiling, measured)
    style = {"color": OTHER.light, "linewidth": 0, "alpha": 0.18}
    axes.fill_between(band.frequencies_hz, measured, ceiling, label="model error", **style)
    style = {"color": OTHER.light, "linewidth": 1.3}
    axes.plot(band.frequencies_hz, profile.coherence_ceiling, label="ceiling by noise", **style)
    axes.plot(band.frequencies_hz, measured, color=AIR.light, label="coherence")
    axes.axhline(0.5, color=SOFT.light, linewidth=0.9, linestyle=DASHES[1])
    axes.set_ylim(0, 1)
    axes.set_ylabel("coherence")
    frequency_axis(axes, profile.sample_rate)
    shade_usable_band(axes, profile)
    shade_unrecorded(axes, profile, label="not recorded")
    legend_above(axes)
    return figure


def group_delay_ms(band: TransferFunction) -> NDArray[np.float64]:
    r"""Return the group delay in ms, (F,), NaN 60 dB or more under the response's maximum.

    .. math:: \tau(f) = \mathrm{Re}\,\frac{\mathcal F\{t\,h(t)\}}{\mathcal F\{h(t)\}}

    averaged over third-octaves, weighted by power: the time at which the energy of a narrow band
    arrives. The group delay of single bins is mostly the noise of the estimate.
    """
    taps, centre = band.impulse_response()
    time_s = (np.arange(len(taps)) - centre) / band.sample_rate
    time_s[0] = 0.0  # the first tap is at both ends of the periodic response
    response, slope = (np.fft.rfft(np.fft.ifftshift(x)) for x in (taps, time_s * taps))
    moment, power = (
        fractional_octave_smooth(torch.from_numpy(values), 3, min_bins=7).numpy()
        for values in ((slope * response.conj()).real, np.abs(response) ** 2)
    )
    clear = power > power.max() * 10 ** (-FAINT_DB / 10)
    delay_s = moment / np.where(clear, power, 1.0)
    return np.where(clear, 1000 * delay_s, np.nan)


@as_picture
def group_delay(profile: SensorProfile) -> "Figure":
    """Show the group delay of the response, without the overall delay of the sensor."""
    figure, (axes,) = panels(1, height_in=3.0)
    band = profile.transfer_function
    delay_ms = group_delay_ms(band)
    axes.plot(band.frequencies_hz, delay_ms, color=BONE.light, linewidth=1.3)
    axes.axhline(0.0, color=SOFT.light, linewidth=0.9)
    frequency_axis(axes, profile.sample_rate)
    axes.set_ylim(_delay_range(profile, delay_ms))
    axes.set_ylabel("group delay, ms")
    shade_usable_band(axes, profile, label="usable band")
    if profile.usable_band_hz[1] > profile.usable_band_hz[0]:
        legend_above(axes)
    return figure


def _delay_range(profile: SensorProfile, delay_ms: NDArray[np.float64]) -> tuple[float, float]:
    """Return a range that holds the whole usable band and nine tenths of the other octaves.

    Spikes of many ms at notches, where there is little energy, would flatten the rest.
    """
    grid = profile.transfer_function.frequencies_hz
    octaves = np.geomspace(2 * LOWEST_HZ, grid[-1], 200)
    sampled = delay_ms[np.searchsorted(grid, octaves).clip(max=len(grid) - 1)]
    low_hz, high_hz = profile.usable_band_hz
    usable = delay_ms[(grid >= low_hz) & (grid <= high_hz) & (high_hz > 0)]
    typical = sampled[np.isfinite(sampled)]
    known = [0.0, *usable[np.isfinite(usable)]]
    known += list(np.quantile(typical, [0.05, 0.95])) if len(typical) else []
    margin = max(0.2, 0.1 * (max(known) - min(known)))
    return min(known) - margin, max(known) + margin


@as_picture
def dots(
    names: Sequence[str], values: Sequence[float], label: str, middle: float | None = None
) -> "Figure":
    """Show one value a pair as a dot, pairs below each other in the order given.

    Args:
        names: names of the pairs, shown where there are at most 40.
        values: values of the pairs; a NaN has no dot.
        label: name and unit of the axis.
        middle: value at which to draw a dashed line.
    """
    row_in = 0.17 if len(names) <= MAX_NAMED else max(0.02, 7.0 / len(names))
    figure, (axes,) = panels(1, height_in=0.75 + row_in * max(len(names), 4))
    rows = np.arange(len(names))
    if middle is not None:
        axes.axvline(middle, color=SOFT.light, linewidth=0.9, linestyle=DASHES[1])
    axes.plot(values, rows, "o", color=BONE.light, markersize=4 if row_in > 0.1 else 2)
    if len(names) <= MAX_NAMED:
        axes.set_yticks(rows, [_short(plain(name)) for name in names])
        axes.tick_params(axis="y", length=0)
    else:
        axes.set_ylabel("pair")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.08)
    axes.set_xlabel(label)
    known = [value for value in [*values, *([] if middle is None else [middle])] if value == value]
    if known and max(known) - min(known) < 1e-9:  # else an axis that is one number wide
        axes.set_xlim(known[0] - 1, known[0] + 1)
    return figure


@as_picture
def speech_gains(
    frequencies_hz: NDArray[np.float64],
    curves_db: Mapping[str, NDArray[np.float64]],
    air_db: Mapping[str, NDArray[np.float64]],
) -> "Figure":
    """Show the spectra of kinds of sounds in air, and the gain that the sensor gives each.

    Args:
        frequencies_hz: (M,), centres of the bands.
        curves_db: kind to gain relative to the fixed response, (M,).
        air_db: kind to level in air, (M,).
    """
    figure, (top, bottom) = panels(2, height_in=4.4)
    for axes, curves in ((top, air_db), (bottom, curves_db)):
        for index, (name, curve) in enumerate(curves.items()):
            axes.plot(
                frequencies_hz,
                curve,
                color=SHADES[index % len(SHADES)].light,
                linestyle=DASHES[index // len(SHADES) % len(DASHES)],
                linewidth=1.5,
                label=plain(name),
            )
        frequency_axis(axes, round(2 * float(frequencies_hz[-1])), label=axes is bottom)
        axes.set_xlim(float(frequencies_hz[0]), float(frequencies_hz[-1]))
    bottom.axhline(0.0, color=SOFT.light, linewidth=0.9)
    top.set_ylabel("air, dB")
    bottom.set_ylabel("gain re fixed, dB")
    legend_above(top)
    return figure


@as_picture
def leakage(
    frequencies_hz: NDArray[np.float64], level_db: NDArray[np.float64], sample_rate: int
) -> "Figure":
    """Show how much ambient noise the sensor lets through, in dB re the air microphone."""
    figure, (axes,) = panels(1, height_in=2.6)
    axes.plot(frequencies_hz, level_db, color=ENHANCED.light)
    frequency_axis(axes, sample_rate)
    level_axis(axes, [level_db], frequencies_hz, "bone re air, dB")
    return figure


@as_picture
def coupling(
    centres_hz: Sequence[float], real: NDArray[np.float64], simulated: NDArray[np.float64]
) -> "Figure":
    """Show the correlation of bone's envelope with air's in each band, real and simulated.

    Args:
        centres_hz: (M,), centres of the bands.
        real: (M,), of the recordings; NaN where it is not known.
        simulated: (M,), of the simulations.
    """
    figure, (axes,) = panels(1, height_in=2.6)
    for values, ink, label in ((real, BONE, "real"), (simulated, AIR, "simulated")):
        axes.plot(centres_hz, values, "o-", color=ink.light, markersize=4, label=label)
    frequency_axis(axes, round(2 * centres_hz[-1]))
    axes.set_ylim(min(0.0, float(np.nanmin([real, simulated], initial=0.0))), 1)
    axes.set_ylabel("correlation with air")
    legend_above(axes)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:8]}\N{HORIZONTAL ELLIPSIS}{name[-9:]}"
