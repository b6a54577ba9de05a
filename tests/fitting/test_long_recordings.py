"""Recordings of hours are looked at block by block, and come out as short ones do."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bcsim.audio.read import read_audio
from bcsim.audio.unchanging import read_pair
from bcsim.dsp import lazy_signal
from bcsim.dsp.delay import delay_signal, delayed
from bcsim.dsp.lazy_signal import LazySignal
from bcsim.dsp.resample import on_clock, resample_clock
from bcsim.fitting import speech_frames as speech_frames_module
from bcsim.fitting.alignment import envelopes
from bcsim.fitting.alignment.align import align
from bcsim.fitting.alignment.time_map import joined
from bcsim.fitting.alignment.timing import measure_timing, synchronised_channels
from bcsim.fitting.diagnosis import defects
from bcsim.fitting.diagnosis.defects import dropouts
from bcsim.fitting.estimation import make_estimator
from bcsim.fitting.estimators import band_gain_network
from bcsim.fitting.mean_sensor import excess_level_db, fit_mean_sensor
from bcsim.fitting.noise import estimate_noise_floor
from bcsim.fitting.pairs import frame_size
from bcsim.fitting.speech_frames import (
    SpeechFrames,
    frames_to_learn_from,
    speech_frames,
    thinned,
)
from bcsim.sensors.responses.band_gain_network import OFFSETS
from bcsim.sensors.responses.base import SPEECH_RESPONSES

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000


@pytest.fixture
def in_blocks(monkeypatch):
    """Take everything beyond a second for long, and look at little of it at a time."""

    def patch() -> None:
        monkeypatch.setattr(lazy_signal, "LONG", RATE)
        monkeypatch.setattr(lazy_signal, "BLOCK", RATE - 7)
        monkeypatch.setattr(lazy_signal, "FRAMES_AT_ONCE", 9)
        monkeypatch.setattr(defects, "BLOCK", RATE - 7)

    return patch


@pytest.fixture
def pair(systems):
    (pair,) = systems.recorded(
        systems.two_mass(RATE), RATE, count=1, delay=5.3, polarity=-1, snr_db=40, seconds=6
    )
    return pair


@pytest.mark.parametrize("rate", [RATE, RATE // 2])
def test_a_long_recording_is_read_as_a_short_one_into_one_array(rate, in_blocks, tmp_path):
    """Blocks that were joined at the end took twice the memory of an hour."""
    path = tmp_path / "long.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(60 * rate), rate)
    whole, _ = read_audio(path, RATE)
    in_blocks()
    tracemalloc.start()
    read = read_pair({"air": path}, RATE, {}, single_if_long=True)["air"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    samples = read.samples
    assert read.own_rate == rate
    np.testing.assert_allclose(samples, whole, atol=1e-6)
    assert samples.dtype == np.float32
    assert peak < 1.6 * samples.nbytes


def test_the_noise_floor_of_blocks_is_that_of_the_whole(pair, in_blocks):
    air, bone = torch.from_numpy(pair.air), torch.from_numpy(pair.bone)
    whole = estimate_noise_floor(air, bone, RATE, frame_size(RATE))
    in_blocks()
    lazy = [LazySignal.of(channel) for channel in (pair.air, pair.bone)]
    blocks = estimate_noise_floor(lazy[0], lazy[1], RATE, frame_size(RATE))
    assert whole.from_pauses
    assert blocks.pause_seconds == whole.pause_seconds
    torch.testing.assert_close(blocks.psd, whole.psd, rtol=1e-9, atol=0)


@pytest.mark.parametrize("ppm", [0, 120])
def test_a_long_pair_is_aligned_as_a_short_one(pair, in_blocks, ppm):
    bone = signal.resample(pair.bone, round(len(pair.bone) * (1 + 1e-6 * ppm)))
    pair = replace(pair, air=0.02 + pair.air, bone=bone - 0.01)
    (whole,), polarity = align([pair], RATE)
    in_blocks()
    (blocks,), other = align([pair], RATE)
    assert isinstance(whole.air, torch.Tensor)
    assert isinstance(blocks.air, LazySignal)
    assert other == polarity == -1
    assert blocks.drift_ppm == pytest.approx(whole.drift_ppm, abs=1e-3)
    assert blocks.delay_s == pytest.approx(whole.delay_s, abs=1e-9)
    assert blocks.level_db == pytest.approx(whole.level_db, abs=1e-5)
    torch.testing.assert_close(blocks.air[:], whole.air, rtol=0, atol=1e-9)
    # A delay by an FFT of the whole lets what is next to half the rate ring round its ends.
    torch.testing.assert_close(blocks.bone[:], whole.bone[:], rtol=0, atol=1e-3)
    for found, expected in (
        (blocks.spectra.yy, whole.spectra.yy),
        (blocks.noise_power, whole.noise_power),
        (blocks.spectra.xy.abs(), whole.spectra.xy.abs()),
    ):
        torch.testing.assert_close(found[2:460], expected[2:460], rtol=1e-3, atol=0)


def test_a_jump_in_a_long_pair_is_found_where_it_is(pair, in_blocks):
    bone = np.delete(pair.bone, slice(3 * RATE, 3 * RATE + 900))
    pair = replace(pair, bone=bone)
    whole = measure_timing(pair, RATE)
    in_blocks()
    blocks = measure_timing(pair, RATE)
    assert len(whole.jumps) == 1
    assert blocks.jumps == whole.jumps
    air, bone, place = synchronised_channels(pair, blocks)
    assert len(air) == len(bone)
    places = [place(sample) for sample in range(len(air))]
    np.testing.assert_array_equal(air[:], pair.air[places] - pair.air.mean())


def test_parts_that_are_read_in_pieces_are_joined_as_a_whole():
    rng = np.random.default_rng(0)
    parts = [torch.from_numpy(rng.standard_normal(count)) for count in (300, 50, 400)]
    whole = joined(parts, RATE)
    pieces = [whole[start : start + 37] for start in range(0, 750, 37)]
    torch.testing.assert_close(torch.cat(pieces), whole[:], rtol=0, atol=0)
    assert whole[299:301].abs().max() < 1e-6 < whole[200:202].abs().min()  # silent at a join


def test_a_clock_and_a_delay_are_taken_out_of_blocks_as_of_the_whole(in_blocks):
    rng = np.random.default_rng(0)
    sections = signal.butter(8, 6000, fs=RATE, output="sos")
    samples = signal.sosfilt(sections, rng.standard_normal(4 * RATE))
    samples *= signal.windows.tukey(len(samples), 0.1)
    expected = resample_clock(samples, 150e-6)
    moved = delay_signal(torch.from_numpy(samples)[None], torch.tensor([-3.3]))[0]
    in_blocks()
    resampled = on_clock(LazySignal.of(samples), 150e-6)
    assert len(resampled) == len(expected)
    np.testing.assert_allclose(resampled[:], expected, atol=1e-6)
    found = delayed(LazySignal.of(samples), -3.3)
    assert isinstance(found, LazySignal)
    np.testing.assert_allclose(found[:], moved, atol=1e-5)


def test_a_dropout_in_a_later_block_is_found(pair, in_blocks):
    bone = pair.bone.copy()
    speech = 4 * RATE + int(np.abs(pair.air[4 * RATE : 5 * RATE]).argmax())
    bone[speech : speech + 3200] = 0
    channels = [LazySignal.of(samples) for samples in (bone, pair.air)]
    whole = dropouts(channels[0], channels[1], RATE)
    in_blocks()
    assert dropouts(channels[0], channels[1], RATE) == whole
    assert whole
    assert whole[0].start_s == pytest.approx(speech / RATE, abs=0.05)


def test_a_long_pair_is_simulated_and_analysed_as_a_short_one(pair, in_blocks, monkeypatch):
    (aligned,), _ = align([pair], RATE)
    fitted = fit_mean_sensor([aligned], make_estimator("speech-classes"))
    whole = speech_frames(aligned, fitted.profile)
    excess_db = excess_level_db(fitted.profile, [aligned])
    in_blocks()
    monkeypatch.setattr(speech_frames_module, "LEVELS_AT_ONCE", 100)
    lazy = replace(aligned, air=LazySignal.of(aligned.air[:]), bone=LazySignal.of(aligned.bone[:]))
    blocks = speech_frames(lazy, fitted.profile)
    for name in ("levels_db", "bone_db", "fixed_db"):
        found, expected = getattr(blocks, name), getattr(whole, name).float()
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert blocks.active.equal(whole.active)
    assert excess_level_db(fitted.profile, [lazy]) == pytest.approx(excess_db, abs=0.02)


@pytest.mark.parametrize("name", list(SPEECH_RESPONSES))
def test_every_speech_dependent_part_is_learnt_from_single_precision(name, pair, in_blocks):
    """Levels of long recordings are single; speech-classes ended in an error after their hour."""
    (aligned,), _ = align([pair], RATE)
    prior = fit_mean_sensor([aligned], make_estimator(name)).profile
    in_blocks()
    lazy = replace(aligned, air=LazySignal.of(aligned.air[:]), bone=LazySignal.of(aligned.bone[:]))
    frames = frames_to_learn_from([lazy], prior)[0]
    assert frames.levels_db.dtype == torch.float32
    short = replace(frames, name="short", levels_db=frames.levels_db.double())
    for given in (None, prior.speech):
        for learnt_from in ([frames], [frames, short]):
            speech = make_estimator(name).speech(learnt_from, RATE, given)
            assert speech is not None
            assert speech.gains_db(frames.levels_db[None]).isfinite().all()


def test_of_many_frames_evenly_spread_ones_are_learnt_from(pair, monkeypatch):
    (aligned,), _ = align([pair], RATE)
    fitted = fit_mean_sensor([aligned], make_estimator("power-ratio"))
    frames = speech_frames(aligned, fitted.profile)
    assert thinned([frames, frames])[0].active.equal(frames.active)
    monkeypatch.setattr(speech_frames_module, "MOST_FRAMES", 100)
    kept = [int(own.active.sum()) for own in thinned([frames, frames])]
    assert kept[0] == kept[1]
    assert 40 <= kept[0] <= 50


def test_frames_that_nothing_is_learnt_from_are_never_held(pair, in_blocks, monkeypatch):
    """Of an hour, the levels of all frames with speech took 160 MB beside those of a sixth."""
    (aligned,), _ = align([pair], RATE)
    fitted = fit_mean_sensor([aligned], make_estimator("power-ratio"))
    lazy = replace(aligned, air=LazySignal.of(aligned.air[:]), bone=LazySignal.of(aligned.bone[:]))
    monkeypatch.setattr(speech_frames_module, "MOST_FRAMES", 100)
    for prepare in (lambda: None, in_blocks):
        prepare()
        monkeypatch.setattr(speech_frames_module, "LEVELS_AT_ONCE", 100)
        expected = thinned([speech_frames(lazy, fitted.profile)] * 2)[0]
        found = frames_to_learn_from([lazy, lazy], fitted.profile)[0]
        for name in ("levels_db", "fixed_db", "bone_db", "active"):
            assert getattr(found, name).equal(getattr(expected, name)), name


def some_frames(count: int, seed: int) -> SpeechFrames:
    """Return noise in the place of levels, two thirds of it with speech."""
    rng = np.random.default_rng(seed)
    active = torch.from_numpy(rng.uniform(size=count) < 2 / 3)
    levels, fixed, bone = (
        torch.from_numpy(rng.standard_normal((size, 40)))
        for size in (count, int(active.sum()), int(active.sum()))
    )
    noise, recorded = torch.full((40,), -60.0), torch.ones(40, dtype=torch.bool)
    return SpeechFrames(None, str(seed), levels, fixed, bone, noise, active, recorded)


class Largest(TorchDispatchMode):
    """Notes the size in bytes of the largest tensor that anything makes."""

    num_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor):
            self.num_bytes = max(self.num_bytes, found.numel() * found.element_size())
        return found


def test_a_network_learns_without_the_contexts_of_all_frames_in_memory(monkeypatch):
    """They are nine times the levels, and an hour's were held twice: 300 MB."""
    monkeypatch.setattr(band_gain_network, "MIN_STEPS", 2)
    frames = [some_frames(4000, seed) for seed in range(2)]
    with Largest() as largest:
        estimator = band_gain_network.BandGainNetwork(members=1, width=4, passes=0)
        estimator.speech(frames, RATE, None)
    assert largest.num_bytes <= sum(own.levels_db.nbytes for own in frames)


@pytest.mark.parametrize("num_steps", [2, 40])
def test_a_network_is_trained_as_by_torch_itself(num_steps):
    """To the bit; the optimizer of torch imports its compiler, which took 114 MB of memory."""
    start = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    own, other = (start.clone().requires_grad_() for _ in range(2))
    adam = band_gain_network._OneCycleAdam([own], 2e-3)
    expected = torch.optim.Adam([other], lr=2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        expected, 2e-3, total_steps=num_steps + 1, pct_start=0.1
    )
    for step in range(num_steps):
        adam.update(torch.autograd.grad(own.square().sum(), [own]), step, num_steps)
        expected.zero_grad()
        other.square().sum().backward()
        expected.step()
        schedule.step()
    assert own.equal(other)


def test_the_contexts_of_frames_stay_within_their_recording():
    frames = [some_frames(30, seed) for seed in range(3)]
    contexts = band_gain_network._Contexts.of(frames)
    expected = [
        own.levels_db[(frame + torch.tensor(OFFSETS)).clamp(0, 29)].flatten()
        for own in frames
        for frame in torch.nonzero(own.active)[:, 0]
    ]
    found = contexts[torch.arange(len(expected))]
    assert found.equal(torch.stack(expected))
    for values, own in zip(contexts.mean_and_std(), (found.mean(0), found.std(0)), strict=True):
        torch.testing.assert_close(values, own)


def test_thinned_frames_keep_what_belongs_to_them():
    frames = some_frames(50, 0)
    few = frames.thinned(4)
    kept = torch.nonzero(frames.active)[3::4, 0]
    assert torch.nonzero(few.active)[:, 0].equal(kept)
    assert few.fixed_db.equal(frames.fixed_db[3::4])
    assert few.bone_db.equal(frames.bone_db[3::4])


def test_the_search_by_envelopes_holds_one_band_at_a_time():
    """Of an hour, arrays of all bands at once took 300 MB beside the recordings."""
    rng = np.random.default_rng(0)
    bands = rng.standard_normal((11, 20_000)).astype(np.float32)
    tracemalloc.start()
    _, place, lag, _ = envelopes._search(bands, bands, 5000, 7000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (place, lag) == (6000, 0)
    # What is kept: a spectrum (as long as the bands) and a running sum in double precision.
    assert peak < 6 * bands.nbytes
