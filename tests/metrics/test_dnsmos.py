"""DNSMOS: what the package is given, and what is made of its answer. It is not installed here."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from bcsim.errors import UsageError
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison


@pytest.fixture
def package(monkeypatch):
    """A package in the place of `speechmos`, which notes what it is given."""
    given = []
    module, parent = ModuleType("speechmos.dnsmos"), ModuleType("speechmos")

    def run(samples, sample_rate, return_df):
        given.append((samples, sample_rate, return_df))
        return {"ovrl_mos": np.float64(given_mos[0]), "sig_mos": 9.0, "bak_mos": 9.0}

    given_mos = [3.25]
    module.__dict__["run"] = run
    monkeypatch.setitem(sys.modules, "speechmos", parent)
    monkeypatch.setitem(sys.modules, "speechmos.dnsmos", module)
    return given, given_mos


def score(estimate: torch.Tensor, real: torch.Tensor) -> float:
    return METRICS["dnsmos"](Comparison.prepare(estimate, real, 16_000, match_level=False))


def test_the_overall_score_is_that_of_the_estimate_within_full_scale(package, speech):
    given, _ = package
    assert score(0.5 * speech[0], speech[0]) == 3.25
    loud = 3 * speech[0] / speech[0].abs().max()
    assert score(loud, speech[0]) == 3.25
    (soft, rate, as_table), (turned_down, *_) = given
    assert (rate, as_table) == (16_000, False)
    centred = speech[0].double() - speech[0].double().mean()
    np.testing.assert_allclose(soft, 0.5 * centred, atol=1e-6)
    assert abs(turned_down).max() == pytest.approx(1)


def test_no_score_is_below_the_scale(package, speech):
    _, mos = package
    mos[0] = 0.7
    assert score(speech[0], speech[0]) == 1.0
    assert score(torch.zeros_like(speech[0]), speech[0]) == 1.0


def test_without_the_package_one_line_says_what_to_install(monkeypatch, speech):
    monkeypatch.setitem(sys.modules, "speechmos", None)
    with pytest.raises(UsageError, match=r"pip install 'bcsim\[dnsmos\]'"):
        score(speech[0], speech[0])
