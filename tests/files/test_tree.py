"""Folders of any depth."""

import inspect
import os
import sys
from pathlib import Path

import pytest

from bcsim.datasets.checksums import write_sums
from bcsim.datasets.manifest import SUMS_NAME
from bcsim.files.atomic import sweep_temporaries, sync_folders, write_bytes
from bcsim.files.outputs import check_output_folder
from bcsim.files.run_folder import LOCK_NAME, clear_folder, staged_folder
from bcsim.files.tree import files_below, make_folders, remove_tree, walk

DEEP = Path(*["d"] * 120)
ROOM = 70  # calls within each other: fewer than the levels


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def little_stack(monkeypatch):
    """Fewer calls within each other than there are levels: 120 here stand for 1,000 elsewhere."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a thousand of these take seconds
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + ROOM)
    yield
    sys.setrecursionlimit(before)


def test_an_output_of_any_depth_is_staged_found_again_and_cleared(out, little_stack):
    """Each of these was a recursion as deep as the folders, and failed at a thousand of them."""
    for _ in range(2):
        with staged_folder(out, again=True) as folder:
            write_bytes(folder / DEEP / "x", b"x")
        (out / LOCK_NAME).touch()
    check_output_folder(out, [], lambda _: True)
    sync_folders(out)
    sweep_temporaries(out)
    assert {*files_below(out)} == {out / DEEP / "x", out / LOCK_NAME}
    write_sums(out)
    assert (out / SUMS_NAME).read_text().endswith(f"  {DEEP}/x\n")
    clear_folder(out, kept={LOCK_NAME})
    assert [path.name for path in out.iterdir()] == [LOCK_NAME]


def test_a_tree_is_walked_as_python_walks_it_and_links_are_not_followed(out):
    make_folders(out / "a/b")
    make_folders(out / "a/b")
    (out / "a/file").touch()
    (out / "a/link").symlink_to(out)
    (out / "loop").symlink_to("loop")
    ours = {(str(place), *sorted(folders), *sorted(files)) for place, folders, files in walk(out)}
    assert ours == {(place, *sorted(ds), *sorted(fs)) for place, ds, fs in os.walk(out)}


def test_removing_a_tree_removes_links_and_not_what_they_lead_to(out):
    make_folders(out / "kept")
    (out / "kept/file").touch()
    make_folders(out / "gone/deeper")
    (out / "gone/link").symlink_to(out / "kept")
    (out / "gone/dangling").symlink_to("nothing")
    remove_tree(out / "gone")
    assert [*files_below(out)] == [out / "kept/file"]
    with pytest.raises(FileNotFoundError):
        remove_tree(out / "gone")
    remove_tree(out / "gone", ignore_errors=True)
    (out / "link").symlink_to(out / "kept")
    with pytest.raises(NotADirectoryError):
        remove_tree(out / "link")
    assert (out / "kept/file").is_file()
