"""Kaldi data directories: one a split and role, with equal utterance ids.

`wav.scp`, `utt2spk`, `spk2utt`, `utt2dur` and `reco2dur` in the order of the C locale. Kaldi reads
WAV alone, so FLAC goes through the usual pipe, `flac -c -d -s FILE |`.
"""

import shlex
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from bcsim.datasets.dataset import ListedPair
from bcsim.datasets.exporters import EXPORTERS
from bcsim.datasets.exporters.base import Exporter
from bcsim.errors import InputError
from bcsim.files.atomic import write_text

FLAC_COMMAND = ("flac", "-c", "-d", "-s")


@EXPORTERS.register("kaldi")
class Kaldi(Exporter):
    """`SPLIT_bone/`, `SPLIT_air/` and, where there is one, `SPLIT_noisy_air/`."""

    def write_split(self, pairs: Iterable[ListedPair], split: str, out: Path) -> None:
        scripts: dict[str, dict[str, str]] = defaultdict(dict)
        speakers: dict[str, str] = {}
        durations: dict[str, str] = {}
        for pair in pairs:
            speaker, utterance = _ids(pair.speaker, pair.id)
            if utterance in speakers:
                raise InputError(f"pair {pair.id!r}: another one is called {utterance}; rename one")
            speakers[utterance] = speaker
            durations[utterance] = f"{pair.content['duration_s']:.6f}"
            for role, path in pair.files.items():
                scripts[role][utterance] = _read_by_kaldi(path)
        for role, script in scripts.items():
            folder = out / f"{split}_{role}"
            members: dict[str, list[str]] = defaultdict(list)
            for utterance in sorted(script):  # ids are ASCII: this is the order of the C locale
                members[speakers[utterance]].append(utterance)
            lasting = {utterance: durations[utterance] for utterance in script}
            tables = {
                "wav.scp": script,
                "utt2spk": {utterance: speakers[utterance] for utterance in script},
                "spk2utt": {speaker: " ".join(ids) for speaker, ids in members.items()},
                "utt2dur": lasting,
                "reco2dur": lasting,
            }
            for name, table in tables.items():
                write_text(folder / name, "".join(f"{k} {table[k]}\n" for k in sorted(table)))


def _ids(speaker: str | None, pair_id: str) -> tuple[str, str]:
    """Return speaker and utterance for Kaldi, where the one is a prefix of the other.

    Of whom nothing is known is a speaker of his own, as Kaldi's documentation has it.

    A "-" divides them. It sorts before everything that a speaker's name may hold here, so that
    the order by utterance is the order by speaker, which Kaldi checks.

    Example:
        >>> _ids("s1", "s1/a b")
        ('s1', 's1-a=20b')
        >>> _ids("s-1", "other/c")
        ('s=2D1', 's=2D1-other=2Fc')
    """
    if speaker is None or pair_id == speaker:
        return _token(pair_id), _token(pair_id)
    token = _token(speaker)
    return token, f"{token}-{_token(pair_id.removeprefix(f'{speaker}/'))}"


def _token(text: str) -> str:
    """Return text without spaces, slashes and hyphens: bytes as =XX, as in quoted-printable."""
    return quote(text, safe="").replace("-", "%2D").replace("%", "=")


def _read_by_kaldi(path: Path) -> str:
    if path.suffix.lower() == ".flac":
        return shlex.join([*FLAC_COMMAND, str(path)]) + " |"
    if str(path).endswith(("|", " ")) or path.suffix.lower() != ".wav":
        raise InputError(f"{path}: Kaldi reads .wav and .flac; synthesize with one of them")
    return str(path)
