"""The pairs of files, folders and patterns, as names tell them, and why a file is in no pair."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from bcsim.audio.folder import audio_names, without_audio_suffix
from bcsim.datasets.dataset import PairFiles
from bcsim.datasets.pairing import ROLES, Pairing, pair_sides, pair_tree
from bcsim.datasets.patterns import Pattern
from bcsim.datasets.speaker_names import speaker_of_path
from bcsim.errors import InputError
from bcsim.files.text import shown

Found = tuple[list[PairFiles], dict[str, str]]


def named_pairs(air: Path, bone: Path, two_channels: bool) -> Found:
    """Return the pairs that names tell, and the reason by file for those that are in none.

    The path tells the talker of a pair (`speaker_of_path`).

    Args:
        air: file, folder or pattern of the air microphone.
        bone: file, folder or pattern of the sensor; may be the same folder or file.
        two_channels: whether a file may be both sides of a pair, each another channel of it.

    Raises:
        InputError: if one is missing, the two are of different kinds, or no two files belong
            together.
    """
    if air.is_file() and bone.is_file():
        return [PairFiles(without_audio_suffix(air.name), {"air": air, "bone": bone})], {}
    patterns = Pattern.of(air), Pattern.of(bone)
    if patterns[0] is not None and patterns[1] is not None:
        return _of_patterns(patterns[0], patterns[1])
    for path, other in ((air, bone), (bone, air)):
        if not path.exists() and Pattern.of(path) is None:
            raise InputError(f"{path}: no such file or folder")
        if not path.is_dir():
            raise InputError(f"{path} and {other}: give two files or two folders, or two patterns")
    if os.path.samefile(air, bone):
        return _of_one_folder(air, two_channels)
    return _of_two_folders(air, bone)


def _of_patterns(air: Pattern, bone: Pattern) -> Found:
    sides = {"air": air.files(), "bone": bone.files()}
    folders = {"air": air.folder, "bone": bone.folder}
    texts = {"air": air.text, "bone": bone.text}
    pairs, unmatched = [], {}
    for key in sorted(sides["air"].keys() | sides["bone"].keys()):
        names = {role: sides[role].get(key, []) for role in ROLES}
        if all(len(found) == 1 for found in names.values()):
            files = {role: folders[role] / names[role][0] for role in ROLES}
            pairs.append(PairFiles(key, files, speaker_of_path(key)))
            continue
        for role, other in zip(ROLES, ROLES[::-1], strict=True):
            for name in names[role]:
                path = str(folders[role] / name)
                several = len(names["air"]) > 1 or len(names["bone"]) > 1
                reason = "several files" if several else "no file"
                unmatched[path] = f"{path}: {reason} for {shown(key)} in {texts[other]}"
    if not pairs:
        raise InputError(
            f"{air.text} and {bone.text}: what stands for the wildcards is never the same; first: "
            f"{next(iter(unmatched.values()))}"
        )
    return pairs, unmatched


def _of_one_folder(folder: Path, two_channels: bool) -> Found:
    names = audio_names(folder)
    if all((folder / role).is_dir() for role in ROLES):
        sides = {role: [n for n in names if n.startswith(f"{role}/")] for role in ROLES}
        if all(sides.values()):
            pair_tree(names)  # raises where a talker is called air, and another one bone
            pairing = pair_sides(*(_below(role, sides[role]) for role in ROLES))
            found = _files(pairing, folder / "air", folder / "bone")
            rest = set(names) - set(sides["air"]) - set(sides["bone"])
            reason = f"lies neither in {folder / 'air'} nor in {folder / 'bone'}"
            found[1].update(_reasons(folder, dict.fromkeys(sorted(rest), reason)))
            return found
    pairing = pair_tree(names)
    if not pairing.pairs and two_channels:
        pairing = Pairing([(without_audio_suffix(name), name, name) for name in names])
    if not pairing.pairs:
        raise InputError(
            f"{folder}: no two files differ in a word for air and bone alone (found {names[0]!r}); "
            "call them NAME_air and NAME_bone, put them into folders air and bone, or give a list"
        )
    return _files(pairing, folder, folder)


def _of_two_folders(air: Path, bone: Path) -> Found:
    # One may lie in the other, whose own files are then the rest.
    names = [
        _outside(folder, other, audio_names(folder)) for folder, other in ((air, bone), (bone, air))
    ]
    pairing = pair_sides(*names)
    if not pairing.pairs:
        examples = " and ".join(
            repr(shown(without_audio_suffix(side[0])) if side else "nothing") for side in names
        )
        raise InputError(
            f"{air} and {bone}: no two files have the same name (found {examples}); "
            "a pair's files need equal paths below the two folders"
        )
    return _files(pairing, air, bone)


def _files(pairing: Pairing, air: Path, bone: Path) -> Found:
    """Return the pairs with their paths, and the reasons by path."""
    pairs = [
        PairFiles(
            pair_id, {"air": air / air_name, "bone": bone / bone_name}, speaker_of_path(pair_id)
        )
        for pair_id, air_name, bone_name in sorted(pairing.pairs)
    ]
    unmatched = _reasons(air, pairing.unmatched[0], bone) | _reasons(
        bone, pairing.unmatched[1], air
    )
    return pairs, unmatched


def _reasons(folder: Path, reasons: Mapping[str, str], other: Path | None = None) -> dict[str, str]:
    """Return reasons by path, which they begin with; `other` is where a partner was looked for."""
    below = "" if other is None or other == folder else f" below {other}"
    return {str(folder / name): f"{folder / name}: {why}{below}" for name, why in reasons.items()}


def _below(folder: str, names: Iterable[str]) -> list[str]:
    return [name.removeprefix(f"{folder}/") for name in names]


def _outside(folder: Path, other: Path, names: list[str]) -> list[str]:
    """Return the names of files that are not below another folder, which may lie in this one."""
    inside, whole = other.resolve(), folder.resolve()
    if whole not in inside.parents:
        return names
    prefix = inside.relative_to(whole).as_posix() + "/"
    return [name for name in names if not name.startswith(prefix)]
