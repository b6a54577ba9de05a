"""The README of a dataset."""

from collections.abc import Mapping, Sequence

import bcsim
from bcsim.data.manifest import PairRow


def dataset_card(
    sensor: str,
    sample_rate: int,
    seed: int,
    mean: bool,
    by_split: Mapping[str, Sequence[PairRow]],
    seconds: float,
) -> str:
    """Return the dataset's card: what it is, how much of it there is, and how to read it.

    Args:
        sensor: name of the sensor or preset.
        sample_rate: of the pairs, in Hz.
        seed: root seed.
        mean: whether the mean sensor was rendered.
        by_split: rows of each split.
        seconds: of speech in all.
    """
    configs = "".join(
        f"  - split: {split}\n    path: {split}/**\n" for split, rows in by_split.items() if rows
    )
    counts = "\n".join(
        f"| {split} | {len(rows)} | {len({row.speaker for row in rows})} "
        f"| {sum(row.duration_s for row in rows) / 60:.1f} |"
        for split, rows in by_split.items()
    )
    kind = "the mean sensor, nothing random but its noise" if mean else "random draws"
    return f"""---
configs:
- config_name: default
  data_files:
{configs}---
# Simulated pairs: {sensor}

Air-conducted speech (`air`) and what the body-conduction sensor `{sensor}` would pick up
of it (`bone`): a simulation by bcsim {bcsim.__version__}, seed {seed}, {kind}.
{sample_rate} Hz, 16 bits, one channel a file, {seconds / 3600:.2f} h in all.

| split | pairs | speakers | minutes |
|---|---|---|---|
{counts}

Splits go by speaker. Each line of `metadata.jsonl` names both files, the source recording with
its SHA-256, and every drawn parameter; `recipe.resolved.yaml` says what was done. Read it with
`datasets.load_dataset("audiofolder", data_dir=...)`, which gives the audio columns `bone` and
`air`. The licence of the source recordings holds for `air` and `bone` alike.
"""
