"""`auto` takes what does best on recordings that it has not seen, and says so."""

import numpy as np
import pytest

from bcsim.errors import UsageError
from bcsim.fitting.cross_validation import BASELINE
from bcsim.fitting.estimation import EstimationSettings
from bcsim.fitting.estimators import band_gain_network
from bcsim.fitting.fit import fit_pairs
from bcsim.fitting.selection import CANDIDATES, FIXED
from bcsim.fitting.simulation import simulate
from bcsim.metrics.intelligibility import stoi_of
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.recorded_pair import RecordedPair

RATE = 16_000


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Train networks less than they would be, and to more than a filter yet."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(band_gain_network, "MAX_STEPS", 40)
        yield


@pytest.fixture(scope="module")
def of_two_sounds(systems):
    return fit_pairs(systems.spoken(RATE, count=4, seconds=2.5, talkers=("ann", "bob")), RATE)


def test_a_sensor_that_is_a_filter_stays_one(systems):
    """White excitation through one filter: there is nothing speech-dependent to be learnt."""
    generator = np.random.default_rng(4)
    pairs = []
    for index in range(4):
        air = 0.1 * generator.standard_normal(2 * RATE)
        bone = systems.signal.lfilter(*systems.two_mass(RATE), air)
        pairs.append(RecordedPair(f"pair {index}", air, bone + systems.noise_at(bone, 40, index)))
    result = fit_pairs(pairs, RATE)
    assert result.profile.provenance.estimator == FIXED
    assert result.profile.speech is None


def test_a_sensor_that_depends_on_the_sound_is_told_from_a_filter(of_two_sounds):
    scores = of_two_sounds.candidates
    chosen = of_two_sounds.profile.provenance.estimator
    assert chosen != FIXED
    assert scores[chosen]["lsd"] < scores[FIXED]["lsd"] - 0.3
    assert scores[chosen]["lsd"] == min(scores[name]["lsd"] for name in CANDIDATES)
    assert set(scores) == {*CANDIDATES, BASELINE}
    assert of_two_sounds.choice.startswith(chosen)
    assert f"{scores[FIXED]['lsd']:.2f}" in of_two_sounds.choice


def test_what_was_measured_goes_into_the_profile(of_two_sounds, tmp_path):
    profile = of_two_sounds.profile
    held_out = of_two_sounds.candidates[profile.provenance.estimator]
    assert of_two_sounds.coupling is not None
    assert profile.provenance.scores == held_out | of_two_sounds.coupling.scores
    assert set(profile.provenance.learning) == {"all", "half the seconds"}
    assert profile.speech is not None
    assert profile.speech.residual is not None
    profile.save(tmp_path / "x.sensor")
    again = SensorProfile.load(tmp_path / "x.sensor")
    assert again.to_bytes() == profile.to_bytes()
    assert again.provenance == profile.provenance


def test_the_coupling_is_that_of_held_out_recordings_with_the_residual_drawn(of_two_sounds):
    found, predictions = of_two_sounds.coupling, of_two_sounds.predictions
    own = []
    for pair, profile in predictions:
        simulated = simulate(profile, pair.air[:], pair.name, within_clip=True)
        own.append([stoi_of(pair.air[:], x, extended=False) for x in (pair.bone[:], simulated)])
    real, simulated = np.mean(own, axis=0)
    assert found.real["stoi_coupling"] == pytest.approx(real, abs=0.01)
    assert found.simulated["stoi_coupling"] == pytest.approx(simulated, abs=0.01)
    assert found.scores["stoi_coupling"] == pytest.approx(simulated - real, abs=0.02)
    assert found.real_bands.shape == found.simulated_bands.shape == (20,)


def test_the_learning_curve_says_what_it_was_fitted_to(of_two_sounds):
    points = {point.label: point for point in of_two_sounds.learning_curve}
    assert points["all"].seconds == pytest.approx(7.5, abs=0.2)  # three of four of 2.5 s
    assert points["half the seconds"].seconds == pytest.approx(3.75, abs=0.1)
    assert points["all"].talkers == pytest.approx(2, abs=0.5)


def test_too_little_to_hold_out_gives_a_filter_and_says_why(systems):
    result = fit_pairs(systems.spoken(RATE, count=1, seconds=2), RATE)
    assert result.profile.provenance.estimator == FIXED
    assert "too short" in result.choice
    assert result.candidates == {}


def test_a_new_talker_is_learnt_faster_from_a_prior(systems, of_two_sounds):
    """A sensor of the kind, 2 dB off for this talker, of whom there are two sentences."""
    gains = {"vowel": 7.0, "fricative": -9.0}
    few = systems.spoken(RATE, count=2, seconds=2.5, gains_db=gains)
    prior = fit_pairs(
        systems.spoken(RATE, count=4, seconds=2.5),
        RATE,
        estimator="band-gain-network",
        cross_validate=False,
    ).profile
    alone, helped = (
        fit_pairs(few, RATE, estimator="band-gain-network", prior=start) for start in (None, prior)
    )
    name = "band-gain-network"
    assert helped.candidates[name]["mel_sd"] < alone.candidates[name]["mel_sd"]
    assert helped.profile.provenance.prior == prior.name
    assert helped.profile.provenance.spread == "prior"
    np.testing.assert_array_equal(helped.profile.spread_db, prior.spread_db)


def test_a_prior_that_cannot_be_one_is_refused_before_work(systems, sensor):
    pairs = systems.spoken(RATE, count=1, seconds=2)
    with pytest.raises(UsageError, match="band-gain-network"):
        fit_pairs(pairs, RATE, prior=sensor)
    with pytest.raises(UsageError, match="16000"):
        fit_pairs(pairs, 8000, prior=sensor)


def test_auto_needs_held_out_recordings(systems):
    with pytest.raises(UsageError, match="held-out"):
        fit_pairs(systems.spoken(RATE, count=1, seconds=2), RATE, cross_validate=False)


def test_short_recordings_are_halved_too_or_nothing_is_said(systems):
    """Recordings under 1.5 s used to come back whole, and "half the seconds" was all of them."""
    pairs = systems.spoken(RATE, count=6, seconds=1.2)
    points = {p.label: p for p in fit_pairs(pairs, RATE, estimator=FIXED).learning_curve}
    assert points["half the seconds"].seconds < 0.6 * points["all"].seconds


def test_an_option_that_auto_cannot_take_is_refused_by_its_name(systems):
    with pytest.raises(UsageError, match=r"auto .*gating"):
        fit_pairs(systems.spoken(RATE, 1), RATE, settings=EstimationSettings(gated=True))


def test_a_fixed_prior_lends_its_spread_and_noise_to_a_fixed_fit(systems, sensor):
    """Two sentences without a pause, and a prior on the same grid."""
    grid = np.linspace(0, RATE / 2, 513)
    prior = fit_pairs(systems.recorded(systems.two_mass(RATE), RATE), RATE, estimator=FIXED).profile
    generator = np.random.default_rng(2)
    air = 0.1 * generator.standard_normal(3 * RATE)
    bone = systems.signal.lfilter(*systems.two_mass(RATE), air)
    few = [RecordedPair("steady", air, bone)]
    profile = fit_pairs(few, RATE, estimator=FIXED, prior=prior, cross_validate=False).profile
    assert len(grid) == len(profile.noise_psd)
    np.testing.assert_array_equal(profile.noise_psd, prior.noise_psd)
    assert profile.provenance.spread == "prior"
