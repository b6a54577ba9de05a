"""Tables of talkers: who speaks in which recording."""

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bcsim.audio.folder import without_audio_suffix
from bcsim.datasets.lists import TALKER_COLUMNS
from bcsim.datasets.speaker_names import known_name
from bcsim.datasets.tables import Table, read_table, text_of
from bcsim.errors import InputError
from bcsim.files.paths import printable
from bcsim.files.text import shown

FILE_COLUMNS = (
    *("file", "filename", "file_name", "path", "recording", "utterance", "utterance_id"),
    *("name", "id", "pair"),
)
_TALKER_COLUMN = re.compile(  # what a column of names is called; `speaker_age` is none
    r"(?:.*[^a-z])?(?:talker|speaker|spk)[^a-z]*"
    r"(?:id|name|no|nr|num|number|code|label|key|index|idx|uid|uuid)?"
)
_NUM_EXAMPLES = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a row of a table says, and how closely its name fits a recording's: 0 is exactly."""

    distance: int
    name: str
    talker: str
    where: str


def read_talkers(path: Path) -> dict[str, tuple[str, str]]:
    """Return what a table of talkers says: by recording, the talker and the row's file and line.

    The table is CSV (comma, semicolon or tab) or JSON lines. Its heading has a column of recordings
    (`file`, `filename`, `path`, `name`, `id`, ...) and one of talkers (`talker`, `speaker`,
    `speaker_id`, ..., or the only one that is called like `Speaker name`). Spaces around a
    talker's name do not count, and "0" is a name; `nan`, `None`, `unknown` and their like are none
    (`known_name`). Rows that are malformed, or without a recording or a talker, are counted in the
    log.

    Raises:
        InputError: if the file is missing, is no such table, names nobody, or gives one recording
            two talkers.
    """
    table = read_table(path)
    file_column = table.column(FILE_COLUMNS)
    talker_column = _talker_column(table)
    if file_column is None or talker_column is None:
        raise InputError(
            f"{path}: wants a heading with the columns file and talker, not "
            f"{shown(', '.join(table.columns)) or 'nothing'}"
        )
    talkers: dict[str, tuple[str, str]] = {}
    useless = []
    for row in table.entries:
        try:
            name, talker = (_composed(text_of(row, c)) for c in (file_column, talker_column))
        except InputError as error:
            useless.append(str(error))
            continue
        name = PurePosixPath(name).as_posix() if name else ""
        if name in ("", ".", "/") or known_name(talker) is None:
            talker_told = f" ({shown(talker)!r} stands for an unknown one)" if talker else ""
            useless.append(f"{row.where}: names no recording or no talker{talker_told}")
            continue
        before, where = talkers.setdefault(name, (talker, row.where))
        if before != talker:
            raise InputError(
                f"{row.where}: the talker of {shown(name)!r} is {shown(talker)!r}, and "
                f"{shown(before)!r} in {where.removeprefix(f'{path} ')}; remove one of the rows"
            )
    if not talkers:
        raise InputError(f"{path}: no row names a recording and a talker; first: {useless[0]}")
    if useless:
        log.warning("%d rows of %s say nothing; first: %s", len(useless), path, useless[0])
    _warn_of_likeness({talker for talker, _ in talkers.values()}, path)
    return talkers


def talkers_of(path: Path, names: Mapping[str, Collection[str]]) -> dict[str, str]:
    r"""Return the talker of each recording that a table names.

    A row names a recording by one of its names exactly; else without the ending of an audio file
    (`.wav`, not `.1`) on either side; else by a file's name without folders, where no other file
    is called so. The closest wins. How many rows name no recording, and how many recordings no row
    names, is logged.

    Args:
        path: table of talkers; see `read_talkers`.
        names: the names that a recording may have in the table, by the recording: a pair's id, the
            paths of its files below their folders.

    Returns:
        The talker by recording; those that no row names are left out: their talker is unknown.

    Raises:
        InputError: if the table cannot be used (`read_talkers`), two of its rows give one recording
            two talkers, or none of them names a recording.

    Example:
        >>> import tempfile
        >>> table = Path(tempfile.mkdtemp()) / "talkers.csv"
        >>> _ = table.write_text("file;talker\nrec.1;A\n")
        >>> talkers_of(table, {"rec.1": ("rec.1", "rec.1.wav"), "rec.2": ("rec.2",)})
        {'rec.1': 'A'}
    """
    talkers = read_talkers(path)
    exact, stems, bases = _indices(names)
    claims: defaultdict[str, list[_Claim]] = defaultdict(list)
    for name, (talker, where) in talkers.items():
        # Windows divides folders by backslashes, which are part of a name elsewhere.
        name_here = name if name in exact or name in stems else name.replace("\\", "/")
        stem = without_audio_suffix(name_here)
        nearby = (exact.get(name_here), stems.get(name_here), stems.get(stem), bases.get(stem))
        for distance, found in enumerate(nearby):
            if found:
                for recording in found:
                    claims[recording].append(_Claim(distance, name, talker, where))
                break
    assigned: dict[str, str] = {}
    used: set[str] = set()
    for recording, of_it in claims.items():
        nearest = min(claim.distance for claim in of_it)
        first, *others = (claim for claim in of_it if claim.distance == nearest)
        for claim in others:
            if claim.talker != first.talker:
                raise InputError(
                    f"{claim.where}: the talker of {shown(recording)!r} is {shown(claim.talker)!r},"
                    f" and {shown(first.talker)!r} in {first.where}; remove one of the rows"
                )
        used.update(claim.name for claim in (first, *others))
        assigned[recording] = first.talker
    if not assigned:
        of_table, of_files = _examples(talkers), _examples(names)
        raise InputError(
            f"{path}: names none of the recordings (in the table: {of_table}; there: {of_files})"
        )
    unused = [name for name in talkers if name not in used]
    if unused:
        log.warning(
            "%s: %d of %d rows match no recording: %s",
            *(path, len(unused), len(talkers), _examples(unused)),
        )
    unnamed = [recording for recording in names if recording not in assigned]
    if unnamed:
        log.warning(
            "%s: no row names %d of %d recordings, whose talker stays unknown: %s",
            *(path, len(unnamed), len(names), _examples(unnamed)),
        )
    return assigned


def _talker_column(table: Table) -> str | None:
    """Return the column of talkers; an InputError names several that could be it."""
    usual = table.column(TALKER_COLUMNS)
    if usual is not None:
        return usual
    found = [column for column in table.columns if _TALKER_COLUMN.fullmatch(column)]
    if len(found) > 1:
        raise InputError(
            f"{table.path}: the columns {shown(', '.join(found))} could all be the talker; call "
            "the right one 'talker'"
        )
    return found[0] if found else None


def _indices(names: Mapping[str, Collection[str]]) -> tuple[dict[str, list[str]], ...]:
    """Return the recordings by name, by name without audio ending, and by unique file name."""
    exact: defaultdict[str, list[str]] = defaultdict(list)
    stems: defaultdict[str, list[str]] = defaultdict(list)
    bases: defaultdict[str, list[str]] = defaultdict(list)
    for recording, of_it in names.items():
        composed = {_composed(name) for name in of_it}
        for name in composed:
            exact[name].append(recording)
        without = {without_audio_suffix(name) for name in composed}
        for stem in without:
            stems[stem].append(recording)
        for base in {stem.rpartition("/")[2] for stem in without}:
            bases[base].append(recording)
    return exact, stems, {base: found for base, found in bases.items() if len(found) == 1}


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _warn_of_likeness(talkers: Iterable[str], path: Path) -> None:
    """Log talkers whose names differ in capitals alone; they stay different talkers."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for talker in sorted(talkers):
        alike[talker.casefold()].append(talker)
    for spellings in alike.values():
        if len(spellings) > 1:
            told = " and ".join(repr(printable(talker)) for talker in spellings)
            log.warning(
                "%s: %s differ in capitals alone, and are taken for two talkers", path, told
            )


def _examples(names: Iterable[str]) -> str:
    shortlist: Sequence[str] = [*names]
    told = ", ".join(repr(shown(name)) for name in shortlist[:_NUM_EXAMPLES])
    return told + (", ..." if len(shortlist) > _NUM_EXAMPLES else "")
