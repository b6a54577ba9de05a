"""Every defect that a recording can have is named, and a good recording is left in peace."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soxr

from bcsim.errors import InputError
from bcsim.fitting.alignment.timing import measure_timing
from bcsim.fitting.diagnosis.diagnose import diagnose, examine
from bcsim.fitting.fit import fit_pairs
from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000
REFUSED = {"swapped", "identical", "unrelated", "silent"}

Spoil = Callable[[RecordedPair, RecordedPair], RecordedPair]


def cut(pair: RecordedPair, air: np.ndarray, bone: np.ndarray) -> RecordedPair:
    length = min(len(air), len(bone))
    return replace(pair, air=air[:length], bone=bone[:length])


def pcm16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(32768 * samples), -32768, 32767) / 32768


def clipped(samples: np.ndarray, share: float = 0.01) -> np.ndarray:
    limit = np.quantile(np.abs(samples), 1 - share)
    return pcm16(np.clip(samples, -limit, limit))


def interrupted(samples: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the samples with 0.2 s of nothing where the other channel is loudest."""
    loudest = int(np.convolve(other**2, np.ones(3200), "valid").argmax())
    gapped = samples.copy()
    gapped[loudest : loudest + 3200] = 0
    return gapped


def on_another_clock(samples: np.ndarray, drift: float) -> np.ndarray:
    return signal.resample(samples, round(len(samples) * (1 + drift)))


def without(samples: np.ndarray, start: int, count: int) -> np.ndarray:
    return np.delete(samples, np.s_[start : start + count])


def narrow(samples: np.ndarray) -> np.ndarray:
    return soxr.resample(soxr.resample(samples, RATE, RATE // 2), RATE // 2, RATE)[: len(samples)]


def rumbling(samples: np.ndarray) -> np.ndarray:
    low = signal.butter(8, 120, fs=RATE, output="sos")
    noise = signal.sosfilt(low, np.random.default_rng(4).standard_normal(len(samples)))
    return samples + 10 ** (-10 / 20) * noise * samples.std() / noise.std()


DEFECTS: dict[str, tuple[str, Spoil]] = {
    "roles swapped": ("swapped", lambda p, _: replace(p, air=p.bone, bone=p.air)),
    "air twice": ("identical", lambda p, _: replace(p, bone=p.air)),
    "bone twice": ("identical", lambda p, _: replace(p, air=p.bone)),
    "air again, quieter, inverted, later, rounded": (
        "identical",
        lambda p, _: cut(p, p.air, np.concatenate([np.zeros(400), pcm16(-0.3 * p.air)])),
    ),
    "another recording's bone": ("unrelated", lambda p, other: cut(p, p.air, other.bone)),
    "silent bone": ("silent", lambda p, _: replace(p, bone=np.zeros_like(p.bone))),
    "silent air": ("silent", lambda p, _: replace(p, air=np.zeros_like(p.air))),
    "bone holds noise only": (
        "silent",
        lambda p, _: replace(
            p, bone=1e-4 * np.random.default_rng(3).standard_normal(len(p.bone))
        ),
    ),
    "50 ms late": (
        "offset", lambda p, _: cut(p, p.air, np.concatenate([np.zeros(800), p.bone])),
    ),
    "50 ms early": ("offset", lambda p, _: cut(p, p.air, p.bone[800:])),
    "air clipped": ("clipping", lambda p, _: replace(p, air=clipped(p.air))),
    "bone clipped": ("clipping", lambda p, _: replace(p, bone=clipped(p.bone))),
    "air interrupted": ("dropout", lambda p, _: replace(p, air=interrupted(p.air, p.bone))),
    "bone interrupted": ("dropout", lambda p, _: replace(p, bone=interrupted(p.bone, p.air))),
    "300 ppm": ("drift", lambda p, _: cut(p, p.air, on_another_clock(p.bone, 300e-6))),
    "-300 ppm": ("drift", lambda p, _: cut(p, p.air, on_another_clock(p.bone, -300e-6))),
    "a lost buffer": (
        "jump", lambda p, _: cut(p, p.air, without(p.bone, len(p.bone) // 2, 320)),
    ),
    "air was at 8 kHz": ("band", lambda p, _: replace(p, air=narrow(p.air))),
    "bone was at 8 kHz": ("band", lambda p, _: replace(p, bone=narrow(p.bone))),
    "rumble on bone": ("rumble", lambda p, _: replace(p, bone=rumbling(p.bone))),
    "rumble on air": ("rumble", lambda p, _: replace(p, air=rumbling(p.air))),
    "DC": ("dc", lambda p, _: replace(p, bone=p.bone + 0.034)),
}  # fmt: skip


def kinds_of(pairs: list[RecordedPair]) -> list[set[str]]:
    return [{finding.kind for finding in found.findings} for found in diagnose(pairs, RATE)]


@pytest.fixture(scope="module", autouse=True)
def examined():
    """Return `examine`, which looks at each pair once, whoever asks: half of the time goes there.

    What it says of a pair, it says without the others. Good pairs stand beside every bad one, and
    each bad one is seen alone and among them.
    """
    once = functools.cache(examine)
    with pytest.MonkeyPatch.context() as patched:
        for user in ("bcsim.fitting.diagnosis.diagnose", "bcsim.fitting.fit"):
            patched.setattr(f"{user}.examine", once)
        yield once


@pytest.fixture(scope="module")
def pairs(systems) -> list[RecordedPair]:
    recorded = systems.recorded(
        systems.two_mass(RATE), RATE, count=4, delay=-7.2, polarity=-1, snr_db=40, seconds=6
    )
    noise = np.random.default_rng(8).standard_normal(len(recorded[0].air))
    return [replace(pair, air=pair.air + 1e-4 * noise) for pair in recorded]


@pytest.fixture(scope="module")
def spoiled(pairs) -> Callable[[str], RecordedPair]:
    return functools.cache(lambda name: DEFECTS[name][1](pairs[1], pairs[2]))


def test_good_pairs_pass(pairs):
    assert kinds_of(pairs) == [set()] * 4
    for pair in pairs:
        assert kinds_of([pair]) == [set()]


@pytest.mark.parametrize("name", list(DEFECTS))
def test_a_defect_is_named_alone_and_among_good_pairs(name, pairs, spoiled):
    (kind, _), bad = DEFECTS[name], spoiled(name)
    (alone,) = diagnose([bad], RATE)
    first, among, last = diagnose([pairs[0], bad, pairs[2]], RATE)
    for diagnosis in (alone, among):
        assert {finding.kind for finding in diagnosis.findings} == {kind}
        assert diagnosis.verdict == ("unusable" if kind in REFUSED else "warning")
    assert first.findings == last.findings == ()


def test_an_inverted_pair_is_told_from_the_others(pairs):
    bad = replace(pairs[1], bone=-pairs[1].bone)
    assert kinds_of([pairs[0], bad, *pairs[2:]]) == [set(), {"inverted"}, set(), set()]
    assert kinds_of([bad]) == [set()]  # alone, it may well be the sensor's
    assert kinds_of([replace(pair, bone=-pair.bone) for pair in pairs]) == [set()] * 4


def test_swapped_roles_need_no_good_pair_to_be_seen(pairs):
    swapped = [replace(pair, air=pair.bone, bone=pair.air) for pair in pairs]
    assert kinds_of(swapped) == [{"swapped"}] * 4


@pytest.mark.parametrize("rumble_db", [-10.0, 0.0])
def test_noise_of_a_sensor_that_stops_with_the_speech_is_no_treble(systems, rumble_db):
    """Muted pauses of rumble alone: of 40 short clips, one was called swapped."""
    generator = np.random.default_rng(3)
    air = systems.speech_like(2, RATE, 3.0)
    air = signal.lfilter(*signal.butter(2, 1200, fs=RATE), air) + 0.02 * air
    bone = signal.lfilter(*signal.butter(4, 700, fs=RATE), air)
    bone = bone + 0.3 * bone.std() * generator.standard_normal(len(bone))
    low = signal.butter(2, 150, fs=RATE, output="sos")
    channels = []
    for speech in (air, bone):
        rumble = signal.sosfilt(low, generator.standard_normal(len(speech) + RATE))
        rumble *= 10 ** (rumble_db / 20) * speech.std() / rumble.std()
        channels.append(np.concatenate([speech, np.zeros(RATE)]) + rumble)
    assert examine(RecordedPair("muted", *channels), RATE).refusal is None


def test_findings_say_where_and_how_much(pairs):
    def only(pair: RecordedPair) -> Any:
        ((finding,),) = (found.findings for found in diagnose([pair], RATE))
        return finding

    clipping = only(replace(pairs[0], air=clipped(pairs[0].air)))
    assert clipping.channel == "air"
    assert "1 %" in clipping.text
    gapped = interrupted(pairs[0].bone, pairs[0].air)
    dropout = only(replace(pairs[0], bone=gapped))
    start_s = np.flatnonzero(gapped == 0)[0] / RATE
    assert dropout.channel == "bone"
    assert dropout.time_s == pytest.approx(start_s, abs=0.03)
    jump = only(DEFECTS["a lost buffer"][1](pairs[0], pairs[1]))
    assert "-20.0 ms" in jump.text
    offset = only(DEFECTS["50 ms late"][1](pairs[0], pairs[1]))
    assert "49.6 ms after air" in offset.text  # for bone led by 0.45 ms


@pytest.mark.parametrize("name", [n for n, (kind, _) in DEFECTS.items() if kind in REFUSED])
def test_what_the_doctor_calls_unusable_is_not_fitted(name, spoiled, examined):
    bad = spoiled(name)
    with pytest.raises(InputError) as error:
        fit_pairs([bad], RATE, estimator="power-ratio")
    refusal = examined(bad, RATE).refusal
    assert refusal is not None
    assert refusal.text in str(error.value)


def test_a_noisy_sensor_is_worth_a_warning_and_no_refusal(systems):
    (pair,) = systems.recorded(systems.two_mass(RATE), RATE, count=1, snr_db=3, seconds=6)
    (found,) = diagnose([pair], RATE)
    assert {"noisy"} <= {finding.kind for finding in found.findings} <= {"noisy", "incoherent"}
    assert found.verdict == "warning"


@pytest.fixture(scope="module")
def throat(shared) -> list[RecordedPair]:
    from bcsim.datasets.recordings import read_recordings

    folder = shared / "data" / "vibravox_throat"
    return read_recordings(folder / "air", folder / "bone", RATE)[0]


@pytest.mark.shared
def test_sixteen_good_throat_pairs_pass(throat):
    assert kinds_of(throat) == [set()] * 16
    assert all(kinds_of([pair]) == [set()] for pair in throat[::3])


@pytest.mark.shared
@pytest.mark.parametrize("name", [name for name in DEFECTS if name != "a lost buffer"])
def test_a_defect_of_a_throat_pair_is_named(name, throat):
    kind, spoil = DEFECTS[name]
    for index in (0, 13):
        pair = throat[index]
        assert kinds_of([spoil(pair, throat[(index + 7) % 16])]) == [{kind}], pair.name


@pytest.mark.shared
@pytest.mark.parametrize("index", [1, 4, 7])
def test_an_inverted_throat_pair_is_named_and_no_other(index, throat):
    pairs = throat[::2]
    pairs[index] = replace(pairs[index], bone=-pairs[index].bone)
    expected: list[set[str]] = [set()] * 8
    expected[index] = {"inverted"}
    assert kinds_of(pairs) == expected


@pytest.mark.parametrize("role", ["air", "bone"])
@pytest.mark.parametrize("start_s", [0.4, 1.5, 3.6])
def test_a_dropout_is_no_jump(role, start_s, pairs):
    for pair in pairs:
        samples = getattr(pair, role).copy()
        samples[round(start_s * RATE) : round((start_s + 0.2) * RATE)] = 0
        (found,) = kinds_of([replace(pair, **{role: samples})])
        assert found <= {"dropout"}, pair.name


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "start_s"), [("c_11", 0.57), ("a_19", 2.4), ("g_03", 3.8), ("c_12", 1.0)]
)
def test_a_dropout_of_a_throat_pair_is_no_jump(name, start_s, throat):
    """Three of these were taken for jumps of up to 195 ms, and their half was thrown away."""
    (pair,) = (pair for pair in throat if pair.name == name)
    start = round(start_s * RATE)
    bone = pair.bone.copy()
    bone[start : start + 3200] = 0
    kept = measure_timing(replace(pair, bone=bone), RATE)
    assert kept.jumps == ()
    assert (kept.start, kept.stop) == (0, min(len(pair.air), len(bone)))


@pytest.mark.parametrize("role", ["air", "bone"])
def test_samples_far_beyond_full_scale_are_refused(role, pairs, examined):
    bad = replace(pairs[0], **{role: 1e30 * getattr(pairs[0], role)})
    refusal = examined(bad, RATE).refusal
    assert refusal is not None
    assert "full scale is 1" in refusal.text
    with pytest.raises(InputError, match="full scale is 1"):
        fit_pairs([bad], RATE, estimator="power-ratio")
    loud = replace(pairs[0], **{role: 100 * getattr(pairs[0], role)})
    assert examine(loud, RATE).refusal is None


@pytest.mark.shared
def test_one_inverted_of_three_throat_pairs_is_named(throat):
    """Pairs that say little of each other's sign: f_13 was once outvoted."""
    first, *others = (
        pair for name in ("f_13", "g_03", "e_17") for pair in throat if pair.name == name
    )
    assert kinds_of([replace(first, bone=-first.bone), *others]) == [{"inverted"}, set(), set()]


@pytest.mark.shared
def test_a_pair_that_was_once_at_8_khz_is_not_called_swapped_by_the_treble_that_is_left(throat):
    """Of one third-octave, from 2.2 kHz, this talker has more on the throat than in the air."""
    (pair,) = (pair for pair in throat if pair.name == "a_01")
    once = replace(pair, air=narrow(pair.air), bone=narrow(pair.bone))
    assert examine(once, RATE).refusal is None


@pytest.mark.shared
def test_swapped_roles_are_told_at_8_khz(throat):
    once = replace(throat[0], air=narrow(throat[0].bone), bone=narrow(throat[0].air))
    refusal = examine(once, RATE).refusal
    assert refusal is not None
    assert refusal.kind == "swapped"
