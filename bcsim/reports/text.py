"""A sensor's facts as lines of text."""

from collections.abc import Mapping
from typing import Any


def sensor_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what `bcsim.fitting.summary.summary` found, a fact a line."""
    low, high = facts["usable_band_hz"]
    lead = "bone leads" if facts["delay_ms"] < 0 else "bone lags"
    drops = ", ".join(
        f"{drop} at {hz:.0f} Hz" if hz is not None else f"{drop} nowhere"
        for drop, hz in facts["drops_hz"].items()
    )
    lowpass = facts["lowpass"]
    interval = ""
    if facts["magnitude_interval_db"] is not None:
        below, above = facts["magnitude_interval_db"]
        interval = f"; 95 % interval {below:+.1f}...{above:+.1f} dB"
    talkers = f", {facts['num_talkers']} talkers" if facts["num_talkers"] else ""
    rows = {
        "sensor": f"{facts['name']} ({facts['estimator']}, {facts['sample_rate']} Hz)",
        "pairs used": f"{facts['num_pairs']}{talkers}, {facts['seconds']:.1f} s, "
        f"{facts['active_seconds']:.1f} s of it speech, {facts['pause_seconds']:.1f} s pauses",
        "delay": f"{facts['delay_ms']:+.3f} ms ({lead})",
        "polarity": "inverted" if facts["polarity"] < 0 else "upright",
        "level": f"{facts['level_db']:+.1f} dB re air, spread {facts['level_std_db']:.1f} dB",
        "usable band": f"{low:.0f}-{high:.0f} Hz (coherence above 0.5)" if high else "none",
        "response": drops,
        "known to": f"{facts['magnitude_error_db']:.2f} dB (median standard error){interval}",
        "speech part": facts["speech"] or "",
        "prior": facts["prior"],
        "noise floor": f"{facts['noise_to_speech_db']:.1f} dB re speech, "
        f"spread {facts['noise_level_std_db']:.1f} dB",
        "low-pass like": f"{lowpass['cutoff_hz']:.0f} Hz, Q {lowpass['q']:.2f}, "
        f"{lowpass['gain_db']:+.1f} dB",
        "source": facts["source"],
        "licence": facts["licence"],
    }
    scores = [f"{name} {value:.2f}" for name, value in facts["scores"].items()]
    rows["held-out"] = ", ".join(scores)
    rows["chosen"] = facts.get("choice", "")
    lines = [f"{label:<14}{text}" for label, text in rows.items() if text]
    return lines + [f"{'advice':<14}{sentence}" for sentence in facts["advice"]]
