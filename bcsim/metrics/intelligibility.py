"""STOI and ESTOI, by pystoi."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from bcsim.extras import optional_import
from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import SAMPLE_RATE, Comparison


@METRICS.register("stoi")
@partial(
    Metric, label="STOI", better="higher", worst=0.0, simulation=10, enhancement=2, selects=True
)
def stoi(pair: Comparison) -> float:
    """Return short-time objective intelligibility.

    Taal et al. 2011, doi 10.1109/TASL.2011.2114881. NaN where less than 0.4 s of the real signal
    is within 40 dB of its loudest frame.
    """
    return _stoi(pair, extended=False)


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
    return _stoi(pair, extended=True)


def _stoi(pair: Comparison, extended: bool) -> float:
    pystoi = optional_import("pystoi", extra="eval")
    with warnings.catch_warnings(), _pystois_own_draws():
        # Too little speech is only warned of, and then counted as 0.00001.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(
                pystoi.stoi(pair.real.numpy(), pair.estimate.numpy(), SAMPLE_RATE, extended)
            )
        except (RuntimeWarning, ValueError, IndexError):
            return math.nan


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
