"""SpeechBrain's JSON: `DynamicItemDataset.from_json("train.json", {"data_root": DATASET})`.

JSON and not CSV, for there a `$` in a name cannot be told from a replacement; here a brace can.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bcsim.datasets.dataset import WHOLE, ListedPair
from bcsim.datasets.exporters import EXPORTERS
from bcsim.datasets.exporters.base import Exporter
from bcsim.files.atomic import replacing

ROOT = "data_root"


@EXPORTERS.register("speechbrain")
class SpeechBrain(Exporter):
    """`SPLIT.json`: id to `duration`, `bone_wav`, `air_wav`, `noisy_air_wav` and `spk_id`."""

    def write_split(self, pairs: Iterable[ListedPair], split: str, out: Path) -> None:
        with (
            replacing(out / f"{split}.json") as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            divider, root = "{\n", f"{{{ROOT}}}" if split == WHOLE else f"{{{ROOT}}}/{split}"
            for pair in pairs:
                entry = json.dumps(_entry(pair, root), ensure_ascii=False, allow_nan=False)
                file.write(f"{divider}{json.dumps(pair.id, ensure_ascii=False)}: {entry}")
                divider = ",\n"
            file.write("\n}\n" if divider == ",\n" else "{}\n")


def _entry(pair: ListedPair, root: str) -> dict[str, Any]:
    names = {signal: pair.content[f"{signal}_file_name"] for signal in pair.files}
    entry = {
        "duration": pair.content["duration_s"],
        **{f"{signal}_wav": f"{root}/{_literal(name)}" for signal, name in names.items()},
    }
    return entry if pair.speaker is None else {**entry, "spk_id": _literal(pair.speaker)}


def _literal(text: str) -> str:
    """Return text that `str.format` gives back as it was."""
    return text.replace("{", "{{").replace("}", "}}")
