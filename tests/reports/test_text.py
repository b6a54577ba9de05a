"""What `bcsim evaluate` prints: all of it, within 100 columns."""

import copy

import pytest

from bcsim.reports import text
from bcsim.reports.text import COLUMNS, LABELS, comparison_lines, evaluation_lines

CENTRES_HZ = [99.2, 125.0, 157.5, 1000.0, 6349.6]
OF_PAIRS = [name for name in LABELS if not name.startswith("c2st")]
FACTS = {
    "sensor": "throat",
    "num_pairs": 3,
    "scores": dict.fromkeys(LABELS, 12.345),
    "num_scored": dict.fromkeys(OF_PAIRS, 3),
    "intervals": {name: [11.1, 13.9] for name in OF_PAIRS},
    "talkers_known": True,
    "talkers": {
        "anna": {"num_pairs": 2, **dict.fromkeys(OF_PAIRS, 12.0)},
        "ben": {"num_pairs": 1, **dict.fromkeys(OF_PAIRS, 13.0), "estoi": None},
    },
    "bands": [{"centre_hz": hz, "bias_db": -hz / 1000, "rms_db": 3.0} for hz in CENTRES_HZ],
    "pairs": {},
    "failures": {},
}


def test_one_sensor_is_told_by_score_talker_and_band():
    lines = evaluation_lines(FACTS)
    assert lines[0].startswith("throat, 3 pairs of 2 talkers")
    assert sum(line.startswith(tuple(label for label, _ in LABELS.values())) for line in lines) >= (
        len(LABELS)
    )
    assert any(line.startswith("anna") and line.endswith("2") for line in lines)
    ben = next(line for line in lines if line.startswith("ben"))
    assert " - " in ben
    bias = next(line for line in lines if line.startswith("simulated - real"))
    assert bias.split()[-5:] == ["-0", "-0", "-0", "-1", "-6"]


def test_without_talkers_and_bands_the_tables_have_gaps_not_faults():
    facts = copy.deepcopy(FACTS)
    facts["talkers_known"] = False
    facts["scores"]["lsd"] = None
    facts["intervals"]["lsd"] = None
    facts["bands"][0]["bias_db"] = None
    lines = evaluation_lines(facts)
    assert not any(line.startswith("anna") for line in lines)
    assert next(line for line in lines if line.startswith("LSD, dB")).split()[2] == "-"


def test_several_sensors_stand_in_rows_with_metrics_as_columns():
    other = {**FACTS, "sensor": "temporal-transforms with a very long name of its own"}
    lines = comparison_lines([FACTS, other])
    heading = next(line for line in lines if line.startswith("sensor"))
    assert heading.split()[1:] == list(COLUMNS.values())
    assert sum(line.startswith("throat") for line in lines) == 3
    assert sum(line.startswith("temporal-transforms w") for line in lines) == 3


def test_a_score_of_fewer_pairs_says_of_how_many():
    facts = {**FACTS, "num_scored": {**FACTS["num_scored"], "stoi": 2}}
    rows = {line.split("  ")[0]: line for line in evaluation_lines(facts)}
    assert rows["STOI"].endswith("higher is better; of 2 pairs")
    assert "pairs" not in rows["ESTOI"]


@pytest.mark.parametrize("num_more", [0, 1, 9])
def test_nothing_is_wider_than_a_hundred_columns(num_more, monkeypatch):
    """However many metrics have a heading of their own."""
    more = {f"metric_{number}": f"metric {number}" for number in range(num_more)}
    monkeypatch.setattr(text, "COLUMNS", text.COLUMNS | more)
    centres = [1000 * 2 ** (k / 3) for k in range(-10, 9)]
    facts = {
        **FACTS,
        "sensor": "x" * 40,
        "scores": FACTS["scores"] | dict.fromkeys(more, 12.345),
        "intervals": FACTS["intervals"] | {name: [11.1, 13.9] for name in more},
        "talkers": {
            talker: scores | dict.fromkeys(more, 12.0)
            for talker, scores in FACTS["talkers"].items()
        },
        "bands": [{"centre_hz": hz, "bias_db": -88.8, "rms_db": 88.8} for hz in centres],
    }
    lines = [*evaluation_lines(facts)[1:], *comparison_lines([facts, facts])]
    for line in lines:
        assert len(line) <= 100, line
    for heading in more.values():
        assert sum(heading in line for line in lines) == 3, heading
