"""What `bcsim evaluate` prints: all of it, within 100 columns."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from bcsim.fitting.summary import sensor_summary
from bcsim.metrics.scores import coupling_metrics
from bcsim.reports import text
from bcsim.reports.text import (
    COLUMNS,
    LABELS,
    comparison_lines,
    evaluation_lines,
    sensor_lines,
)

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
    "coupling": {
        **{kind: dict.fromkeys(coupling_metrics(), 0.7) for kind in ("real", "simulated")},
        "bands": [{"centre_hz": 400.0 * k, "real": -0.12, "simulated": None} for k in range(20)],
    },
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
    real = [line.split()[1:] for line in lines if line.startswith("real")]
    assert [len(row) for row in real] == [3, 11, 9]
    assert real[0] == ["0.70"] * 3
    assert real[1][0] == "-0.12"


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


def row_of(profile, label: str) -> str:
    lines = sensor_lines(sensor_summary(profile))
    return next((line for line in lines if line.startswith(label)), "")


def test_a_profile_from_before_the_coupling_says_nothing_of_it(sensor):
    assert row_of(sensor, "coupling") == ""
    scores = {"lsd": 8.43, "stoi_coupling": 0.152, "envelope_coupling": -0.03}
    known = replace(sensor, provenance=replace(sensor.provenance, scores=scores))
    assert row_of(known, "held-out").split(None, 1)[1] == "lsd 8.43"
    assert "STOI +0.15, envelope -0.03 (bone with air" in row_of(known, "coupling")


def test_what_is_assumed_is_not_printed_like_what_was_measured(sensor):
    """Without any pause a noise floor of such sensors is taken: "-47.6 dB, spread 0.0 dB"."""
    few = replace(sensor.provenance, spread="prior")
    silent = replace(few, pause_seconds=0.0)
    from_prior = replace(silent, prior="other")
    assert "assumed" not in row_of(sensor, "noise floor") + row_of(sensor, "level")
    assert "spread unknown" in row_of(replace(sensor, noise_level_std_db=0.0), "noise floor")
    assert "spread 4.0 dB (assumed" in row_of(replace(sensor, provenance=few), "level")
    without = replace(sensor, provenance=silent, noise_level_std_db=7.0)
    assert "(assumed: no pauses" in row_of(without, "noise floor")
    assert "spread 7.0 dB (assumed" in row_of(without, "noise floor")
    taken_over = replace(sensor, provenance=from_prior)
    assert "(the prior's: no pauses" in row_of(taken_over, "noise floor")
    assert "(the prior's: too few" in row_of(taken_over, "level")
    nothing = replace(sensor, noise_psd=0 * sensor.noise_psd, provenance=silent)
    assert "-200" not in row_of(nothing, "noise floor")
    assert "unknown" in row_of(nothing, "noise floor")


def test_the_band_of_the_recordings_is_told_where_it_is_not_the_whole(sensor):
    assert row_of(sensor, "recorded") == ""
    band = sensor.transfer_function
    narrow = replace(band, coherence=np.where(band.frequencies_hz < 3000, band.coherence, 0.0))
    assert "0-2969 Hz; beyond" in row_of(replace(sensor, transfer_function=narrow), "recorded")
