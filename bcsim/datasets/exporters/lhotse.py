"""Lhotse cuts: `CutSet.from_file("cuts_train.jsonl.gz")`.

The recording of a cut is the sensor's; the air microphone's is its custom field
`target_recording`, so that `cut.load_audio()` is the input and `cut.load_target_recording()` the
target. Plain JSON: lhotse itself is not needed to write it.
"""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bcsim.audio.infos import audio_info
from bcsim.datasets.dataset import ListedPair
from bcsim.datasets.exporters import EXPORTERS
from bcsim.datasets.exporters.base import Exporter, facts_of
from bcsim.errors import InputError
from bcsim.files.atomic import replacing

FIELDS = {"bone": "recording", "air": "target_recording", "noisy_air": "noisy_air_recording"}


@EXPORTERS.register("lhotse")
class Lhotse(Exporter):
    """`cuts_SPLIT.jsonl.gz`, a line a pair."""

    def write_split(self, pairs: Iterable[ListedPair], split: str, out: Path) -> None:
        with (
            replacing(out / f"cuts_{split}.jsonl.gz") as temporary,
            temporary.open("wb") as file,
            # no name and no time in the header: equal cuts, equal bytes
            gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        ):
            for pair in pairs:
                line = json.dumps(_cut(pair), ensure_ascii=False, allow_nan=False)
                packed.write(line.encode("utf-8") + b"\n")


def _cut(pair: ListedPair) -> dict[str, Any]:
    rate = pair.content["sample_rate"]
    recordings = {
        FIELDS[role]: _recording(pair.id, path, rate) for role, path in pair.files.items()
    }
    bone = recordings.pop(FIELDS["bone"])
    facts = {k: v for k, v in facts_of(pair).items() if k not in ("duration_s", "sample_rate")}
    segment = {"start": 0.0, "duration": bone["duration"], "channel": 0}
    supervision = {"id": pair.id, "recording_id": pair.id, **segment}
    if pair.speaker is not None:
        supervision["speaker"] = pair.speaker
    return {
        "id": pair.id,
        **segment,
        "supervisions": [supervision],
        "recording": bone,
        "custom": {**facts, **recordings},
        "type": "MonoCut",
    }


def _recording(name: str, path: Path, sample_rate: int) -> dict[str, Any]:
    info = audio_info(path)
    if info is None:
        raise InputError(f"{path}: cannot be read as audio; run synthesize again")
    return {
        "id": name,
        "sources": [{"type": "file", "channels": [0], "source": str(path)}],
        "sampling_rate": sample_rate,
        "num_samples": info.frames,
        "duration": info.frames / sample_rate,
        "channel_ids": [0],
    }
