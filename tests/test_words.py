"""The code speaks the field's language: words of our own, which the field has others for, are gone.

The table is in docs/design.md of the development notes; here is what of it can be searched for.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("bcsim", "cli", "recipes", "docs", "benchmarks")
FILES = [
    *(path for place in PLACES for path in sorted((ROOT / place).rglob("*"))),
    *ROOT.glob("*.md"),
]
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in FILES
    if path.suffix in (".py", ".md", ".yaml", ".html")
}

# What is searched for, and the field's word for it.
WORDS = {
    # `stretches` is what a phase vocoder does to time, and a key of the effect time_mask
    r"(?i)\bstretch(?!ed|ing)(es)?\b": "segment, chunk",
    r"\breach_\w+|\w+_reach\b|REACH|\breach(\(| =)|\.reach\b": "receptive_field, look_ahead",
    r"\b([Bb]oth|[Oo]ther|[Tt]wo|[Ee]ither) players?\b": "generator, discriminator",
    r"is_heard|\bheard_at\b": "adversarial loss active",
    r"as_wished": "the score of real data",
    r"\b[Jj]udges?\b": "best-model tracker; evaluate, compare, score",
    r"\bPace\b|\bpace\b *[:=]|\bpace\.(?!jsonl)\w+": "throughput",
    r"\bleads\(\)": "is_main_process",
    r"(?<!of )\b_?[Cc]ourse\b": "trajectory",
    r"\bshocks?\b": "innovations",
    r"\bmemory: float\b|\.rise_db\b|\.memory\b": "ar_coefficient, level_correction_db",
    r"\b[Ff]luctuations?\b(?!:)|\bMoving\b": "within-clip variation",
    r"\bloose\b": "unsynchronised",
    r"heard[_ ]bins|\bheard: (Tensor|\(F)": "bins above noise",
    r"\bfinished\(": "smoothed_response",
    r"units_of|\bunit of a fold\b": "fold items",
    r"\b_?accounts?\b(?! for)|\b_account_": "metadata of a dataset",
    r"\b[Ff]oreign\b": "untrusted; of something else than bcsim",
    r"\b[Cc]ontainment\b": "worker limits",
    r"\bdemand\w*\(|\bmust_\w+\(|\brefuse_\w+\(|\brequire(_\w+)?\(": "check_..., is_...",
    r"(sensor|microphone)( then)? hears": "picks up",
    r"\b[Ll]ikewise\b": "a whole noun phrase",
}
# Where a word has its ordinary meaning: a key that recipes have, or what the field calls so.
ALLOWED = {
    ("bcsim/effects/time_mask.py", "stretches"),  # the name of a parameter, in recipes
    ("bcsim/effects/pitch.py", "stretches"),
    ("bcsim/effects/distributions.py", "fluctuation"),  # a key of recipes
}


def found(pattern: str) -> list[str]:
    """Say where a pattern occurs: file, line and word."""
    return [
        f"{path}:{number}: {match[0]}"
        for path, text in TEXTS.items()
        for number, line in enumerate(text.splitlines(), 1)
        for match in re.finditer(pattern, line)
        if (path, match[0]) not in ALLOWED
    ]


@pytest.mark.parametrize("pattern", WORDS)
def test_a_word_of_our_own_has_given_way_to_that_of_the_field(pattern):
    assert found(pattern) == [], f"the field says: {WORDS[pattern]}"
