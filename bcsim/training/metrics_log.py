"""The numbers of a run: `metrics.jsonl`, `pace.jsonl` and TensorBoard."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from bcsim.extras import optional_import
from bcsim.files.atomic import environment_faults, write_text
from bcsim.files.text import parse_json
from bcsim.training.run_folder import METRICS_FILE, SPEED_FILE, TENSORBOARD


class MetricsLog:
    """Writes the numbers of a run, named `split/metric`, to two JSON files and TensorBoard.

    Args:
        out: folder of the run.
        last_step: step that the run continues from; lines of later steps, which a killed run
            wrote, are dropped.
    """

    def __init__(self, out: Path, last_step: int) -> None:
        optional_import("tensorboard", extra="train")
        from torch.utils.tensorboard import SummaryWriter

        self.path = out / METRICS_FILE
        self.board_path = out / TENSORBOARD
        with environment_faults(self.board_path):
            self._board = SummaryWriter(self.board_path, purge_step=last_step + 1)
        self._files = {}
        self._hash = hashlib.sha256()
        for path in (self.path, out / SPEED_FILE):
            text = "".join(_lines_up_to(path, last_step))
            if path == self.path:
                self._hash.update(text.encode("utf-8"))
            write_text(path, text)
            with environment_faults(path):
                self._files[path.name] = path.open("a", encoding="utf-8")

    @property
    def sha256(self) -> str:
        """SHA-256 of `metrics.jsonl` as it is now."""
        return self._hash.hexdigest()

    def write(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a line to `metrics.jsonl`; a value that is not finite becomes null."""
        self._add(METRICS_FILE, step, values)

    def write_speed(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a line to `pace.jsonl`, for numbers that another run of the same steps changes."""
        self._add(SPEED_FILE, step, values)

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        with environment_faults(self.path):
            for file in self._files.values():
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files."""
        with environment_faults(self.path):
            for file in self._files.values():
                file.close()
        with environment_faults(self.board_path):
            self._board.close()

    def _add(self, name: str, step: int, values: Mapping[str, float | None]) -> None:
        finite = {
            key: value if value is not None and math.isfinite(value) else None
            for key, value in values.items()
        }
        line = json.dumps({"step": step, **finite}) + "\n"
        if name == METRICS_FILE:
            self._hash.update(line.encode("utf-8"))
        with environment_faults(self.path.with_name(name)):
            self._files[name].write(line)
            self._files[name].flush()
        with environment_faults(self.board_path):
            for key, value in finite.items():
                if value is not None:
                    self._board.add_scalar(key, value, step)


def _lines_up_to(path: Path, last_step: int) -> Iterator[str]:
    if not path.is_file():
        return
    for line in path.read_text("utf-8", errors="replace").splitlines(keepends=True):
        try:
            content = parse_json(line)
        except ValueError:  # torn by a kill; whatever it was is written again
            continue
        step = content.get("step") if isinstance(content, dict) else None
        if line.endswith("\n") and type(step) is int and step <= last_step:
            yield line
