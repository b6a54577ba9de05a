"""The verdict on an enhancer: better or not better than no enhancer, why, and what to do next."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bcsim.metrics import METRICS
from bcsim.reports.html import signed

DECIDING = ("stoi", "estoi")
NEARLY_CLEAN_STOI = 0.95
NEARLY_INPUT_DB = 20.0  # SI-SDR of the output against the input
LEVEL_DB = 10.0
FEW_RECORDINGS, FEW_TALKERS, FEW_STEPS = 8, 6, 100
LEAST_RECORDINGS = 5  # all of them better by chance: once in 32 times

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences between two signals' scores.

    Args:
        mean: mean over recordings, or None where none has the score.
        interval: 95 % interval over talkers and recordings, or None where it is not known.
    """

    mean: float | None
    interval: Interval

    def is_above(self, least: float = 0.0) -> bool:
        """Tell whether the whole interval is above a value."""
        return self.interval is not None and self.interval[0] > least

    def is_below(self) -> bool:
        """Tell whether the whole interval is below 0."""
        return self.interval is not None and self.interval[1] < 0

    @property
    def text(self) -> str:
        """The mean and its interval, as shown."""
        if self.mean is None:
            return "not measured"
        if self.interval is None:
            return signed(self.mean, 3)
        low, high = (signed(end, 3) for end in self.interval)
        return f"{signed(self.mean, 3)} ({low} to {high})"


@dataclass(frozen=True)
class Verdict:
    """What is to be said of an enhancer first.

    Args:
        light: "green" if it is better than unprocessed and than the inverse response, "amber" if
            than unprocessed alone, "grey" if that does not show.
        headline: the verdict in one sentence.
        reasons: what was found that explains it.
        advice: what to do next.
    """

    light: Literal["green", "amber", "grey"]
    headline: str
    reasons: Sequence[str]
    advice: Sequence[str]

    def facts(self) -> dict[str, Any]:
        """Return the verdict as JSON holds it."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}


@dataclass(frozen=True)
class Evidence:
    """What a verdict follows from.

    Args:
        over: differences of the enhancer to each other signal, by its name and by metric.
        unprocessed_stoi: mean STOI of the sensor's signal.
        likeness_db: median SI-SDR of the output against the sensor's signal, in dB.
        level_db: median level of the output relative to that of clean speech, in dB.
        num_dead: number of recordings whose output is silent or not finite.
        num_recordings: number of recordings that were held out.
        num_talkers: number of known talkers, 0 where none is; None where they do not matter.
        num_steps: number of training steps.
        has_corpus: whether there was air speech to simulate.
        num_warmup_steps: number of these steps over which the learning rate rose.
        material: what the recordings are called.
    """

    over: Mapping[str, Mapping[str, Difference]]
    unprocessed_stoi: float | None
    likeness_db: float
    level_db: float
    num_dead: int
    num_recordings: int
    num_talkers: int | None
    num_steps: int
    has_corpus: bool
    num_warmup_steps: int = 0
    material: str = "held-out recordings"


def verdict_on(found: Evidence, share_kept: float | None = 1.0) -> Verdict:
    """Return the verdict, by STOI and ESTOI: both have to gain for an enhancer to be better.

    Args:
        found: what was measured on recordings that the enhancer was not trained on, with
            differences to "unprocessed" and, where there is one, to "inverse". Of fewer than five
            no interval can be trusted.
        share_kept: part of its changes that an enhancer that was worse than unprocessed is kept
            with, so that it is worse no longer; None if it cannot be told to do less.
    """
    over = found.over["unprocessed"]
    told = f"{_gains(over)} on {_recordings(found)}"
    if found.num_recordings < LEAST_RECORDINGS or not _is_better(over):
        headline = f"{_no_better(found)}: {told}.{_kept(share_kept)}"
        return Verdict("grey", headline, _reasons(found), _advice(found))
    inverse = found.over.get("inverse")
    if inverse is not None and not _is_better(inverse):
        headline = (
            f"Better than unprocessed ({told}), but not better than the inverse response, which "
            f"needs no network: {_gains(inverse)} over it."
        )
        return Verdict("amber", headline, _reasons(found), _advice(found))
    also = "" if inverse is None else " and than the inverse response"
    return Verdict("green", f"Better than unprocessed{also}: {told}.", _parts(found), _more(found))


def verdict_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return the lines that a command prints for the facts of a verdict (`Verdict.facts`)."""
    return [facts["headline"], *(f"- {line}" for line in (*facts["reasons"], *facts["advice"]))]


def _no_better(found: Evidence) -> str:
    if found.num_recordings < LEAST_RECORDINGS:
        return "Too few recordings to tell better from worse"
    over = found.over["unprocessed"]
    is_worse = any(name in over and over[name].is_below() for name in DECIDING)
    return f"{'Worse' if is_worse else 'Not better'} than unprocessed"


def _kept(share: float | None) -> str:
    """Return what is kept of an enhancer that was worse than unprocessed; empty of another."""
    if share is None:
        return " Do not use it."
    if share == 0:
        return " What is kept gives the signal back as it is."
    if share < 1:
        return f" What is kept applies {share:g} of every change, with which it is no worse."
    return ""


def _is_better(over: Mapping[str, Difference]) -> bool:
    return all(name in over and over[name].is_above() for name in DECIDING)


def _gains(over: Mapping[str, Difference]) -> str:
    return ", ".join(f"{METRICS[n].label} {over[n].text}" for n in DECIDING if n in over)


def _recordings(found: Evidence) -> str:
    talkers = f" of {found.num_talkers} talkers" if found.num_talkers else ""
    return f"{found.num_recordings} {found.material}{talkers}"


def _reasons(found: Evidence) -> tuple[str, ...]:
    """Return why an enhancer is probably no better."""
    told = []
    if found.num_dead:
        told.append(f"the output of {found.num_dead} recordings is silent or not finite")
    if found.unprocessed_stoi is not None and found.unprocessed_stoi >= NEARLY_CLEAN_STOI:
        stoi = f"{found.unprocessed_stoi:.3f}"
        told.append(f"the sensor's signal is nearly clean speech as it is: its STOI is {stoi}")
    if found.likeness_db >= NEARLY_INPUT_DB:
        told.append(f"the output is nearly the input: their SI-SDR is {found.likeness_db:.0f} dB")
    if abs(found.level_db) >= LEVEL_DB:
        told.append(f"the output is {signed(found.level_db, 0)} dB from the level of clean speech")
    if found.num_recordings < FEW_RECORDINGS:
        told.append(f"{found.num_recordings} recordings cannot tell a small gain from none")
    if found.num_steps < FEW_STEPS:
        told.append(f"it was trained for {found.num_steps} steps, which are hardly a beginning")
    elif 2 * found.num_warmup_steps >= found.num_steps:
        warmup = f"{min(found.num_warmup_steps, found.num_steps)} of {found.num_steps}"
        told.append(f"{warmup} steps were warm-up, in which it hardly learns")
    return (*told, *_parts(found))


def _parts(found: Evidence) -> tuple[str, ...]:
    """Return what each part of the training brought."""
    told = []
    before = "the given weights" if "start" in found.over else "the simulated pairs"
    parts = {"real": before, "simulation": "the recorded pairs", "start": "the recorded pairs"}
    for name, what in parts.items():
        if name in found.over:
            told.append(f"{what} bring {_brought(found.over[name])}")
    return tuple(told)


def _brought(over: Mapping[str, Difference]) -> str:
    """Return what can be told of the gains by a part, and then what cannot."""
    sure = _gains({name: gain for name, gain in over.items() if gain.is_above()})
    unsure = _gains({name: gain for name, gain in over.items() if not gain.is_above()})
    if not unsure:
        return sure
    nothing = f"nothing that can be told: {unsure}"
    return f"{sure}; {nothing}" if sure else nothing


def _advice(found: Evidence) -> tuple[str, ...]:
    return _more(found) or (
        "nothing here says that more recordings would help; listen to the players first",
    )


def _more(found: Evidence) -> tuple[str, ...]:
    """Return what is missing: recordings, air speech or time."""
    told = []
    if found.num_steps < FEW_STEPS:
        told.append("give the trainings more time")
    if found.num_talkers is None:
        pass
    elif found.num_talkers < 2:
        told.append("record two or more talkers, a folder each: nobody knows yet about others")
    elif found.num_talkers < FEW_TALKERS:
        told.append(f"record {FEW_TALKERS - found.num_talkers} more talkers, half a minute each")
    if not found.has_corpus:
        told.append("give a folder of air speech, from which pairs are simulated")
    return tuple(told)
