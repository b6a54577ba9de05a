"""Layouts like that of the Vibravox corpus: `audio.headset_microphone` beside `audio.SENSOR`.

As folders (`audio.SENSOR/.../NAME.wav`), as endings (`NAME.audio.SENSOR.wav`) or as columns of
parquet files with the audio embedded. The word `audio.` may be missing.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

from bcsim.audio.folder import audio_files, list_audio, without_audio_suffix
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.arrow_table import find_tables
from bcsim.datasets.importers.base import FoundPair, Importer, Recording, log, place_of
from bcsim.errors import UsageError
from bcsim.files.paths import printable

AIR = "headset_microphone"
SENSORS = (
    "forehead_accelerometer",
    "rigid_in_ear_microphone",
    "soft_in_ear_microphone",
    "temple_vibration_pickup",
    "throat_microphone",
)


@IMPORTERS.register("vibravox")
class Vibravox(Importer):
    """Air is the headset microphone; `names` says which sensor is wanted, if there are several."""

    defaults: ClassVar[Mapping[str, str]] = {"air": AIR}

    def recognises(self, source: Path) -> bool:
        tables = find_tables(source)
        if tables:
            return any(names_sensor(column) for column in tables[0].columns)
        return source.is_dir() and any(
            self._sensor_and_id(source / name, source)[0] for name in list_audio(source).names
        )

    def read(self, source: Path) -> list[FoundPair]:
        tables = find_tables(source)
        found = []
        for table in tables:
            columns = {name.removeprefix("audio."): name for name in reversed(table.columns)}
            sensors = {name for name, column in columns.items() if names_sensor(column)}
            chosen = self._choose(sensors, table.path, columns.keys())
            wanted = {role: (columns[sensor], None) for role, sensor in chosen.items()}
            found += table.pairs(wanted, self.root or table.path.parent)
        return found if tables else self._read_files(source)

    def _read_files(self, source: Path) -> list[FoundPair]:
        by_sensor: dict[str, dict[str, Path]] = {}
        twice: dict[tuple[str, str], str] = {}
        others = []
        for path in audio_files(source):
            sensor, pair_id = self._sensor_and_id(path, source)
            if sensor is None:
                others.append(path)
                continue
            other = by_sensor.setdefault(sensor, {}).setdefault(pair_id, path)
            if other != path:
                twice[sensor, pair_id] = f"{other} and {path}: both are {pair_id!r}; move one"
        if others:
            log.warning(
                "%s: %d audio files of no sensor left out, such as %s",
                *(source, len(others), printable(str(others[0]))),
            )
        chosen = self._choose(set(by_sensor), source)
        by_role = {role: by_sensor.get(sensor, {}) for role, sensor in chosen.items()}
        found = []
        for pair_id in sorted(set().union(*by_role.values())):
            recordings = {
                role: Recording.of_file(files[pair_id])
                for role, files in by_role.items()
                if pair_id in files
            }
            problems = [twice[key] for s in chosen.values() if (key := (s, pair_id)) in twice]
            problem = problems[0] if problems else None
            name, speaker, split = place_of(Path(pair_id))
            found.append(FoundPair(name, recordings, speaker, split, problem))
        return found

    def _sensor_and_id(self, path: Path, folder: Path) -> tuple[str | None, str]:
        """Return whose recording a file is, and its path without that."""
        words = "|".join(re.escape(word) for word in {AIR, *SENSORS, *self.sensors.values()})
        name = rf"(?:audio\.(?P<any>\w+)|(?P<known>{words}))"
        *folders, last = Path(without_audio_suffix(path.relative_to(folder).as_posix())).parts
        for number, part in enumerate(folders):
            if match := re.fullmatch(name, part):
                others = [*folders[:number], *folders[number + 1 :], last]
                return match["any"] or match["known"], "/".join(others)
        if match := re.fullmatch(rf"(?P<stem>.+?)\.{name}", last):
            return match["any"] or match["known"], "/".join([*folders, match["stem"]])
        return None, ""

    @property
    def sensors(self) -> dict[str, str]:
        """Role to sensor, without the word `audio.`."""
        return {role: name.removeprefix("audio.") for role, name in self.roles.items()}

    def _choose(
        self, there: set[str], source: Path, columns: Collection[str] = ()
    ) -> dict[str, str]:
        """Return the sensor of each role: what `names` says, or the only one that is there.

        `columns` may be named as well, but are no sensors by themselves.
        """
        chosen = self.sensors
        others = sorted(there - set(chosen.values()))
        if "bone" not in chosen and len(others) == 1:
            chosen["bone"] = others[0]
        missing = [name for name in chosen.values() if name not in there and name not in columns]
        if "bone" not in chosen or missing:
            raise UsageError(
                f"{source}: holds {', '.join(sorted(there)) or 'no such recordings'}; say which "
                f"are wanted as air and bone (not there: {', '.join(missing) or 'none'})"
            )
        return chosen


def names_sensor(column: str) -> bool:
    """Tell whether a table's column is called like a sensor of such a corpus."""
    return column.startswith("audio.") or column in (AIR, *SENSORS)
