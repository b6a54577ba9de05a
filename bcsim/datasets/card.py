"""The README of a dataset."""

from collections.abc import Mapping
from typing import Any

from bcsim.audio.write import BITS
from bcsim.datasets.manifest import Tally
from bcsim.files.strict_yaml import parse_yaml
from bcsim.files.text import plain


def dataset_card(settings: Mapping[str, Any], tallies: Mapping[str, Tally]) -> str:
    """Return the text of the dataset's card, from the settings in `dataset.json` and its splits."""
    configs = "".join(
        f"  - split: {split}\n    path: {split}/**\n"
        for split, tally in tallies.items()
        if tally.num_pairs
    )
    counts = "\n".join(
        f"| {split} | {tally.num_pairs} | {len(tally.speakers)} | {tally.seconds / 60:.1f} |"
        for split, tally in tallies.items()
    )
    sensor, rate = plain(settings["sensor"]), settings["recipe"]["sample_rate"]
    hours = sum(tally.seconds for tally in tallies.values()) / 3600
    audio = settings["recipe"].get("audio")
    subtype = str(audio.get("subtype")) if isinstance(audio, dict) else "PCM_16"
    samples = f"{BITS[subtype]} bits" if subtype in BITS else "floating point"
    unknown = sum(tally.num_unknown for tally in tallies.values())
    but = f", but for the {unknown} pairs whose speaker is unknown" if unknown else ""
    mean = settings["mean"]
    kind = "the mean sensor, nothing random but its noise" if mean else "random draws"
    front_matter = f"""configs:
- config_name: default
  data_files:
{configs}"""
    parse_yaml(front_matter)  # what could not be read again is not written
    return f"""---
{front_matter}---
# Simulated pairs: {sensor}

Air-conducted speech (`air`) and what the body-conduction sensor `{sensor}` would pick up
of it (`bone`): a simulation by bcsim {settings["bcsim"]}, seed {settings["seed"]}, {kind}.
{rate} Hz, {samples}, one channel a file, {hours:.2f} h in all.

| split | pairs | speakers | minutes |
|---|---|---|---|
{counts}

Splits go by speaker{but}. Each line of `metadata.jsonl` names the files, the source recording with
its SHA-256, every drawn parameter, and in `applied_gain_db` by how much peaks were turned down;
`recipe.resolved.yaml` says what was done. Read it with
`datasets.load_dataset("audiofolder", data_dir=...)`, which gives the audio columns `bone` and
`air`; where the recipe has noise or a room, also `noisy_air`, which is what the air microphone
picks up while `air` is the talker alone. `bcsim verify` tells whether all files are as they were
written, and so does `sha256sum -c SHA256SUMS`. The licence of the source recordings holds for all
alike.
"""
