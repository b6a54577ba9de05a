"""Paired recordings on disk: which air file belongs to which bone file, and reading them.

Pairs are found by name, never by order: by a manifest if the folder has one, else by equal paths
below the two folders. A role word (`air`, `bone`, ...) may stand in for a folder.
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.datasets.dataset import PairFiles, read_pairs
from bcsim.datasets.manifest import MANIFEST_NAME
from bcsim.dsp.resample import resample
from bcsim.errors import InputError
from bcsim.files.paths import printable
from bcsim.files.text import read_bytes, reason_of
from bcsim.sensors.recorded_pair import RecordedPair

AIR_WORDS = frozenset({"air", "ac", "reference", "headset", "headset_microphone"})
BONE_WORDS = frozenset(
    {"bone", "bc", "body", "sensor", "throat", "in-ear", "inear", "accelerometer", "vibration"}
)
LENGTH_TOLERANCE_S = 0.01
MAX_TABLE_BYTES = 2**24

log = logging.getLogger(__name__)


def find_pairs(air: Path, bone: Path) -> tuple[Sequence[PairFiles], dict[str, str]]:
    """Find the pairs in two folders, or take two files as one pair.

    Args:
        air: file or folder of the air microphone.
        bone: file or folder of the sensor; may be the same folder, where role words or a
            manifest (`metadata.jsonl` with `air_file_name` and `bone_file_name`) tell.

    Returns:
        The pairs, sorted by name, and what has no partner: file to reason.

    Raises:
        InputError: if a folder is missing or empty, or no two files belong together.
    """
    if air.is_file() and bone.is_file():
        return [PairFiles(air.stem, {"air": air, "bone": bone})], {}
    for path, other in ((air, bone), (bone, air)):
        if path.is_file():
            raise InputError(f"{path} is a file and {other} is not; give two files or two folders")
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if air.resolve() == bone.resolve() and (air / MANIFEST_NAME).is_file():
        listed = [*read_pairs(air / MANIFEST_NAME)]
        if not listed:
            raise InputError(f"{air / MANIFEST_NAME}: lists no pairs")
        return listed, {}
    by_role = []
    for folder, own_words, other_words in (
        (air, AIR_WORDS, BONE_WORDS),
        (bone, BONE_WORDS, AIR_WORDS),
    ):
        files: dict[str, Path] = {}
        for path in audio_files(folder):
            relative = PurePosixPath(path.relative_to(folder).as_posix())
            if not other_words.isdisjoint(part.lower() for part in relative.parts[:-1]):
                continue  # one tree holds both roles, and this file has the other one
            folders = [part for part in relative.parts[:-1] if part.lower() not in own_words]
            key = "/".join([*folders, relative.stem])
            if key in files:
                raise InputError(f"{files[key]} and {path} have the same name {key!r}; rename one")
            files[key] = path
        by_role.append(files)
    air_files, bone_files = by_role
    unmatched = {
        str(path): f"{path}: no file called {key} below {folder}"
        for files, others, folder in ((air_files, bone_files, bone), (bone_files, air_files, air))
        for key, path in files.items()
        if key not in others
    }
    names = sorted(air_files.keys() & bone_files.keys())
    if not names:
        examples = " and ".join(repr(next(iter(files), "nothing")) for files in by_role)
        raise InputError(
            f"{air} and {bone}: no two files have the same name (found {examples}); "
            "a pair's files need equal paths below the two folders"
        )
    pairs = [
        PairFiles(
            name,
            {"air": air_files[name], "bone": bone_files[name]},
            name.split("/")[0] if "/" in name else None,
        )
        for name in names
    ]
    return pairs, unmatched


def read_talkers(path: Path) -> dict[str, str]:
    """Return the talker of each pair by the pair's name, without suffix, from a CSV file.

    The file has a heading with a column `file` (or `name`, `id`), and one whose name contains
    `talker` or `speaker`.

    Raises:
        InputError: if the file is missing or has no such columns.
    """
    content = read_bytes(path, MAX_TABLE_BYTES, "a table of talkers")
    try:
        rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of talkers ({reason_of(error)})") from error
    columns = list(rows[0]) if rows else []
    file_column = next((c for c in columns if str(c).lower() in ("file", "name", "id")), None)
    who_column = next(
        (c for c in columns if any(w in str(c).lower() for w in ("talker", "speaker"))), None
    )
    if file_column is None or who_column is None:
        raise InputError(f"{path}: wants a heading with the columns file and talker")
    talkers = {}
    for row in rows:
        name = PurePosixPath(row[file_column] or "")
        if name.name and row[who_column]:
            talkers[name.with_suffix("").as_posix()] = row[who_column]
    return talkers


def read_recordings(
    air: Path, bone: Path, sample_rate: int, talkers: Path | None = None
) -> tuple[list[RecordedPair], dict[str, str]]:
    """Find pairs as `find_pairs` does and read them at one sample rate.

    Args:
        air: file or folder of the air microphone.
        bone: file or folder of the sensor.
        sample_rate: sample rate of the pairs in Hz.
        talkers: table of the talkers (`read_talkers`); without one, the first folder of a pair's
            name is its talker.

    Returns:
        The pairs, and for each file or pair that cannot be used the reason.

    Raises:
        InputError: if no pair can be used, or the table of talkers names none of them.
    """
    found, failures = find_pairs(air, bone)
    if talkers is not None:
        who = read_talkers(talkers)
        if not any(pair.id in who for pair in found):
            raise InputError(f"{talkers}: names none of the pairs, such as {found[0].id!r}")
        found = [replace(pair, speaker=who.get(pair.id, pair.speaker)) for pair in found]
    pairs = []
    for pair in found:
        try:
            air_samples, air_rate = read_audio(pair.files["air"])
            bone_samples, bone_rate = read_audio(pair.files["bone"])
        except InputError as error:
            failures[pair.id] = str(error)
            continue
        if air_rate != bone_rate:
            log.warning(
                "%s: air is %d Hz, bone %d Hz; both resampled to %d Hz",
                printable(pair.id),
                air_rate,
                bone_rate,
                sample_rate,
            )
        air_samples = resample(air_samples, air_rate, sample_rate)
        bone_samples = resample(bone_samples, bone_rate, sample_rate)
        if abs(len(air_samples) - len(bone_samples)) > LENGTH_TOLERANCE_S * sample_rate:
            log.warning(
                "%s: air lasts %.2f s, bone %.2f s; both cut to the overlap",
                printable(pair.id),
                len(air_samples) / sample_rate,
                len(bone_samples) / sample_rate,
            )
        overlap = min(len(air_samples), len(bone_samples))
        pairs.append(
            RecordedPair(pair.id, air_samples[:overlap], bone_samples[:overlap], pair.speaker)
        )
    if not pairs:
        first = next(iter(failures.values()))
        raise InputError(f"none of {len(found)} pairs can be used; first: {first}")
    return pairs, failures
