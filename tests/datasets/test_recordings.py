"""Pairs are found by name and never by order."""

import json
import tracemalloc

import numpy as np
import pytest
import soundfile

from bcsim.datasets.recordings import find_pairs, read_recordings
from bcsim.errors import InputError


def write(path, num_samples=8000, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(str(path)))
    soundfile.write(path, 0.1 * generator.standard_normal(num_samples), rate)


def test_equal_paths_below_the_two_folders_are_pairs(tmp_path):
    for name in ("s1/a", "s1/b", "s2/a"):
        write(tmp_path / f"air/{name}.wav")
        write(tmp_path / f"bone/{name}.flac")
    pairs, unmatched = find_pairs(tmp_path / "air", tmp_path / "bone")
    assert [(p.id, p.speaker) for p in pairs] == [("s1/a", "s1"), ("s1/b", "s1"), ("s2/a", "s2")]
    assert all(p.files["air"].parent.name == p.files["bone"].parent.name for p in pairs)
    assert not unmatched


def test_a_role_word_may_stand_in_for_a_folder(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"session/headset_microphone/{name}.wav")
        write(tmp_path / f"session/throat/{name}.wav")
    pairs, unmatched = find_pairs(tmp_path, tmp_path)
    assert [p.id for p in pairs] == ["session/a", "session/b"]
    assert {p.files["bone"].parent.name for p in pairs} == {"throat"}
    assert not unmatched


def test_a_manifest_comes_before_names(tmp_path):
    write(tmp_path / "x/1.wav")
    write(tmp_path / "y/2.wav")
    row = {"id": "p", "air_file_name": "x/1.wav", "bone_file_name": "y/2.wav", "speaker": "s"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    pairs, _ = find_pairs(tmp_path, tmp_path)
    assert [(p.id, p.files["air"].name, p.files["bone"].name, p.speaker) for p in pairs] == [
        ("p", "1.wav", "2.wav", "s")
    ]


def test_files_without_a_partner_are_named(tmp_path):
    for name in ("air/a", "bone/a", "air/b"):
        write(tmp_path / f"{name}.wav")
    pairs, unmatched = find_pairs(tmp_path / "air", tmp_path / "bone")
    assert [p.id for p in pairs] == ["a"]
    assert list(unmatched) == [str(tmp_path / "air/b.wav")]


def test_folders_of_other_names_are_refused_with_examples(tmp_path):
    write(tmp_path / "air/a.wav")
    write(tmp_path / "bone/b.wav")
    with pytest.raises(InputError, match=r"no two files have the same name \(found 'a' and 'b'\)"):
        find_pairs(tmp_path / "air", tmp_path / "bone")


def test_two_files_are_one_pair_and_a_file_and_a_folder_are_none(tmp_path):
    write(tmp_path / "air/a.wav")
    write(tmp_path / "bone/b.wav")
    pairs, _ = find_pairs(tmp_path / "air/a.wav", tmp_path / "bone/b.wav")
    assert len(pairs) == 1
    with pytest.raises(InputError, match="two files or two folders"):
        find_pairs(tmp_path / "air/a.wav", tmp_path / "bone")
    with pytest.raises(InputError, match="no such file or folder"):
        find_pairs(tmp_path / "missing", tmp_path / "bone")


def test_other_rates_are_resampled_and_other_lengths_told_with_a_warning(tmp_path, caplog):
    write(tmp_path / "air/a.wav", 16_000, 16_000)
    write(tmp_path / "bone/a.wav", 7000, 8000)
    (pair,), _ = read_recordings(tmp_path / "air", tmp_path / "bone", 16_000)
    assert (len(pair.air), len(pair.bone)) == (16_000, 14_000)  # the alignment cuts them
    assert "air is 16000 Hz, bone 8000 Hz; both resampled to 16000 Hz" in caplog.text
    assert "both cut to what they have in common" in caplog.text


def test_an_unreadable_file_costs_its_pair_alone(tmp_path):
    for name in ("air/a", "bone/a", "air/b"):
        write(tmp_path / f"{name}.wav")
    (tmp_path / "bone/b.wav").write_bytes(b"")
    pairs, failures = read_recordings(tmp_path / "air", tmp_path / "bone", 16_000)
    assert [p.name for p in pairs] == ["a"]
    assert "bone/b.wav" in failures["b"]
    (tmp_path / "bone/a.wav").write_bytes(b"")
    with pytest.raises(InputError, match="none of 2 pairs can be used"):
        read_recordings(tmp_path / "air", tmp_path / "bone", 16_000)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "p", "air_file_name": "../a.wav", "bone_file_name": "b.wav"}', "has '..' in it"),
        ('{"air_file_name": "/etc/a.wav", "bone_file_name": "b.wav"}', "is absolute"),
        ('{"air_file_name": "out/a.wav", "bone_file_name": "b.wav"}', "leads out of .* a link"),
        ('{"air_file_name": ["a.wav"], "bone_file_name": "b.wav"}', "is no name"),
        ('{"air_file_name": null, "bone_file_name": "b.wav"}', "is no name"),
        ('{"id": {}, "air_file_name": "a.wav", "bone_file_name": "b.wav"}', "is no name"),
        ('{"id": true, "air_file_name": "a.wav", "bone_file_name": "b.wav"}', "True is no name"),
        ('{"air_file_name": "a.wav", "air_file_name": "b", "bone_file_name": "b"}', "there twice"),
        ('{"air_file_name": "a.wav"}', "wants JSON with air_file_name and bone_file_name"),
        ("[1]", "wants JSON"),
        ("[" * 10**5, "nested deeper than 64 levels"),
        ("x" * (2**20 + 1), "longer than 1048576 bytes"),
    ],
)
def test_a_foreign_manifest_is_read_as_strictly(tmp_path, line, message):
    (tmp_path / "outside").mkdir()
    folder = tmp_path / "recorded"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path / "outside")
    good = {"air_file_name": "a.wav", "bone_file_name": "c.wav"}
    (folder / "metadata.jsonl").write_text(f"{json.dumps(good)}\n{line}\n")
    with pytest.raises(InputError, match=rf"metadata\.jsonl line 2: .*{message}"):
        find_pairs(folder, folder)


def test_two_pairs_of_one_name_in_a_manifest_are_refused(tmp_path):
    row = {"air_file_name": "a.wav", "bone_file_name": "b.wav"}
    lines = [json.dumps({"id": key, **row}) for key in (7, "7")]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match="line 2: id '7' stands there twice; rename one"):
        find_pairs(tmp_path, tmp_path)


def test_what_rows_hold_besides_is_not_in_memory(tmp_path):
    """Whole rows took 3.4 kB of each pair: 700 MB of a manifest of 200,000."""
    long = {"drawn": {"step": ["x" * 50] * 1000}}
    rows = [
        {"id": f"{n}", "air_file_name": f"air/{n}.wav", "bone_file_name": f"bone/{n}.wav", **long}
        for n in range(200)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metadata.jsonl").write_text(text)
    tracemalloc.start()
    try:
        pairs, _ = find_pairs(tmp_path, tmp_path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(pairs) == 200
    assert most < len(text) / 4
