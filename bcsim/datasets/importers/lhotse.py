"""Lhotse cuts, as JSON lines: two recordings a cut, or two channels of one.

Only files are read: a cut of a command, of an address or of several recordings, or with a transform
other than resampling, cannot be used. What pads a cut is left out.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bcsim.datasets.exporters.lhotse import FIELDS
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import (
    FoundPair,
    Importer,
    Recording,
    find_files,
    log,
    pairs_of_lists,
)
from bcsim.datasets.lists import Entry, entries_of_list, first_entries, name_of, split_told
from bcsim.datasets.manifest import MAX_SAMPLE_RATE
from bcsim.datasets.speaker_names import known_name
from bcsim.datasets.told_facts import Told
from bcsim.errors import InputError
from bcsim.files.paths import printable

_PATTERNS = tuple(f"{place}*.{end}" for place in ("", "*/") for end in ("jsonl", "jsonl.gz"))
_NO_CUT = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


@IMPORTERS.register("lhotse")
class Lhotse(Importer):
    """`recording` is the bone, the custom field `target_recording` the air."""

    defaults: ClassVar[Mapping[str, str]] = FIELDS
    takes_channels: ClassVar[bool] = True

    def recognises(self, source: Path) -> bool:
        reasons = []
        for path, _ in find_files(source, *_PATTERNS):
            try:
                if _lists_cuts(path):
                    return True
                if any("sources" in entry for entry in first_entries(path)):
                    reasons.append(f"{path}: lists recordings, and cuts are wanted")
            except InputError as error:
                reasons.append(str(error))
        if reasons:
            raise InputError(reasons[0])
        return False

    def read(self, source: Path) -> Iterable[FoundPair]:
        lists = []
        for path, split in find_files(source, *_PATTERNS):
            if path == source or _lists_cuts(path):
                lists.append((path, split))
            else:
                log.warning("%s: lists no cuts; left out", printable(str(path)))
        return pairs_of_lists(lists, entries_of_list, self._pair)

    def _pair(self, entry: Entry, path: Path, split: str | None) -> FoundPair:
        pair_id = name_of(entry.content.get("id"))
        try:
            cut = _without_padding(entry.content)
            recordings = self._recordings(cut, path)
            supervisions = cut.get("supervisions") or ()
            speakers = {known_name(name_of(s.get("speaker"))) for s in supervisions} - {None}
            split = split_told(cut.get("custom") or {}, split)
            if pair_id is None:
                raise KeyError("id")
        except InputError:
            raise
        except _NO_CUT as error:
            raise InputError("is no cut of one recording") from error
        if len(speakers) > 1:
            raise InputError(f"has the speakers {', '.join(sorted(map(str, speakers)))}; split it")
        return FoundPair(pair_id, recordings, next(iter(speakers), None), split)

    def _recordings(self, cut: Mapping[str, Any], path: Path) -> dict[str, Recording]:
        custom = cut.get("custom") or {}
        segment = (float(cut["start"]), float(cut["duration"]))
        recordings = {
            role: self._recording(cut["recording"], number, path, segment)
            for role, number in self.channel_of.items()
        }
        for role, name in ({} if self.channels else self.roles).items():
            if name in cut:
                recordings[role] = self._recording(cut[name], cut["channel"], path, segment)
            elif name in custom:
                first = custom[name]["sources"][0]["channels"][0]
                channel = custom.get(f"{name}_channel_selector", first)
                # A custom recording has the time of the cut's own one, unless it says otherwise.
                own = None if custom.get(f"{name}_unaligned") else segment
                recordings[role] = self._recording(custom[name], channel, path, own)
        return recordings

    def _recording(
        self,
        facts: Mapping[str, Any],
        channel: Any,
        path: Path,
        segment: tuple[float, float] | None,
    ) -> Recording:
        name = facts["id"]
        if isinstance(channel, list) and len(channel) == 1:
            channel = channel[0]
        if isinstance(channel, bool) or not isinstance(channel, int):
            raise InputError(f"takes the channels {channel} of {name!r}; say which is which")
        sample_rate = _resampled_rate(facts)
        source = next((s for s in facts["sources"] if channel in s["channels"]), None)
        if source is None:
            raise InputError(f"recording {name!r} has no channel {channel}")
        if source["type"] != "file":
            raise InputError(
                f"recording {name!r} is a {source['type']!r}, and only files are read; "
                "save the audio to files (CutSet.save_audios)"
            )
        file = self.locate(str(source["source"]), path)
        if self.root is None and not os.path.isfile(file):
            file = Path(str(source["source"]))  # lhotse's own paths start where it runs
        inner = source["channels"].index(channel)
        start_s, duration_s = segment or (0.0, None)
        several = len(source["channels"]) > 1
        return Recording.of_file(
            file,
            channel=inner if several else None,
            start_s=start_s,
            duration_s=duration_s,
            sample_rate=sample_rate,
            told=_told(facts),
        )


def _lists_cuts(path: Path) -> bool:
    return any(
        isinstance(cut.get("recording"), dict) or isinstance(cut.get("tracks"), list)
        for cut in first_entries(path)
    )


def _without_padding(cut: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one cut of a recording that a padded one holds, or the cut itself."""
    if "tracks" not in cut:
        return cut
    tracks = [track for track in cut["tracks"] if track["type"] != "PaddingCut"]
    if len(tracks) != 1:
        raise InputError(f"mixes {len(tracks)} recordings; save it (CutSet.save_audios)")
    if cut.get("transforms"):
        raise InputError("is transformed as it is read; save it (CutSet.save_audios)")
    return tracks[0]["cut"]


def _told(facts: Mapping[str, Any]) -> Told:
    """Return what a recording tells of its file, which transforms may resample."""
    transforms = facts.get("transforms") or ()
    rate = facts.get("sampling_rate")
    if transforms:
        rate = transforms[0]["kwargs"].get("source_sampling_rate")
    return Told.of({"sampling_rate": rate, "duration_s": facts.get("duration")})


def _resampled_rate(facts: Mapping[str, Any]) -> int | None:
    """Return the rate that a recording is resampled to in the end, or None where it is not."""
    rate = None
    for transform in facts.get("transforms") or ():
        name = transform["name"]
        if name != "Resample":
            raise InputError(
                f"recording {facts['id']!r} is transformed as it is read ({name}); save it "
                "(CutSet.save_audios)"
            )
        rate = transform["kwargs"]["target_sampling_rate"]
        if isinstance(rate, bool) or not isinstance(rate, int) or not 0 < rate <= MAX_SAMPLE_RATE:
            raise InputError(f"recording {facts['id']!r}: {rate} is no sample rate")
    return rate
