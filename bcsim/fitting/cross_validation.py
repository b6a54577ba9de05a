"""How well a way of fitting does on recordings that it has not seen.

Recordings are dealt into folds; each fold is simulated by a sensor that was fitted to the others
and compared with what was recorded (`bcsim.metrics`). The errors decide which estimator `auto`
takes, give the residual of the speech-dependent part, and go into the profile.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.activity import ACTIVE_RANGE_DB, loud_power
from bcsim.dsp.biquad import biquad_power, lowpass_coefficients
from bcsim.dsp.noise import white_noise
from bcsim.dsp.spectra import frame_power
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.rendering import Rendering, excess_level_db
from bcsim.fitting.speech_frames import speech_frames
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.scores import headline_metrics, simulation_scores
from bcsim.progress import track
from bcsim.rng import stream
from bcsim.sensors.responses.residual import Residual

MAX_FOLDS = 4
MIN_PART_S = 1.5  # of a recording that is cut to be held out in parts
MAX_PART_S = 30.0  # longer ones are cut, however many there are: scores want memory
SCORES = tuple(name for name in headline_metrics() if METRICS[name].better != "one")
BASELINE = "temporal-transforms"
SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)  # of the residual
AUDIBLE_DB = 6.0  # over the noise: where the recorded level is that of speech


def folds_of(keys: Sequence[tuple[str | None, str]]) -> list[set[int]]:
    """Deal recordings into at most four folds, by talker where three or more are named.

    Args:
        keys: talker and name of each recording.

    Returns:
        Sets of indices; a single one, of all, where there is nothing to hold out.

    Example:
        >>> folds_of([("ann", "1"), ("bob", "2"), ("ann", "3"), ("cy", "4")])
        [{0, 2}, {1}, {3}]
    """
    talkers = [talker for talker, _ in keys if talker is not None]
    if len(set(talkers)) < 3 or len(talkers) < len(keys):
        talkers = [str(index) for index in range(len(keys))]
    names = sorted(set(talkers), key=lambda name: (-talkers.count(name), talkers.index(name)))
    folds: list[set[int]] = [set() for _ in range(min(MAX_FOLDS, len(names)))]
    for name in names:  # the largest first, each to the emptiest fold
        smallest = min(folds, key=len)
        smallest |= {index for index, talker in enumerate(talkers) if talker == name}
    return sorted(folds, key=min)


def fold_items(pairs: Sequence[AlignedPair]) -> list[AlignedPair]:
    """Return what is held out: pairs, or parts of them where they are few or long."""
    wanted = 1 if len(pairs) >= MAX_FOLDS else -(-MAX_FOLDS // len(pairs))
    return [
        part
        for pair in pairs
        for part in cut(pair, max(wanted, math.ceil(pair.seconds / MAX_PART_S)))
    ]


def cut(pair: AlignedPair, parts: int, min_part_s: float = MIN_PART_S) -> list[AlignedPair]:
    """Cut a pair into equal parts; parts without speech are left out.

    Args:
        pair: aligned.
        parts: wanted; fewer where they would be too short.
        min_part_s: the least duration of one.
    """
    length = len(pair.air)
    parts = max(1, min(parts, int(length / (min_part_s * pair.sample_rate))))
    edges = [length * k // parts for k in range(parts + 1)]
    pieces = []
    loud = loud_power(_power(pair.air, pair))
    for number, (start, stop) in enumerate(pairwise(edges), start=1):
        air, bone = pair.air[start:stop], pair.bone[start:stop]
        active = _power(air, pair) > loud * 10 ** (-ACTIVE_RANGE_DB / 10)
        if int(active.sum()) < 4 or float(bone.abs().max()) == 0:
            continue
        hop_s = pair.num_fft // 4 / pair.sample_rate
        pieces.append(
            replace(
                pair,
                name=f"{pair.name} part {number}",
                air=air,
                bone=bone,
                active=active,
                seconds=(stop - start) / pair.sample_rate,
                active_seconds=int(active.sum()) * hop_s,
            )
        )
    return pieces if len(pieces) > 1 else [pair]


@dataclass(frozen=True, eq=False)
class Trial:
    """A way of fitting, tried on held-out recordings.

    Args:
        scores: means over the recordings.
        rows: the scores of each recording, by name.
        held_out: each recording with the rendering that was fitted without it.
    """

    scores: dict[str, float]
    rows: dict[str, dict[str, float]]
    held_out: list[tuple[AlignedPair, Rendering]]


Fit = Callable[[list[AlignedPair]], Rendering]


def try_fits(
    units: Sequence[AlignedPair], folds: Sequence[set[int]], fits: Mapping[str, Fit]
) -> dict[str, Trial]:
    """Fit without each fold in turn, in every way, and judge on the fold.

    Args:
        units: recordings.
        folds: indices of what is held out together.
        fits: ways of fitting, by name.
    """
    rows: dict[str, dict[str, dict[str, float]]] = {name: {} for name in fits}
    held_out: dict[str, list[tuple[AlignedPair, Rendering]]] = {name: [] for name in fits}
    tasks = [(name, fold) for name in fits for fold in folds]
    for name, fold in track(tasks, len(tasks), "fitting without each fold"):
        rendering = fits[name]([unit for k, unit in enumerate(units) if k not in fold])
        for index in sorted(fold):
            unit = units[index]
            rows[name][unit.name] = judge(rendering.simulate(unit.air), unit)
            held_out[name].append((unit, rendering))
    return {name: Trial(means(rows[name]), rows[name], held_out[name]) for name in fits}


def judge(simulated: Tensor, pair: AlignedPair) -> dict[str, float]:
    """Return the scores of a simulation of a pair's bone signal, (T,)."""
    scores = simulation_scores(simulated, pair.bone, pair.air, pair.sample_rate)
    return {name: scores[name] for name in SCORES}


def means(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each score over recordings where it is defined; none where nowhere."""
    known = {
        name: [row[name] for row in rows.values() if np.isfinite(row[name])] for name in SCORES
    }
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def baseline_scores(pairs: Sequence[AlignedPair]) -> dict[str, float]:
    """Return what EBEN's low-pass, which is fitted to nothing, scores on the same recordings."""
    rows = {}
    for seed, pair in enumerate(pairs):
        rate = pair.sample_rate
        size = 2 * len(pair.air)
        hz = torch.fft.rfftfreq(size, 1 / rate, dtype=torch.float64)
        cutoff_hz, q = torch.tensor([[600.0], [1.0]], dtype=torch.float64)
        response = biquad_power(lowpass_coefficients(cutoff_hz, q, rate), hz, rate)[0]
        # Run forward and backward, a section's amplitude response is its power response.
        lowpassed = torch.fft.irfft(torch.fft.rfft(pair.air, size) * response)[: len(pair.air)]
        noise = white_noise(torch.tensor([seed]), len(lowpassed))[0]
        rows[pair.name] = judge(lowpassed + 0.005 * lowpassed.std() * noise, pair)
    return means(rows)


def prediction_errors(trial: Trial) -> list[Tensor]:
    """Return what held-out predictions leave open, in dB, NaN where noise hides the speech.

    Args:
        trial: of an estimator with a speech-dependent part.

    Returns:
        (frames, M) for each recording, active frames alone.
    """
    errors = []
    for pair, rendering in trial.held_out:
        assert rendering.speech is not None
        frames = speech_frames(pair, rendering.response)
        error = frames.speech_db - frames.fixed_db
        error = error - rendering.speech.gains_db(frames.levels_db[None])[0]
        audible = frames.bone_db > frames.noise_db + AUDIBLE_DB
        errors.append(torch.where(audible, error, torch.nan)[frames.active])
    return errors


def wearer_curves(errors: Sequence[Tensor], trial: Trial) -> tuple[Tensor, Tensor]:
    """Return what each held-out recording differs by from its prediction, over all of its sounds.

    The level is taken out as the sensor hears it, in power: it is drawn apart from the shape.

    Args:
        errors: of `prediction_errors`.
        trial: that they are of.

    Returns:
        Curves in dB (N, F), without the recording's level, and certainties (N, F), as
        `bcsim.fitting.spread.ratio_curves` gives them for a sensor without speech dependence.
    """
    _, rendering = trial.held_out[0]
    assert rendering.speech is not None
    centres = rendering.speech.bank.centres_hz.numpy()
    grid = rendering.response.frequencies_hz
    curves, certainties = [], []
    widths = 1 / rendering.speech.bank.weights.max(dim=1).values  # of the bands, in bins
    for error, (pair, fit) in zip(errors, trial.held_out, strict=True):
        known = ~error.isnan()
        mean = torch.where(known, error, 0.0).sum(0) / known.sum(0).clamp(min=1)
        frames = speech_frames(pair, fit.response)
        power = widths * (10 ** (frames.speech_db[frames.active] / 10)).mean(dim=0)
        power = torch.where(known.any(dim=0), power, 0.0)
        mean = mean - 10 * ((power * 10 ** (mean / 10)).sum() / power.sum()).log10()
        curves.append(torch.from_numpy(np.interp(grid, centres, mean.numpy())))
        share = known.double().mean(dim=0).numpy()
        certainties.append(torch.from_numpy(np.interp(grid, centres, share)))
    return torch.stack(curves), torch.stack(certainties)


def measured_residual(errors: Sequence[Tensor], trial: Trial) -> Residual:
    """Return the residual, scaled so that simulated speech moves as much as the real.

    Covariance over bands and correlation from frame to frame come from the errors about each
    recording's mean. A prediction that was learnt from few frames has some dynamics that the real
    mean has not, so the whole error would be too much: the scale is the one at which the dynamics
    ratio of the recordings, simulated with their noise, is 1 on average.

    Args:
        errors: of `prediction_errors`.
        trial: that they are of.
    """
    error = torch.cat([part - part.nanmean(dim=0) for part in errors])
    known = ~error.isnan()
    filled = torch.where(known, error, 0.0)
    count = known.double().T @ known.double()
    covariance = filled.T @ filled / count.clamp(min=1)
    both = known[1:] & known[:-1]
    products = torch.where(both, filled[1:] * filled[:-1], 0.0).sum()
    memory = float(products / torch.where(both, filled[1:].square(), 0.0).sum().clamp(min=1e-9))
    values, vectors = torch.linalg.eigh(covariance)
    factor = vectors * values.clamp(min=0).sqrt()
    whole = Residual(factor.numpy(), min(max(memory, 0.0), 0.99), 0.0)
    return _scaled_to_dynamics(whole, trial)


def _scaled_to_dynamics(residual: Residual, trial: Trial) -> Residual:
    ratios, rises = [], []
    without = [excess_level_db(rendering, [pair]) for pair, rendering in trial.held_out]
    for scale in SCALES:
        scaled = replace(residual, factor_db=scale * residual.factor_db)
        held_out = [(pair, _with_residual(fit, scaled)) for pair, fit in trial.held_out]
        drawn = [excess_level_db(rendering, [pair], True) for pair, rendering in held_out]
        rise = float(np.mean(np.subtract(drawn, without)))
        compensated = replace(scaled, level_correction_db=rise)
        ratios.append(dynamics([(p, _with_residual(r, compensated)) for p, r in held_out]))
        rises.append(rise)
    order = np.maximum.accumulate(ratios)  # more of it never moves less
    scale = float(np.interp(1.0, order, SCALES)) if order[0] < 1.0 else 0.0
    rise = float(np.interp(scale, SCALES, rises))
    return replace(residual, factor_db=scale * residual.factor_db, level_correction_db=rise)


def _with_residual(rendering: Rendering, residual: Residual) -> Rendering:
    assert rendering.speech is not None
    return replace(rendering, speech=replace(rendering.speech, residual=residual))


def dynamics(held_out: Sequence[tuple[AlignedPair, Rendering]]) -> float:
    """Return the dynamics ratio with the residual drawn, mean over recordings."""
    ratios = []
    for number, (pair, rendering) in enumerate(held_out):
        seed = int(stream(0, "dynamics", number).integers(2**31))
        simulated = rendering.simulate(pair.air, seed, seed)
        comparison = Comparison.prepare(simulated, pair.bone, pair.sample_rate, pair.air)
        ratios.append(METRICS["dynamics_ratio"](comparison))
    return float(np.nanmean(ratios))


def _power(air: Tensor, pair: AlignedPair) -> Tensor:
    return frame_power(air[None], pair.num_fft, pair.num_fft // 4)[0]
