"""docs/recordings.md says what the code does: its words, endings and limits are the code's."""

import math
import re
from pathlib import Path

import pytest

from bcsim.audio.averaging import MAX_CANCELLATION_DB, TOLD_CANCELLATION_DB
from bcsim.audio.folder import AUDIO_SUFFIXES
from bcsim.audio.inspection import (
    CLIPPED_SHARE,
    CLIPPED_SHARE_OF_COARSE,
    DC_LEAST,
    DC_SHARE,
    LEAST_RATE_HZ,
    LEAST_STEPS,
    LOWEST_RATE_HZ,
    SHORT_S,
    SHORTEST_S,
    STILL,
)
from bcsim.audio.validation.containers import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.lists import TALKER_COLUMNS
from bcsim.datasets.pair_lists import AIR_COLUMNS, ID_COLUMNS
from bcsim.datasets.pairing import AIR_WORDS, BONE_WORDS
from bcsim.datasets.speaker_names import UNKNOWN_NAMES
from bcsim.datasets.split_names import SPLIT_WORDS
from bcsim.datasets.talkers import FILE_COLUMNS
from bcsim.fitting.alignment.align import LARGEST_DELAY_S, SAME_START_S
from bcsim.fitting.alignment.envelopes import LEAST_OVERLAP_S, MAX_RATE
from bcsim.fitting.alignment.path import LEAST_SIDE_S
from bcsim.fitting.alignment.timing import JUMP_MARGIN_S
from bcsim.fitting.diagnosis.defects import (
    DEAD_DB,
    DEAD_S,
    HELD_IN_PAUSE_S,
    HELD_S,
)
from bcsim.fitting.diagnosis.diagnose import LOW_COHERENCE, NOISY_DB, OFFSET_S
from bcsim.fitting.diagnosis.recognition import COPY_COHERENCE, COPY_DB, SWAPPED_DB
from bcsim.fitting.pairs import MIN_SECONDS
from bcsim.fitting.summary import ENOUGH_PAUSES_S

ROOT = Path(__file__).resolve().parents[1]
TEXT = " ".join((ROOT / "docs/recordings.md").read_text("utf-8").split())


def words_after(start: str, end: str) -> set[str]:
    """Return the words in backticks of a part of the text."""
    part = TEXT[TEXT.index(start) + len(start) :]
    return set(re.findall(r"`([^`]+)`", part[: part.index(end)]))


@pytest.mark.parametrize(
    ("start", "end", "known"),
    [
        ("Words for air:", "Words for bone", AIR_WORDS),
        ("Words for bone:", "Capitals", BONE_WORDS),
        ("Taken from folders:", "1,000", AUDIO_SUFFIXES),
        ("called like a split (", ";", SPLIT_WORDS),
        ("spelled exactly like this:", "; in tables", UNKNOWN_NAMES),
        ("a column of recordings (", ")", FILE_COLUMNS),
        ("and one of talkers (", ", or the only", TALKER_COLUMNS),
        ("commands read as `--pairs rec`:", ". What a source", IMPORTERS),
    ],
)
def test_its_words_are_those_of_the_code(start, end, known):
    if known is IMPORTERS:
        assert set(IMPORTERS) <= words_after(start, end)
    else:
        assert words_after(start, end) == set(known)


@pytest.mark.parametrize(
    "text",
    [
        f"{MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz, 1 to {MAX_CHANNELS} channels",
        f"a number from 1 to {MAX_CHANNELS},",
        f"from {MAX_CANCELLATION_DB:g} dB below what independent channels",
        f"average is {TOLD_CANCELLATION_DB:g} dB below what independent channels would leave | "
        f"{MAX_CANCELLATION_DB:g} dB below; choose",
        f"| under {SHORT_S:g} s, a syllable | under {1e3 * SHORTEST_S:g} ms |",
        f"| below {LEAST_RATE_HZ:,} Hz | below {LOWEST_RATE_HZ:,} Hz:",
        f"within one step of {1 - math.log2(STILL):g} bits",
        f"under {LEAST_STEPS:g} steps of its bits",
        f"{100 * CLIPPED_SHARE:g} % of the samples at the peak; of 8 bits "
        f"{100 * CLIPPED_SHARE_OF_COARSE:g} %",
        f"A pair needs {MIN_SECONDS:g} s",
        f"under {MIN_SECONDS:g} s | no |",
        f"{ENOUGH_PAUSES_S:g} s of pauses in all",
        f"| {1e3 * OFFSET_S:g} ms |",
        f"less than {LEAST_OVERLAP_S:g} s of the same speech in both",
        f"more than {100 * MAX_RATE:g} %",
        f"without {1e3 * JUMP_MARGIN_S:g} ms and the size of the jump",
        f"that {LEAST_SIDE_S:g} s of speech on either side confirm",
        f"A delay of {1e3 * LARGEST_DELAY_S:g} ms or more, or one that differs from pair to pair "
        f"by more than {1e3 * SAME_START_S:g} ms",
        f"{100 * DC_SHARE:g} % of the speech level and {100 * DC_LEAST:g} % of full scale",
        f"{100 * CLIPPED_SHARE:g} % of the samples at the peak",
        f"{1e3 * HELD_S:g} ms while the other speaks, {1e3 * HELD_IN_PAUSE_S:g} ms in pauses; "
        f"dead ({DEAD_DB:g} dB down) for {1e3 * DEAD_S:g} ms",
        f"less than {-NOISY_DB:g} dB under its speech",
        f"coherence under {LOW_COHERENCE:g} in the best third-octave",
        f"treble of bone {SWAPPED_DB:g} dB above that of air",
        f"flat within {COPY_DB:g} dB, coherence above {COPY_COHERENCE:g}",
        *(f"`{column}`" for column in (*AIR_COLUMNS, *ID_COLUMNS)),
    ],
)
def test_its_limits_are_those_of_the_code(text):
    assert text in TEXT
