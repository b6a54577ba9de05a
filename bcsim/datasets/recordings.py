"""Paired recordings on disk: which air file belongs to which bone file, and reading them.

Pairs are found by name, never by order: by a manifest or a list of pairs, else by equal paths below
two folders, else by a word for the role (`bcsim.datasets.pairing`).
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bcsim.audio.channels import channel_index, strongest_channel
from bcsim.audio.folder import AUDIO_SUFFIXES, list_audio
from bcsim.audio.unchanging import read_pair
from bcsim.datasets.dataset import WHOLE, Dataset, ListedPair, PairFiles
from bcsim.datasets.layouts import named_pairs
from bcsim.datasets.lists import split_told
from bcsim.datasets.manifest import MANIFEST_NAME, SPLITS
from bcsim.datasets.pair_lists import LIST_SUFFIXES, is_pair_list, read_pair_list
from bcsim.datasets.pairing import ROLES
from bcsim.datasets.talkers import talkers_of
from bcsim.datasets.told_facts import check_told_of_files
from bcsim.errors import InputError, UsageError
from bcsim.files.paths import printable
from bcsim.files.text import shown
from bcsim.sensors.recorded_pair import RecordedPair

LENGTH_TOLERANCE_S = 0.01
MAX_TOLD = 5  # talkers that are named

log = logging.getLogger(__name__)


def find_pairs(
    air: Path,
    bone: Path,
    talkers: Path | None = None,
    channels: Mapping[str, str] | None = None,
    split: str | None = None,
) -> tuple[Sequence[PairFiles], dict[str, str]]:
    """Find the pairs in two folders, two patterns, one folder or one list, or take two files.

    Every audio file is in a pair or has a reason why it is not.

    Args:
        air: recordings of the air microphone: a file, a folder, or a pattern of paths with `*`,
            `?` or `**`, in which what stands for the wildcards names the pair.
        bone: recordings of the sensor, given in the same way; or the same path as `air`: a list of
            pairs (`read_pair_list`), a folder with a manifest, with `air/` and `bone/`, or whose
            names tell the roles.
        talkers: table of the talkers (`talkers_of`); without one, a list or manifest tells, else
            the first folder of a pair's name.
        channels: channel of "air" and "bone", where files have several (`channel_index`). Two
            channels of the same files, in one folder or file, are pairs.
        split: split of a dataset whose pairs are wanted; None for those of all. Recordings without
            a manifest have no splits.

    Returns:
        The pairs, sorted by name, and what is in no pair: file, or row of a list, to reason.

    Raises:
        InputError: if a folder is missing or empty, no two files belong together, or names can be
            read in two ways.
        UsageError: for a channel of no such name.
    """
    two_channels = len({channel_index(name) for name in (channels or {}).values()}) == 2
    is_guess = False  # whether the talkers are guessed from folders
    if _is_same(air, bone) and is_pair_list(air):
        pairs, unmatched = read_pair_list(air)
    elif split is not None or (_is_same(air, bone) and _has_manifest(air)):
        pairs, unmatched = _listed(air, split)
    else:
        if _is_same(air, bone) and air.is_file() and not two_channels:
            raise InputError(_why_not_one_file(air))
        pairs, unmatched = named_pairs(air, bone, two_channels)
        is_guess = True
    pairs = _of_different_files(pairs, unmatched, two_channels)
    if not pairs:
        first = next(iter(unmatched.values()), "lists no pairs")
        raise InputError(f"{air}: no pair can be used; first: {first}")
    rest = f"; {len(unmatched)} files or rows are in none" if unmatched else ""
    log.info("%d pairs, the first: %s%s", len(pairs), printable(_both(pairs[0])), rest)
    guessed = sorted({pair.speaker for pair in pairs if pair.speaker is not None})
    if talkers is None and is_guess and guessed:
        told = ", ".join(printable(name) for name in guessed[:MAX_TOLD])
        more = ", ..." if len(guessed) > MAX_TOLD else ""
        log.info("%d talkers, taken from the names of folders: %s%s", len(guessed), told, more)
    if talkers is not None:
        pairs = _with_talkers(pairs, talkers, (air, bone), is_guess)
    unknown = [pair.id for pair in pairs if pair.speaker is None]
    if talkers is None and 0 < len(unknown) < len(pairs):
        log.warning(
            "the talker of %d of %d pairs is unknown, such as of %s; a table of talkers tells them",
            *(len(unknown), len(pairs), printable(unknown[0])),
        )
    return pairs, unmatched


def read_recordings(
    air: Path,
    bone: Path,
    sample_rate: int,
    talkers: Path | None = None,
    channels: Mapping[str, str] | None = None,
) -> tuple[list[RecordedPair], dict[str, str]]:
    """Find pairs as `find_pairs` does and read them at one sample rate.

    Args:
        air: recordings of the air microphone.
        bone: recordings of the sensor.
        sample_rate: sample rate of the pairs in Hz.
        talkers: table of the talkers.
        channels: channel of "air" and "bone", where files have several.

    Returns:
        The pairs, and for each file or pair that cannot be used the reason.

    Raises:
        InputError: if no pair can be used, or the table of talkers names none of them.
        UsageError: for a channel of no such name.
    """
    found, failures = find_pairs(air, bone, talkers, channels)
    return read_found(found, failures, sample_rate, channels)


def read_found(
    found: Sequence[PairFiles],
    unmatched: Mapping[str, str],
    sample_rate: int,
    channels: Mapping[str, str] | None = None,
) -> tuple[list[RecordedPair], dict[str, str]]:
    """Read the pairs that `find_pairs` found; returns and raises what `read_recordings` does.

    Args:
        found: files of the pairs.
        unmatched: reason by file that is in no pair.
        sample_rate: sample rate of the pairs in Hz.
        channels: channel of "air" and "bone", where files have several.
    """
    failures = dict(unmatched)
    chosen = chosen_channels(found, channels)
    pairs = [*each_recording(found, failures, sample_rate, chosen)]
    if not pairs:
        first = next(iter(failures.values()))
        raise InputError(f"none of {len(found)} pairs can be used; first: {first}")
    return pairs, failures


def each_recording(
    found: Iterable[PairFiles],
    failures: dict[str, str],
    sample_rate: int,
    channels: Mapping[str, int | None],
) -> Iterator[RecordedPair]:
    """Read pairs one by one: those of a corpus are larger than memory.

    Args:
        found: files of the pairs.
        failures: reason by pair that cannot be used, to which those of these pairs are added.
        sample_rate: sample rate of the pairs in Hz.
        channels: index of the channel of "air" and "bone" (`chosen_channels`).
    """
    for pair in found:
        try:
            yield _read(pair, sample_rate, channels)
        except InputError as error:
            failures[pair.id] = f"{error} (its pair: {_both(pair)})"


def chosen_channels(
    pairs: Sequence[PairFiles], channels: Mapping[str, str] | None
) -> dict[str, int | None]:
    """Return the index of the channel of each role, from 0; None where channels are averaged.

    Args:
        pairs: pairs of recordings, of which "strongest" is measured.
        channels: names of the channels by role (`channel_index`).

    Raises:
        UsageError: for a channel of no such name, or one file whose same channel is both sides.
    """
    chosen: dict[str, int | None] = dict.fromkeys(ROLES)
    for role, name in (channels or {}).items():
        index = channel_index(name)
        chosen[role] = strongest_channel(p.files[role] for p in pairs) if index is None else index
    both = chosen["air"]
    if both is not None and both == chosen["bone"]:
        for pair in pairs:
            if pair.files["air"] == pair.files["bone"]:
                raise UsageError(
                    f"{pair.files['air']}: channel {both + 1} is that of air and of bone; name two"
                )
    return chosen


def channels_of(air: Path, bone: Path, channels: Mapping[str, str] | None) -> dict[str, int | None]:
    """Return the index of the channel of each role; see `find_pairs` and `chosen_channels`."""
    pairs = find_pairs(air, bone, channels=channels)[0] if channels else []
    return chosen_channels(pairs, channels)


def _read(pair: PairFiles, sample_rate: int, channels: Mapping[str, int | None]) -> RecordedPair:
    paths = {role: pair.files[role] for role in ROLES}
    read = read_pair(paths, sample_rate, channels, single_if_long=True)
    air, bone = read["air"].samples, read["bone"].samples
    air_rate, bone_rate = read["air"].own_rate, read["bone"].own_rate
    if air_rate != bone_rate:
        log.warning(
            "%s: air is %d Hz, bone %d Hz; both resampled to %d Hz",
            *(printable(_both(pair)), air_rate, bone_rate, sample_rate),
        )
    if abs(len(air) - len(bone)) > LENGTH_TOLERANCE_S * sample_rate:
        log.warning(
            "%s: air lasts %.2f s, bone %.2f s; both cut to what they have in common",
            *(printable(_both(pair)), len(air) / sample_rate, len(bone) / sample_rate),
        )
    files = (str(pair.files["air"]), str(pair.files["bone"]))
    # Not cut here: one may have begun earlier; where they overlap is told by what they hold.
    findings = tuple(
        replace(finding, text=f"{role} {finding.text}", channel=role)
        for role in ROLES
        for finding in read[role].findings
    )
    return RecordedPair(pair.id, air, bone, pair.speaker, files, findings)


def _both(pair: PairFiles) -> str:
    return f"{pair.files['air']} with {pair.files['bone']}"


def _is_same(air: Path, bone: Path) -> bool:
    return os.path.realpath(air) == os.path.realpath(bone)


def _has_manifest(folder: Path) -> bool:
    return any((folder / split / MANIFEST_NAME).is_file() for split in ("", *SPLITS))


def _listed(folder: Path, only: str | None) -> tuple[list[PairFiles], dict[str, str]]:
    """Return the pairs of one split of a dataset, or of all, and why others cannot be used.

    An id of several splits gets the split's name, and so does a row that names its own split in the
    one manifest of a folder. What the rows hold besides is not kept: a manifest may be long.

    Recordings that lie there and are not listed are counted in the log.
    """
    dataset = Dataset.open(folder)
    if only is not None and only not in dataset.manifests:
        manifest = folder / only / MANIFEST_NAME
        raise InputError(f"{manifest}: no such manifest; name a split that is there")
    ends = list[tuple[str, int]]()  # each split, and how many pairs there are up to its last
    pairs, reasons = list[PairFiles](), dict[int, str]()
    for split in dataset.manifests if only is None else [only]:
        for pair in dataset.pairs(split):
            reason = _why_not_as_told(pair)
            if reason is not None:
                reasons[len(pairs)] = reason
            pair_id = _id_with_own_split(pair) if split == WHOLE else pair.id
            pairs.append(PairFiles(pair_id, pair.files, pair.speaker, pair.is_rendered))
        ends.append((split, len(pairs)))
    if not pairs:
        raise InputError(f"{folder}: its {MANIFEST_NAME} lists no pairs")
    start, counts = 0, Counter(pair.id for pair in pairs)
    for split, end in ends if len(counts) < len(pairs) else ():
        for index in range(start, end):
            pair = pairs[index]
            if counts[pair.id] > 1:
                pairs[index] = replace(pair, id=f"{split}/{pair.id}")
        start = end
    _tell_of_others(folder if only is None else folder / only, folder, pairs)
    failures = {pairs[index].id: reason for index, reason in reasons.items()}
    return [pair for index, pair in enumerate(pairs) if index not in reasons], failures


def _tell_of_others(inside: Path, folder: Path, pairs: Sequence[PairFiles]) -> None:
    """Count the recordings in a part of a dataset that it does not list, in the log."""
    known = {str(path) for pair in pairs for path in pair.files.values()}
    found = (str(inside / name) for name in list_audio(inside).names)
    rest = [name for name in found if name not in known]
    if rest:
        known = {os.path.realpath(path) for path in known}  # some may be listed through a link
        rest = [name for name in rest if os.path.realpath(name) not in known]
    if rest:
        log.warning(
            "%s: %d audio files that no %s lists are not used, such as %s",
            *(printable(str(folder)), len(rest), MANIFEST_NAME, printable(rest[0])),
        )


def _id_with_own_split(pair: ListedPair) -> str:
    """Return the id of a pair with the split that its row names before it; an odd one is left."""
    try:
        split = split_told(pair.content)
    except InputError:  # which costs the pair itself (`_why_not_as_told`)
        split = None
    return pair.id if split is None else f"{split}/{pair.id}"


def _why_not_as_told(pair: ListedPair) -> str | None:
    """Return in what way the files of a pair are not as somebody else's manifest tells, or None.

    What bcsim wrote itself is compared with its sums (`bcsim.datasets.verification`).
    """
    try:
        if "drawn" not in pair.content:
            split_told(pair.content)
            check_told_of_files(pair.content, pair.files.values(), pair.where)
    except InputError as error:
        return str(error)
    return None


def _why_not_one_file(path: Path) -> str:
    """Return why a single file holds no pairs."""
    if path.suffix.lower() in AUDIO_SUFFIXES:
        told = f"air and bone of {shown(path.stem)} are this one file"
        return f"{path}: {told}; name two channels of it, or two files"
    endings = ", ".join(sorted(LIST_SUFFIXES))
    return f"{path}: is no list of pairs; its name wants the ending {endings}"


def _of_different_files(
    pairs: Sequence[PairFiles], unmatched: dict[str, str], two_channels: bool
) -> list[PairFiles]:
    """Return the pairs of two different files, each two once; the others go to `unmatched`.

    Files that are in several pairs, each with another one, are told in the log.
    """
    kept: dict[tuple[object, ...], PairFiles] = {}
    for pair in pairs:
        sides = tuple(_file_of(pair.files[role]) for role in ROLES)
        if sides[0] == sides[1] and not two_channels:
            for path in pair.files.values():
                unmatched[str(path)] = f"{path}: air and bone of {shown(pair.id)} are this one file"
            continue
        other = kept.setdefault(sides, pair)
        for role in ROLES if other is not pair else ():
            reason = f"{shown(pair.id)}: these are the files of {shown(other.id)}; leave one out"
            is_named = pair.files[role] == other.files[role]  # as a file of the other pair
            unmatched[pair.id if is_named else str(pair.files[role])] = reason
    counts = Counter(file for sides in kept for file in set(sides))
    several = [pair for sides, pair in kept.items() if max(counts[file] for file in sides) > 1]
    if several:
        log.warning(
            "%d pairs share a file with another pair, such as %s: they are of one speech, or one "
            "of them is wrong",
            *(len(several), printable(_both(several[0]))),
        )
    return [*kept.values()]


def _file_of(path: Path) -> object:
    """Return what tells a file from others, whatever it is called."""
    try:
        status = path.stat()
    except OSError:  # it is not there, which reading it says
        return str(path)
    return status.st_dev, status.st_ino


def _with_talkers(
    pairs: Sequence[PairFiles], table: Path, places: tuple[Path, Path], is_guess: bool
) -> list[PairFiles]:
    """Return the pairs with the talkers of a table; others keep theirs unless it was a guess."""
    names = {pair.id: {pair.id, *_names_in_tables(pair, places, table.parent)} for pair in pairs}
    talkers = talkers_of(table, names)
    for pair in pairs:
        told = talkers.get(pair.id)
        if not is_guess and told is not None and pair.speaker not in (None, told):
            raise InputError(
                f"{table}: the talker of {shown(pair.id)} is {shown(told)}, and "
                f"{shown(pair.speaker)} where the pairs are listed; mend one of the two"
            )
    return [
        replace(pair, speaker=talkers.get(pair.id, None if is_guess else pair.speaker))
        for pair in pairs
    ]


def _names_in_tables(pair: PairFiles, places: tuple[Path, Path], folder: Path) -> Iterator[str]:
    """Yield what a table may call the files of a pair: whole paths, and those below a folder."""
    for path in (pair.files["air"], pair.files["bone"]):
        yield path.as_posix()
        for root in (*places, *(place.parent for place in places), folder):
            if path.is_relative_to(root):
                yield path.relative_to(root).as_posix()
