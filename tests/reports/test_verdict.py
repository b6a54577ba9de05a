"""A verdict: better only where the intervals of both STOI and ESTOI say so."""

import dataclasses

import pytest

from bcsim.reports.verdict import Difference, Evidence, verdict_on

GAIN, LOSS = Difference(0.05, (0.02, 0.08)), Difference(-0.05, (-0.08, -0.02))
UNSURE, UNKNOWN = Difference(0.02, (-0.01, 0.05)), Difference(0.02, None)


def both(stoi, estoi=None):
    return {"stoi": stoi, "estoi": estoi or stoi}


FOUND = Evidence(
    over={"unprocessed": both(GAIN), "inverse": both(GAIN)},
    unprocessed_stoi=0.7,
    likeness_db=2.0,
    level_db=1.0,
    num_dead=0,
    num_recordings=16,
    num_talkers=7,
    num_steps=240,
    has_corpus=True,
)


@pytest.mark.parametrize(
    ("unprocessed", "inverse", "light"),
    [
        (both(GAIN), both(GAIN), "green"),
        (both(GAIN), both(UNSURE), "amber"),
        (both(GAIN), both(GAIN, LOSS), "amber"),
        (both(GAIN, UNSURE), both(GAIN), "grey"),
        (both(UNKNOWN), both(GAIN), "grey"),
        (both(LOSS), both(GAIN), "grey"),
    ],
)
def test_better_means_that_the_whole_interval_is(unprocessed, inverse, light):
    over = {"unprocessed": unprocessed, "inverse": inverse}
    verdict = verdict_on(dataclasses.replace(FOUND, over=over))
    assert verdict.light == light
    begins = "Not better than unprocessed" if light == "grey" else "Better than unprocessed"
    if unprocessed["stoi"] is LOSS:
        begins = "Worse than unprocessed"
    assert verdict.headline.startswith(begins)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, "16 held-out recordings of 7 talkers."),
        (0.25, "applies 0.25 of every change, with which it is no worse."),
        (0.0, "gives the signal back as it is."),
        (None, "Do not use it."),
    ],
)
def test_what_is_kept_of_an_enhancer_that_is_worse_is_said_at_once(share, said):
    worse = dataclasses.replace(FOUND, over={"unprocessed": both(LOSS)})
    assert verdict_on(worse, share).headline.endswith(said)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"likeness_db": 25.0}, "the output is nearly the input"),
        ({"unprocessed_stoi": 0.97}, "nearly clean speech as it is"),
        ({"level_db": -15.0}, "\N{MINUS SIGN}15 dB from the level of clean speech"),
        ({"num_dead": 2}, "the output of 2 recordings is silent"),
        ({"num_steps": 20}, "20 steps, which are hardly a beginning"),
        ({"num_recordings": 3}, "3 recordings cannot tell"),
    ],
)
def test_what_explains_that_nothing_was_gained_is_said(changed, said):
    none = {"over": {"unprocessed": both(UNSURE)}}
    assert not any(said in line for line in verdict_on(dataclasses.replace(FOUND, **none)).reasons)
    verdict = verdict_on(dataclasses.replace(FOUND, **none, **changed))
    assert any(said in line for line in verdict.reasons)


def test_advice_asks_for_what_is_missing():
    few = dataclasses.replace(FOUND, num_talkers=4, has_corpus=False)
    advice = verdict_on(few).advice
    assert any("record 2 more talkers" in line for line in advice)
    assert any("give a folder of air speech" in line for line in advice)
    assert verdict_on(FOUND).advice == ()
    short = verdict_on(dataclasses.replace(FOUND, num_steps=20))
    assert short.advice == ("give the trainings more time",)


def test_parts_are_told_by_what_they_add():
    over = {**FOUND.over, "real": both(UNSURE), "simulation": both(GAIN)}
    reasons = verdict_on(dataclasses.replace(FOUND, over=over)).reasons
    assert any("the simulated pairs bring nothing that can be told" in line for line in reasons)
    assert any(line.startswith("the recorded pairs bring STOI") for line in reasons)
    over = {**FOUND.over, "real": {"stoi": UNSURE, "estoi": GAIN}}
    (reason,) = verdict_on(dataclasses.replace(FOUND, over=over)).reasons
    assert reason.startswith("the simulated pairs bring ESTOI +")
    assert "; nothing that can be told: STOI" in reason
    over = {**FOUND.over, "real": both(GAIN), "start": both(GAIN)}
    reasons = verdict_on(dataclasses.replace(FOUND, over=over)).reasons
    assert [line.partition(" bring")[0] for line in reasons] == [
        "the given weights",
        "the recorded pairs",
    ]


@pytest.mark.parametrize("difference", [GAIN, LOSS])
def test_four_recordings_tell_neither_better_nor_worse(difference):
    """Of two, the demo's network was called worse, by an interval that two values made."""
    over = {"unprocessed": both(difference), "inverse": both(difference)}
    verdict = verdict_on(dataclasses.replace(FOUND, over=over, num_recordings=4))
    assert verdict.light == "grey"
    assert verdict.headline.startswith("Too few recordings to tell better from worse: STOI")
    assert any("cannot tell a small gain" in reason for reason in verdict.reasons)
