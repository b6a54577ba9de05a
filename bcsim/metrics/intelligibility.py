"""STOI and ESTOI, by pystoi."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.activity import frame_energies
from bcsim.extras import optional_import
from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import HOP, NUM_FFT, SAMPLE_RATE, Comparison

COUNTED_DB = 40.0  # under the loudest frame: pystoi counts what is louder
PAUSE_DB = 45.0


@METRICS.register("stoi")
@partial(
    Metric, label="STOI", better="higher", worst=0.0, simulation=10, enhancement=2, selects=True
)
def stoi(pair: Comparison) -> float:
    """Return short-time objective intelligibility.

    Taal et al. 2011, doi 10.1109/TASL.2011.2114881. NaN where less than 0.4 s of the real signal
    is within 40 dB of its loudest frame. Pauses do not count, even where they are full of rumble.
    """
    return stoi_of(pair.real, pair.estimate, extended=False)


@METRICS.register("estoi")
@partial(
    Metric,
    label="ESTOI",
    better="higher",
    worst=0.0,
    headline="ESTOI",
    simulation=11,
    enhancement=3,
    selects=True,
)
def estoi(pair: Comparison) -> float:
    """Return extended STOI (Jensen & Taal 2016, doi 10.1109/TASLP.2016.2585878); NaN as for STOI.

    It normalises the spectrum over time, hence hardly notices a fixed filter.
    """
    return stoi_of(pair.real, pair.estimate, extended=True)


def stoi_of(real: Tensor, estimate: Tensor, extended: bool) -> float:
    """Return STOI or extended STOI of an estimate (T,), both signals at 16 kHz; NaN as above."""
    pystoi = optional_import("pystoi", extra="eval")
    with warnings.catch_warnings(), _pystois_own_draws():
        # Too little speech is only warned of, and then counted as 0.00001.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            counted = _counted(real)
            signals = ((signal * counted).numpy() for signal in (real, estimate))
            return float(pystoi.stoi(*signals, SAMPLE_RATE, extended))
        except (RuntimeWarning, ValueError, IndexError):
            return math.nan


def _counted(real: Tensor) -> Tensor:
    """Return 0 for the samples of pauses that pystoi would count for their rumble, else 1, (T,).

    Its rule, 40 dB under the loudest frame, holds for the whole spectrum. Pauses are here where
    nothing within 32 ms is above 300 Hz and less than 45 dB under the loudest frame. Only where
    most of them rumble is anything left out: other recordings have pystoi's own score.
    """
    level, speech = (energy[0] for energy in frame_energies(real[None], SAMPLE_RATE))
    quiet = speech < speech.max() * 10 ** (-PAUSE_DB / 10)
    rumbling = quiet & (level > level.max() * 10 ** (-COUNTED_DB / 10))
    counted = torch.ones_like(real)
    if 2 * int(rumbling.sum()) <= int(quiet.sum()):
        return counted
    inside = pad(quiet.double()[None], (2, 2), value=1.0).unfold(1, 5, 1).amin(dim=-1)[0] > 0
    for frame in torch.nonzero(inside)[:, 0].tolist():
        counted[frame * HOP : frame * HOP + NUM_FFT] = 0
    return counted


@contextmanager
def _pystois_own_draws() -> Iterator[None]:
    """Give pystoi, which dithers from numpy's global generator, a fixed state, and take it back.

    Scores are then the same in every run, and nobody else's draws move.
    """
    before = np.random.get_state()  # noqa: NPY002 (this is the generator that pystoi uses)
    np.random.set_state(np.random.RandomState(0).get_state())  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
