"""`bcsim evaluate`: how close simulated sensors come to real recordings of one."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bcsim.datasets.recordings import chosen_channels, each_recording, find_pairs
from bcsim.errors import InputError, UsageError
from bcsim.fitting.alignment.align import synchronised
from bcsim.fitting.diagnosis.diagnose import examine
from bcsim.metrics import METRICS
from bcsim.metrics.bands import band_errors
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.coupling import BAND_CENTRES_HZ, envelope_correlations, real_coupling
from bcsim.metrics.intervals import bootstrap_mean
from bcsim.metrics.ltas import CENTRES_HZ
from bcsim.metrics.scores import coupling_metrics, simulation_metrics
from bcsim.metrics.two_sample import Frames, frames_of, null_accuracy, told_apart
from bcsim.progress import track
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.recorded_pair import RecordedPair
from bcsim.simulator import Simulator
from bcsim.workflows.presets import resolve_simulator

Scores = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of one simulated sensor.

    Args:
        sensor: name of the sensor.
        scores: means over the pairs, NaN where undefined; beside the metrics' names
            `dynamics_ratio_mean` (of the mean sensor), `c2st`, `c2st_null` and `c2st_null_std`.
        pairs: scores of each pair, by name.
        num_scored: number of pairs that the mean of each score is taken over: those whose
            recording has a value of it.
        failures: pairs that could not be used, and why.
        intervals: 95 % bootstrap intervals of the means over talkers and their utterances, NaN
            where fewer than two pairs have the score; none of the two-sample test's.
        talkers: `num_pairs` and mean scores of each talker; a pair of an unknown talker stands
            for one, under the pair's name.
        talkers_known: whether the talker of any pair is known.
        coupling: `real` and `simulated`, how closely bone follows air by each metric of coupling,
            and `bands`, envelope correlations: `centre_hz`, `real` and `simulated`; NaN where
            undefined.
        bands: `centre_hz`, `bias_db` (mean of simulated less real level over active frames,
            levels matched) and `rms_db` of each third-octave.
    """

    sensor: str
    scores: Scores
    pairs: dict[str, Scores]
    num_scored: dict[str, int]
    failures: dict[str, str]
    intervals: dict[str, tuple[float, float]]
    talkers: dict[str, Scores]
    talkers_known: bool
    bands: list[Scores]
    coupling: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """Return everything as JSON has it: None where a number is undefined."""
        return {
            "sensor": self.sensor,
            "num_pairs": len(self.pairs),
            "num_scored": self.num_scored,
            "scores": _finite(self.scores),
            "intervals": {
                name: None if math.isnan(low) else [low, high]
                for name, (low, high) in self.intervals.items()
            },
            "talkers_known": self.talkers_known,
            "talkers": {name: _finite(row) for name, row in self.talkers.items()},
            "bands": [_finite(row) for row in self.bands],
            "coupling": {
                **{kind: _finite(self.coupling[kind]) for kind in ("real", "simulated")},
                "bands": [_finite(row) for row in self.coupling["bands"]],
            },
            "pairs": {name: _finite(row) for name, row in self.pairs.items()},
            "failures": self.failures,
        }


def evaluate_sensor(
    sensor: str | SensorProfile,
    air: str | Path,
    bone: str | Path,
    talkers: str | Path | None = None,
    channels: Mapping[str, str] | None = None,
) -> Evaluation:
    """Compare one simulated sensor with recordings of the real one; see `evaluate`.

    Args:
        sensor: profile, file, bundled sensor or preset.
        air: file or folder of the air microphone.
        bone: file or folder of the sensor.
        talkers: table of who speaks in which recording; None where the first folder tells.
        channels: channel of "air" and "bone", where files have several.

    Raises:
        InputError: if the sensor cannot be found, or no pair can be used.
    """
    table = None if talkers is None else Path(talkers)
    return evaluate([sensor], Path(air), Path(bone), table, channels)[0]


def evaluate(
    sensors: Sequence[str | SensorProfile],
    air: Path,
    bone: Path,
    talkers: Path | None = None,
    channels: Mapping[str, str] | None = None,
) -> list[Evaluation]:
    """Simulate the sensor's signal of real pairs and compare it with the recorded one.

    Scores of accuracy are those of the mean sensor with its noise floor, scores of realism
    (`dynamics_ratio`, `c2st`, coupling) those of a rendering in which the residual of the
    speech-dependent part is drawn, too: a mean is closer to every recording than a draw, and
    varies less than any.

    A sensor that was fitted on the same pairs looks better than it is: evaluate on others, or
    look at the leave-one-out table of `benchmarks/simulation_accuracy.py`.

    Takes at least one sensor, and else what `evaluate_sensor` takes.

    Returns:
        One evaluation a sensor, in the order given.

    Raises:
        UsageError: if no sensor is named.
        InputError: if a sensor cannot be found, or no pair can be used.
    """
    if not sensors:
        raise UsageError("give at least one sensor")
    resolved = [resolve_simulator(sensor) for sensor in sensors]
    evaluations: dict[int, Evaluation] = {}  # by the place of the sensor
    for rate in dict.fromkeys(sensor.simulator.sample_rate for sensor in resolved):
        own = {
            place: sensor
            for place, sensor in enumerate(resolved)
            if sensor.simulator.sample_rate == rate
        }
        found, failures = find_pairs(air, bone, talkers, channels)
        of_sensors: dict[int, list[_Compared]] = {place: [] for place in own}
        names: list[str] = []
        talkers_of_pairs: list[str | None] = []
        # Of a pair, only its scores are kept, and a few frames.
        recorded = each_recording(
            track(found, len(found), "evaluating"), failures, rate, chosen_channels(found, channels)
        )
        for pair in _synchronised(recorded, rate, failures):
            names.append(pair.name)
            talkers_of_pairs.append(pair.talker)
            for place, sensor in own.items():
                of_sensors[place].append(_compare(sensor.simulator, pair, len(found)))
        if not names:
            first = next(iter(failures.values()))
            raise InputError(f"none of {len(found)} pairs can be used; first: {first}")
        groups = _groups(names, talkers_of_pairs)
        first_sensor = next(iter(of_sensors.values()))
        null = null_accuracy([pair.frames for pair in first_sensor], groups)  # of real recordings
        for place, sensor in own.items():
            evaluations[place] = _evaluation(
                sensor.sensor, of_sensors[place], names, talkers_of_pairs, null, failures
            )
    return [evaluations[place] for place in range(len(resolved))]


def synchronised_pair(pair: RecordedPair, sample_rate: int) -> RecordedPair:
    """Synchronise recordings that were started at different moments.

    A few milliseconds are left as they are: the metrics look at frames of 32 ms, and a single
    pair does not tell its delay finer than that from the sensor's phase.

    Raises:
        InputError: if the pair cannot be used.
    """
    found = examine(pair, sample_rate)
    if found.refusal is not None:
        raise InputError(f"{pair.name}: {found.refusal.text}")
    return synchronised(pair, sample_rate, found.timing)


def mean_sensor_signal(
    simulator: Simulator, air: Tensor, name: str, residual: bool = False
) -> Tensor:
    """Return the mean sensor's signal (T,) of air (T,), with the residual drawn or without."""
    return simulator.render(air[None], [name], seed=0, mean=True, within_clip=residual).bone[0]


def _synchronised(
    recorded: Iterable[RecordedPair], sample_rate: int, failures: dict[str, str]
) -> Iterator[RecordedPair]:
    """Yield the pairs that can be synchronised; the reasons for others go to `failures`."""
    for pair in recorded:
        try:
            ready = synchronised_pair(pair, sample_rate)
        except InputError as error:
            failures[pair.name] = f"{error}{pair.in_files}"
            continue
        yield ready


@dataclass(frozen=True)
class _Compared:
    """A pair as one simulated sensor has it.

    Args:
        scores: scores of the mean sensor, and of the rendering with the residual drawn.
        bands: errors of the third-octaves (`band_errors`).
        frames: frames with the residual drawn, for the two-sample test.
        coupling: coupling of the real signal with air, by metric; NaN where air has none.
        envelopes: (2, 20), envelope correlations with air of the real signal, and of the one with
            the residual drawn.
    """

    scores: Scores
    bands: tuple[Tensor, Tensor]
    frames: Frames | None
    coupling: Scores
    envelopes: Tensor


def _compare(simulator: Simulator, pair: RecordedPair, num_pairs: int) -> _Compared:
    air, bone = (torch.from_numpy(np.float64(samples)) for samples in (pair.air, pair.bone))
    expected, drawn = (
        Comparison.prepare(
            mean_sensor_signal(simulator, air, pair.name, residual),
            bone,
            simulator.sample_rate,
            reference=air,
        )
        for residual in (False, True)
    )
    row = {
        name: METRICS[name](drawn if METRICS[name].drawn else expected)
        for name in simulation_metrics()
    }
    row["dynamics_ratio_mean"] = METRICS["dynamics_ratio"](expected)
    real = {name: real_coupling(drawn, name) for name in coupling_metrics()}
    envelopes = torch.stack(
        [envelope_correlations(signal, drawn) for signal in (drawn.real, drawn.estimate)]
    )
    return _Compared(row, band_errors(expected), frames_of(drawn, num_pairs), real, envelopes)


def _evaluation(
    sensor: str,
    compared: Sequence[_Compared],
    names: Sequence[str],
    talkers: Sequence[str | None],
    null: tuple[float, float],
    failures: dict[str, str],
) -> Evaluation:
    """Return what all pairs say of a sensor.

    Args:
        sensor: name of the sensor.
        compared: pairs as the sensor has them.
        names: names of the pairs.
        talkers: talkers of the pairs, as far as they are known.
        null: accuracy of real against real, and its deviation (`null_accuracy`).
        failures: reason by pair that could not be used.
    """
    rows = [pair.scores for pair in compared]
    groups = _groups(names, talkers)
    c2st = {
        "c2st": told_apart([pair.frames for pair in compared], groups),
        "c2st_null": null[0],
        "c2st_null_std": null[1],
    }
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return Evaluation(
        sensor=sensor,
        scores={name: _mean(values) for name, values in columns.items()} | c2st,
        pairs=dict(zip(names, rows, strict=True)),
        num_scored={
            name: sum(not math.isnan(value) for value in values) for name, values in columns.items()
        },
        failures=failures,
        intervals={name: bootstrap_mean(values, talkers) for name, values in columns.items()},
        talkers=_by_talker(groups, rows),
        talkers_known=any(talker is not None for talker in talkers),
        bands=_over_pairs([pair.bands for pair in compared]),
        coupling=_coupling(compared),
    )


def _groups(names: Sequence[str], talkers: Sequence[str | None]) -> list[str]:
    """Return the talker of each pair, or the name of the pair where nothing tells."""
    pairs = zip(names, talkers, strict=True)
    return [name if talker is None else talker for name, talker in pairs]


def _by_talker(groups: Sequence[str], rows: Sequence[Scores]) -> dict[str, Scores]:
    found: dict[str, list[Scores]] = {}
    for talker, row in zip(groups, rows, strict=True):
        found.setdefault(talker, []).append(row)
    return {
        talker: {"num_pairs": len(own)} | {key: _mean([row[key] for row in own]) for key in own[0]}
        for talker, own in found.items()
    }


def _mean(values: Sequence[float]) -> float:
    """Return the mean of what is defined, or NaN."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _over_pairs(bands: Sequence[tuple[Tensor, Tensor]]) -> list[Scores]:
    """Return the mean bias and the rms over all pairs, which have equal weights."""
    biases_db, rmses_db = (torch.stack(rows) for rows in zip(*bands, strict=True))
    bias_db, rms_db = biases_db.nanmean(dim=0), rmses_db.square().nanmean(dim=0).sqrt()
    columns = zip(CENTRES_HZ, bias_db.tolist(), rms_db.tolist(), strict=True)
    return [
        {"centre_hz": round(hz, 1), "bias_db": bias, "rms_db": rms} for hz, bias, rms in columns
    ]


def _coupling(compared: Sequence[_Compared]) -> dict[str, Any]:
    """Return the mean coupling over the pairs whose real signal has a value of it."""
    names = coupling_metrics()
    real = {name: _mean([pair.coupling[name] for pair in compared]) for name in names}
    more = {name: _mean([pair.scores[name] for pair in compared]) for name in names}
    bands = torch.stack([pair.envelopes for pair in compared]).nanmean(dim=0)
    columns = zip(BAND_CENTRES_HZ, *bands.tolist(), strict=True)
    return {
        "real": real,
        "simulated": {name: real[name] + more[name] for name in names},
        "bands": [{"centre_hz": round(hz, 1), "real": a, "simulated": b} for hz, a, b in columns],
    }


def _finite(row: Scores) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in row.items()}
