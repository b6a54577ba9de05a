"""Lhotse cuts, as JSON lines: two recordings a cut, or two channels of one.

Only files are read: a recording that is a command, an address or a transform is refused.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bcsim.datasets.exporters.lhotse import FIELDS
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording, find_files, lines_of_list
from bcsim.datasets.manifest import MANIFEST_NAME
from bcsim.errors import InputError
from bcsim.files.text import reason_of

_PATTERNS = ("*.jsonl.gz", "*.jsonl")
_NO_CUT = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


@IMPORTERS.register("lhotse")
class Lhotse(Importer):
    """`recording` is the bone, the custom field `target_recording` the air."""

    defaults: ClassVar[Mapping[str, str]] = FIELDS

    def recognises(self, source: Path) -> bool:
        for path, _ in find_files(source, *_PATTERNS):
            first = next(_lines(path), None)
            if first is not None and path.name != MANIFEST_NAME and "recording" in first[1]:
                return True
        return False

    def read(self, source: Path) -> list[FoundPair]:
        found = []
        for path, split in find_files(source, *_PATTERNS):
            for where, cut in _lines(path):
                try:
                    found.append(self._pair(cut, path, split))
                except InputError as error:
                    raise InputError(f"{where}: {error}") from None
                except _NO_CUT as error:
                    raise InputError(f"{where}: is no cut of one recording") from error
        return found

    def _pair(self, cut: dict[str, Any], path: Path, split: str | None) -> FoundPair:
        custom = cut.get("custom") or {}
        segment = (float(cut["start"]), float(cut["duration"]))
        speakers = [s["speaker"] for s in cut.get("supervisions", ()) if s.get("speaker")]
        recordings = {
            role: self._recording(cut["recording"], number, path, segment)
            for role, number in self.channel_of.items()
        }
        for role, name in ({} if self.channels else self.roles).items():
            if name in cut:
                recordings[role] = self._recording(cut[name], int(cut["channel"]), path, segment)
            elif name in custom:
                first = custom[name]["sources"][0]["channels"][0]
                channel = custom.get(f"{name}_channel_selector", first)
                # A custom recording has the time of the cut's own one, unless it says otherwise.
                own = None if custom.get(f"{name}_unaligned") else segment
                recordings[role] = self._recording(custom[name], int(channel), path, own)
        return FoundPair(str(cut["id"]), recordings, next(iter(speakers), None), split)

    def _recording(
        self,
        facts: dict[str, Any],
        channel: int,
        path: Path,
        segment: tuple[float, float] | None,
    ) -> Recording:
        if facts.get("transforms"):
            raise InputError(f"recording {facts['id']!r} is transformed as it is read; save it")
        source = next(s for s in facts["sources"] if channel in s["channels"])
        if source["type"] != "file":
            raise InputError(
                f"recording {facts['id']!r} is a {source['type']!r}, and only files are read; "
                "save the audio to files (CutSet.save_audios)"
            )
        file = self.locate(str(source["source"]), path)
        if self.root is None and not file.is_file():
            file = Path(str(source["source"]))  # lhotse's own paths start where it runs
        inner = source["channels"].index(channel)
        start_s, duration_s = segment or (0.0, None)
        several = len(source["channels"]) > 1
        return Recording.of_file(
            file, channel=inner if several else None, start_s=start_s, duration_s=duration_s
        )


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, line in lines_of_list(path):
        if line.strip():
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = reason_of(error)
                raise InputError(f"{where}: is no JSON ({reason}); mend the list") from error
            if not isinstance(content, dict):
                raise InputError(f"{where}: is no JSON object")
            yield where, content
