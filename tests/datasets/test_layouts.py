"""Which file belongs to which is told by names, in every layout; what is in no pair is named."""

import os
import unicodedata

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bcsim.datasets.pairs import open_pairs
from bcsim.datasets.recordings import find_pairs
from bcsim.errors import InputError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def found(folder, air="", bone=""):
    """Return the pairs as id to the two names, and the names in no pair."""
    pairs, unmatched = find_pairs(folder / air, folder / bone)
    by_id = {
        p.id: tuple(str(p.files[role].relative_to(folder)) for role in ("air", "bone"))
        for p in pairs
    }
    assert len(by_id) == len(pairs)
    return by_id, {os.path.relpath(name, folder) for name in unmatched}


TALKERS = ("AC", "BC", "DF", "GH")


def test_talkers_that_are_guessed_from_folders_are_told(tmp_path, caplog):
    """A split was taken for a talker, and hold-outs went by it without a word."""
    caplog.set_level("INFO")
    for name in ("train/ann/u", "train/ben/u", "dev/v", "w"):
        touch(tmp_path, f"air/{name}.wav", f"bone/{name}.wav")
    pairs, _ = find_pairs(tmp_path, tmp_path)
    speakers = {"train/ann/u": "ann", "train/ben/u": "ben", "dev/v": None, "w": None}
    assert {pair.id: pair.speaker for pair in pairs} == speakers
    assert "2 talkers, taken from the names of folders: ann, ben" in caplog.text


@pytest.mark.parametrize("sides", [("air", "bone"), ("", "")])
@pytest.mark.parametrize("talkers", [TALKERS, TALKERS[:2], ("reference", "sensor")])
def test_a_talker_may_be_called_like_a_role(tmp_path, sides, talkers):
    """AC's air was paired with BC's bone; AC's bone and BC's air vanished, exit 0."""
    names = [f"{talker}/u{k}" for talker in talkers for k in range(2)]
    touch(tmp_path, *(f"{role}/{name}.wav" for role in ("air", "bone") for name in names))
    pairs, unmatched = found(tmp_path, *sides)
    assert pairs == {name: (f"air/{name}.wav", f"bone/{name}.wav") for name in names}
    assert not unmatched


def test_a_lost_partner_is_not_replaced_by_another_talkers(tmp_path):
    touch(tmp_path, "air/AC/u0.wav", "bone/BC/u0.wav", "air/DF/u0.wav", "bone/DF/u0.wav")
    for sides in (("air", "bone"), ("", "")):
        pairs, unmatched = found(tmp_path, *sides)
        assert pairs == {"DF/u0": ("air/DF/u0.wav", "bone/DF/u0.wav")}
        assert unmatched == {"air/AC/u0.wav", "bone/BC/u0.wav"}


def test_talkers_called_air_and_bone_have_to_be_told_apart(tmp_path):
    names = [f"{a}/{b}/u0.wav" for a in ("air", "bone") for b in ("air", "bone")]
    touch(tmp_path, *names)
    with pytest.raises(InputError, match="could be the partner of"):
        found(tmp_path)
    assert found(tmp_path, "air", "bone") == (
        {f"{t}/u0": (f"air/{t}/u0.wav", f"bone/{t}/u0.wav") for t in ("air", "bone")},
        set(),
    )


def test_one_equal_name_takes_no_partner_from_the_others(tmp_path):
    touch(tmp_path, "x/u0_air.wav", "y/u0_bone.wav", "x/noise.wav", "y/noise.wav")
    assert found(tmp_path, "x", "y") == (
        {"u0": ("x/u0_air.wav", "y/u0_bone.wav"), "noise": ("x/noise.wav", "y/noise.wav")},
        set(),
    )


def test_a_folder_that_both_sides_have_is_no_role(tmp_path):
    """A folder `reference` on both sides lost its pairs."""
    touch(tmp_path, *(f"{role}/{f}/a.wav" for role in ("air", "bone") for f in ("reference", "x")))
    assert found(tmp_path, "air", "bone")[0].keys() == {"reference/a", "x/a"}


def test_the_position_that_explains_all_files_tells_the_roles(tmp_path):
    touch(tmp_path, *(f"{role}/{t}/u.wav" for role in ("headset", "throat") for t in TALKERS))
    pairs, unmatched = found(tmp_path)
    assert pairs == {f"{t}/u": (f"headset/{t}/u.wav", f"throat/{t}/u.wav") for t in TALKERS}
    assert not unmatched


def test_words_that_can_be_read_in_two_ways_are_refused_with_both(tmp_path):
    touch(tmp_path, *(f"{role}/{t}/u.wav" for role in ("headset", "throat") for t in ("AC", "BC")))
    with pytest.raises(InputError, match=r"could be the partner of 'headset/BC/u' and .* list of"):
        found(tmp_path)


def test_two_sensors_in_one_folder_are_refused_with_both(tmp_path):
    touch(tmp_path, *(f"{role}/a.wav" for role in ("headset", "throat", "in-ear")))
    with pytest.raises(InputError, match="'headset/a' could be the partner of"):
        found(tmp_path)
    pairs, _ = found(tmp_path, "headset", "throat")
    assert pairs == {"a": ("headset/a.wav", "throat/a.wav")}


@pytest.mark.parametrize(
    ("air", "bone", "name"),
    [
        ("u0_air.wav", "u0_bone.wav", "u0"),
        ("air_u0.wav", "bone_u0.wav", "u0"),
        ("u0-ac.wav", "u0-bc.wav", "u0"),
        ("u0.air.flac", "u0.bone.wav", "u0"),
        ("u0_AIR_02.wav", "u0_BONE_02.wav", "u0_02"),
        ("s1/air.wav", "s1/throat.wav", "s1"),
        ("s1/a.headset_microphone.wav", "s1/a.throat_microphone.wav", "s1/a"),
        ("s1_air/u0.wav", "s1_bone/u0.wav", "s1/u0"),
        ("air.wav", "bone.wav", "pair"),
        ("AC/u0_air.wav", "AC/u0_bone.wav", "AC/u0"),
        ("AIR/u0_air.wav", "BONE/u0_bone.wav", "u0"),
        ("ann/ac/ac-u0.ac.flac", "ann/bc/bc-u0.bc.wav", "ann/u0"),
        ("headset/ann/u0_headset.wav", "throat/ann/u0_throat.wav", "ann/u0"),
    ],
)
def test_roles_in_the_names_of_one_folder(tmp_path, air, bone, name):
    """`u0_air.wav` was paired with itself, and so was `u0_bone.wav`."""
    touch(tmp_path, air, bone, "other.wav")
    assert found(tmp_path) == ({name: (air, bone)}, {"other.wav"})


def test_roles_in_the_names_of_two_folders(tmp_path):
    touch(tmp_path, "x/u0_ac.wav", "x/u1_ac.wav", "y/u0_bc.wav", "y/u2_bc.wav")
    pairs, unmatched = found(tmp_path, "x", "y")
    assert pairs == {"u0": ("x/u0_ac.wav", "y/u0_bc.wav")}
    assert unmatched == {"x/u1_ac.wav", "y/u2_bc.wav"}


def test_words_that_differ_do_not_tell_a_role_together(tmp_path):
    """AC and BC are two talkers, of each of whom one side is lost."""
    touch(tmp_path, "AC/u0_headset.wav", "BC/u0_throat.wav", "AC/air/u1.wav", "BC/bone/u1.wav")
    with pytest.raises(InputError, match="no two files differ in a word"):
        found(tmp_path)


def test_talkers_called_like_roles_beside_role_endings(tmp_path):
    names = [f"{t}/u{k}" for t in ("AC", "BC") for k in range(2)]
    touch(tmp_path, *(f"{name}_{role}.wav" for name in names for role in ("air", "bone")))
    assert found(tmp_path)[0] == {n: (f"{n}_air.wav", f"{n}_bone.wav") for n in names}


def test_a_file_is_never_paired_with_itself(tmp_path):
    touch(tmp_path, "a.wav", "b.wav")
    with pytest.raises(InputError, match="no two files differ in a word"):
        found(tmp_path)
    with pytest.raises(InputError, match="air and bone of a are this one file"):
        found(tmp_path, "a.wav", "a.wav")
    (tmp_path / "bone").mkdir()
    (tmp_path / "bone/a.wav").symlink_to(tmp_path / "a.wav")
    touch(tmp_path, "bone/b.wav")
    pairs, unmatched = found(tmp_path, "", "bone")
    assert pairs == {"b": ("b.wav", "bone/b.wav")}
    assert unmatched == {"a.wav", "bone/a.wav"}


@pytest.mark.parametrize("sides", [("air", "bone"), ("", "")])
def test_accents_are_the_same_however_they_are_written(tmp_path, sides):
    """`été0.wav` of a Mac had no partner from Linux."""
    composed, decomposed = (
        unicodedata.normalize(form, "\u00e9t\u00e90") for form in ("NFC", "NFD")
    )
    touch(tmp_path, f"air/{composed}.wav", f"bone/{decomposed}.wav")
    pairs, unmatched = found(tmp_path, *sides)
    assert [*pairs.values()] == [(f"air/{composed}.wav", f"bone/{decomposed}.wav")]
    assert not unmatched


def test_names_that_differ_in_the_writing_of_accents_are_two_files(tmp_path):
    names = [unicodedata.normalize(form, "\u00e9") for form in ("NFC", "NFD")]
    touch(tmp_path, *(f"{role}/{name}.wav" for role in ("air", "bone") for name in names))
    for sides in (("air", "bone"), ("", "")):
        pairs, _ = found(tmp_path, *sides)
        assert pairs == {n: (f"air/{n}.wav", f"bone/{n}.wav") for n in names}


def test_equal_names_with_several_endings_cost_themselves_alone(tmp_path):
    """One of them refused all pairs."""
    touch(tmp_path, "air/a.wav", "air/a.flac", "bone/a.wav", "air/b.wav", "bone/b.wav")
    pairs, unmatched = found(tmp_path, "air", "bone")
    assert pairs == {"b": ("air/b.wav", "bone/b.wav")}
    assert unmatched == {"air/a.wav", "air/a.flac", "bone/a.wav"}


def test_a_side_within_the_other_has_its_files_for_itself(tmp_path):
    touch(tmp_path, "a.wav", "throat/a.wav", "b.wav")
    assert found(tmp_path, "", "throat") == ({"a": ("a.wav", "throat/a.wav")}, {"b.wav"})


def test_files_beside_air_and_bone_are_named(tmp_path):
    touch(tmp_path, "air/a.wav", "bone/a.wav", "noise/n.wav")
    assert found(tmp_path) == ({"a": ("air/a.wav", "bone/a.wav")}, {"noise/n.wav"})


def test_what_stands_for_the_wildcards_names_the_pair(tmp_path):
    names = [f"s{k}/{side}/take{k}.wav" for k in range(3) for side in ("mic1", "mic2")]
    touch(tmp_path, *names, "s3/mic1/take3.wav")
    pairs, unmatched = found(tmp_path, "*/mic1/*.wav", "*/mic2/*.wav")
    assert pairs == {
        f"s{k}/take{k}": (f"s{k}/mic1/take{k}.wav", f"s{k}/mic2/take{k}.wav") for k in range(3)
    }
    assert unmatched == {"s3/mic1/take3.wav"}
    assert found(tmp_path, "**/mic1/*", "**/mic2/*")[0] == pairs


def test_patterns_in_one_folder(tmp_path):
    touch(tmp_path, "u0_left.wav", "u0_neck.flac", "u1_left.wav", "u[2]_left.wav", "notes.txt")
    pairs, unmatched = found(tmp_path, "*_left.wav", "*_neck.*")
    assert pairs == {"u0": ("u0_left.wav", "u0_neck.flac")}
    assert unmatched == {"u1_left.wav", "u[2]_left.wav"}


def test_accents_in_a_pattern_are_the_same_however_they_are_written(tmp_path):
    composed, decomposed = (unicodedata.normalize(f, "\u00e9t\u00e9") for f in ("NFC", "NFD"))
    touch(tmp_path, f"{decomposed}0_l.wav", f"{composed}0_r.wav")
    for spelling in (composed, decomposed):
        pairs, _ = found(tmp_path, f"{spelling}*_l.wav", f"{spelling}*_r.wav")
        assert pairs == {"0": (f"{decomposed}0_l.wav", f"{composed}0_r.wav")}


def test_a_pattern_that_fits_nothing_is_refused(tmp_path):
    touch(tmp_path, "a.wav", "b.wav")
    for air, bone, message in (
        ("x*.wav", "*.wav", "no audio file fits this pattern"),
        ("a*.wav", "*b.wav", "what stands for the wildcards is never the same|pair can be used"),
        ("a*.wav", "", "two files or two folders, or two patterns"),
    ):
        if air == "a*.wav" and bone == "*b.wav":
            touch(tmp_path, "axx.wav")
            (tmp_path / "a.wav").unlink(missing_ok=True)
        with pytest.raises(InputError, match=message):
            found(tmp_path, air, bone)


def test_training_takes_any_folder_of_pairs(tmp_path):
    """`train --pairs` took air/ and bone/ alone."""
    touch(tmp_path, "u0_air.wav", "u1_air.wav")
    with pytest.raises(InputError, match="no two files differ in a word for air and bone"):
        open_pairs(tmp_path, 16_000, 0)


@pytest.mark.parametrize("splits", [("train", "test"), ("dev",)])
def test_pairs_beside_folders_of_splits_do_not_mix_test_into_training(tmp_path, caplog, splits):
    """One pair in a folder of its own, and the whole test was trained on without a word."""
    for name in ("ann/u", *(f"{split}/u" for split in splits)):
        for role in ("air", "bone"):
            (tmp_path / role / name).parent.mkdir(parents=True)
            soundfile.write(tmp_path / role / f"{name}.wav", np.sin(np.arange(1000)), 16_000)
    pairs = open_pairs(tmp_path, 16_000, 0)
    if len(splits) > 1:
        with pytest.raises(InputError, match=r"1 pairs lie in none of the splits, such as ann/u"):
            pairs.by_split()
    else:
        assert pairs.by_split() == {}
        assert "such as ann/u: all are taken alike" in caplog.text


WORD = st.sampled_from(
    ["air", "bone", "AC", "bc", "throat", "reference", "s1", "u0", "\u00e9", "e\u0301"]
)
NAME = st.builds("_".join, st.lists(WORD, min_size=1, max_size=2))
TREE = st.builds(
    lambda *parts: "/".join(parts[0]) + parts[1],
    st.lists(NAME, min_size=1, max_size=3),
    st.sampled_from([".wav", ".flac"]),
)


WAYS = {
    "one folder": ("", ""),
    "two folders": ("L", "R"),
    "one folder in the other": ("", "R"),
    "patterns": ("L/**/*.*", "R/**/*.*"),
}


@settings(max_examples=80)
@given(st.sets(TREE, min_size=1, max_size=12), st.sampled_from([*WAYS]))
@example({"air/AC/u0.wav", "bone/AC/u0.wav", "air/BC/u0.wav"}, "one folder")
@example({"u0_air.wav", "u0_bone.wav", "u0.wav"}, "two folders")
def test_every_audio_file_is_in_a_pair_or_has_a_reason(tmp_path_factory, names, way):
    """The files are 2 x pairs + unmatched, always; or nothing is paired, and that is an error."""
    folder, sides = tmp_path_factory.mktemp("tree"), WAYS[way]
    if way != "one folder":  # half of the names on both sides, the others on one
        names = {
            f"{side}/{name}"
            for number, name in enumerate(sorted(names))
            for side in ("LR" if number % 2 == 0 else "LR"[number // 2 % 2])
        }
    touch(folder, *names)
    try:
        pairs, unmatched = find_pairs(folder / sides[0], folder / sides[1])
    except InputError:
        return
    used = [str(path.relative_to(folder)) for pair in pairs for path in pair.files.values()]
    rest = {os.path.relpath(path, folder) for path in unmatched}
    assert len(used) == len(set(used)) == 2 * len(pairs)
    assert set(used) | rest == names
    assert not set(used) & rest
    assert len({pair.id for pair in pairs}) == len(pairs)
    for path, reason in unmatched.items():
        assert path in reason
