"""Which air file belongs to which bone file, as their names tell.

In two folders, equal paths below them belong together. In one folder, and in two where no paths are
equal, a word stands for the role (`air`, `throat`, ...) only where two names differ in nothing
else: in one position, or in several that have the same word (`AIR/u0_air`, `BONE/u0_bone`). A
folder called AC is a talker as long as something else tells the sides apart.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from bcsim.audio.folder import without_audio_suffix
from bcsim.errors import InputError
from bcsim.files.paths import printable

ROLES = ("air", "bone")
AIR_WORDS = frozenset(
    {"air", "ac", "reference", "headset", "headset_microphone", "air_conduction", "air-conduction"}
)
BONE_WORDS = frozenset(
    {
        *("bone", "bc", "body", "sensor", "throat", "throat_microphone", "in-ear", "inear"),
        *("in_ear", "rigid_in_ear_microphone", "soft_in_ear_microphone", "accelerometer"),
        *("forehead", "forehead_accelerometer", "temple", "temple_vibration_pickup", "vibration"),
        *("bone_conduction", "bone-conduction", "larynx", "laryngophone", "accel", "acc", "imu"),
    }
)
_MARK = "\0"  # stands for the word in a name
_MOST_EQUAL = 4  # words in a name, of which several may tell the role together


@dataclass
class Pairing:
    """The pairs that names tell.

    Args:
        pairs: id of each pair, name of its air file and name of its bone file.
        unmatched: reason by name of a file without a partner, for the air and the bone side.
    """

    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    unmatched: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))


# Two names that differ only in words for their roles: place, template, air and bone.
_Edge = tuple[tuple[int, ...], str, str, str]


@dataclass(frozen=True, slots=True)
class _Role:
    """A word in a name that may stand for the role of its file, once or several times.

    Args:
        place: depth of each folder that the word is, or is part of; -1 in the file's own name.
        template: name with `_MARK` in the word's places.
    """

    place: tuple[int, ...]
    template: str


def pair_sides(air: Sequence[str], bone: Sequence[str]) -> Pairing:
    """Pair the files of two folders: by equal names, the others by a word for the role.

    Where some names are equal, no word but "air" and "bone" counts.

    Args:
        air: paths of the air files below their folder.
        bone: paths of the bone files below theirs.

    Raises:
        InputError: if words for a role can be read in two ways.
    """
    pairing = Pairing()
    sides = [_without_twins(names, pairing.unmatched[k]) for k, names in enumerate((air, bone))]
    equal = _equal_names(*sides)
    used = [{pair[place] for pair in equal} for place in (1, 2)]
    rests = [{k: n for k, n in s.items() if n not in u} for s, u in zip(sides, used, strict=True)]
    # Where names are equal, a folder AC on one side alone is a talker, whose partner is lost.
    pairing.pairs = _with_unique_ids([*equal, *_by_roles(*rests, plain_only=bool(equal))])
    _name_the_rest(pairing, *sides)
    return pairing


def pair_tree(names: Sequence[str]) -> Pairing:
    """Pair the files of one folder, in which words tell air from bone.

    All files without a partner are in `unmatched[0]`.

    Args:
        names: paths of the files below the folder.

    Raises:
        InputError: if the words can be read in two ways.
    """
    pairing = Pairing()
    keys = _without_twins(names, pairing.unmatched[0])
    pairing.pairs = _with_unique_ids(_by_roles(keys, keys))
    paired = {name for _, *both in pairing.pairs for name in both}
    for name in keys.values():
        if name not in paired:
            has_word = bool(_roles(name, AIR_WORDS) or _roles(name, BONE_WORDS))
            pairing.unmatched[0][name] = (
                "no file of the other role whose name differs in that word alone"
                if has_word
                else "nothing in its name tells whether it is air or bone"
            )
    return pairing


def pair_ids(air: str, bone: str) -> str:
    """Return the id of the pair of two files: what their names have in common.

    Example:
        >>> pair_ids("air/s1/u0.wav", "bone/s1/u0.wav"), pair_ids("u0_air.wav", "u0_bone.wav")
        ('s1/u0', 'u0')
    """
    keys = [without_audio_suffix(name) for name in (air, bone)]
    if keys[0] == keys[1]:
        return keys[0]
    templates = {role.template for role in _roles(keys[0], AIR_WORDS)}
    found = [role for role in _roles(keys[1], BONE_WORDS) if role.template in templates]
    return _id(found[0].template) if found else keys[1]


def _without_twins(names: Iterable[str], unmatched: dict[str, str]) -> dict[str, str]:
    """Return names by themselves without ending; where that is not unique they are unmatched."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[without_audio_suffix(name)].append(name)
    keys = {}
    for key, found in groups.items():
        if len(found) == 1:
            keys[key] = found[0]
            continue
        for name, other in zip(found, found[1:] + found[:1], strict=True):
            unmatched[name] = f"{printable(other)} has the same name but for its ending; rename one"
    return keys


def _equal_names(air: Mapping[str, str], bone: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the pairs of equal keys; of the others those that are equal once composed (NFC)."""
    pairs = [(key, air[key], bone[key]) for key in air.keys() & bone.keys()]
    air_rest, bone_rest = _composed(air, without=bone), _composed(bone, without=air)
    for key in air_rest.keys() & bone_rest.keys():
        (air_key, air_name), (_, bone_name) = air_rest[key], bone_rest[key]
        pairs.append((air_key, air_name, bone_name))
    return sorted(pairs)


def _composed(names: Mapping[str, str], without: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return key and name by the composed key, where that is unique, but for some keys."""
    rest = [(_nfc(key), key, name) for key, name in names.items() if key not in without]
    counts = Counter(composed for composed, *_ in rest)
    return {composed: (key, name) for composed, key, name in rest if counts[composed] == 1}


def _by_roles(
    air: Mapping[str, str], bone: Mapping[str, str], plain_only: bool = False
) -> list[tuple[str, str, str]]:
    """Return the pairs of names that differ only where each has words for its role.

    Positions compete where a file has several partners. One that gives every file that has any
    partner exactly one is taken, if no other position does.
    """
    if len({_nfc(key) for key in air}) == len(air) and len({_nfc(key) for key in bone}) == len(
        bone
    ):
        air, bone = ({_nfc(key): name for key, name in side.items()} for side in (air, bone))
    by_template: defaultdict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    places: dict[str, tuple[int, ...]] = {}
    for side, (keys, words) in enumerate(((air, AIR_WORDS), (bone, BONE_WORDS))):
        for key in keys:
            for role in _roles(key, words, plain_only):
                by_template[role.template][side].append(key)
                places[role.template] = role.place
    edges = [
        (places[template], template, air_key, bone_key)
        for template, (air_keys, bone_keys) in by_template.items()
        for air_key in air_keys
        for bone_key in bone_keys
    ]
    return [
        (_id(template), air[air_key], bone[bone_key])
        for _, template, air_key, bone_key in _consistent(edges)
    ]


def _with_unique_ids(pairs: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return sorted pairs, of which those of equal ids are called by their air file."""
    ids = Counter(pair_id for pair_id, *_ in pairs)
    return sorted(
        (pair_id if ids[pair_id] == 1 else without_audio_suffix(air), air, bone)
        for pair_id, air, bone in pairs
    )


def _consistent(edges: list[_Edge]) -> list[_Edge]:
    """Return the edges (place, template, air, bone) of which every file has one at most.

    Raises:
        InputError: naming a file and two that could be its partner, if that cannot be told.
    """
    partners = Counter(key for *_, air, bone in edges for key in (air, bone))
    if not partners or max(partners.values()) == 1:
        return edges
    complete = []
    for place in {edge[0] for edge in edges}:
        here = [edge for edge in edges if edge[0] == place]
        counts = Counter(key for *_, air, bone in here for key in (air, bone))
        if counts.keys() == partners.keys() and max(counts.values()) == 1:
            complete.append(here)
    if len(complete) == 1:
        return complete[0]
    key = max(partners, key=lambda key: (partners[key], key))
    first, second, *_ = (edge for edge in edges if key in edge[2:])
    others = [air if bone == key else bone for *_, air, bone in (first, second)]
    told = " and ".join(repr(printable(other)) for other in others)
    raise InputError(
        f"{printable(key)!r} could be the partner of {told}; give a folder of air and one of bone, "
        "or a list of pairs"
    )


def _name_the_rest(pairing: Pairing, air: Mapping[str, str], bone: Mapping[str, str]) -> None:
    """Put the files without a partner into `unmatched`, with the name that was looked for."""
    for side, (names, place) in enumerate(((air, 1), (bone, 2))):
        paired = {pair[place] for pair in pairing.pairs}
        for key, name in names.items():
            if name not in paired:
                pairing.unmatched[side][name] = f"no file called {printable(key)}"


_WORDS = sorted(AIR_WORDS | BONE_WORDS, key=len, reverse=True)
_WORD = re.compile(  # whole folders and whole parts of names
    rf"(?<![^/_\-. ])(?:{'|'.join(map(re.escape, _WORDS))})(?![^/_\-. ])", re.IGNORECASE
)


def _roles(key: str, words: Collection[str], plain_only: bool = False) -> list[_Role]:
    """Return the words of a name that may stand for a role; where some are plain, only these.

    A word that a name has several times stands for it in each of these places, or in some. Words
    that differ do not stand for it together: one may be a talker's initials.
    """
    found = [*_WORD.finditer(key)]
    plain = [match for match in found if match[0].lower() in ROLES]
    usable = plain if plain or plain_only else found
    of_role = [match for match in usable if match[0].lower() in words]
    most = len(of_role) if len(of_role) <= _MOST_EQUAL else 1
    return [
        _marked(key, matches)
        for number in range(1, most + 1)
        for matches in combinations(of_role, number)
        if len({match[0].lower() for match in matches}) == 1
    ]


def _marked(key: str, matches: Sequence[re.Match[str]]) -> _Role:
    """Return a name with the mark in place of some of its words."""
    places, template = [], key
    for match in reversed(matches):
        depth = key.count("/", 0, match.start())
        places.append(depth if depth < key.count("/") else -1)
        template = f"{template[: match.start()]}{_MARK}{template[match.end() :]}"
    return _Role(tuple(places), template)


def _id(template: str) -> str:
    """Return a template without its marks and the separators around them."""
    name = template
    while _MARK in name:
        before, _, after = name.partition(_MARK)
        head, tail = before.rstrip("_-. "), after.lstrip("_-. ")
        name = f"{before if tail and not tail.startswith('/') else head}{tail}"
    return "/".join(part for part in name.split("/") if part) or "pair"


def _nfc(key: str) -> str:
    return unicodedata.normalize("NFC", key)
