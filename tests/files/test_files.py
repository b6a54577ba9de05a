"""What bcsim writes is whole or absent; what stops it is told in one line."""

import errno
import os
import pickle
import resource
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from joblib import Parallel, delayed

from bcsim.errors import EnvironmentFault, InputError, UsageError
from bcsim.files.atomic import (
    copy_file,
    environment_faults,
    is_temporary,
    link_file,
    not_a_link,
    replacing,
    sweep_temporaries,
    write_bytes,
)
from bcsim.files.outputs import check_not_input
from bcsim.files.paths import beneath
from bcsim.files.writer import Writer


@pytest.mark.parametrize("name", ["a.wav", "bone/a b.flac", "a/ü/1:2.wav", "a..b/c", "./a", "%0A"])
def test_a_name_that_stays_in_its_folder_is_its_path_there(tmp_path, name):
    assert beneath(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (".", "empty"),
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("..", "'..'"),
        ("a/../../b", "'..'"),
        ("a\\b", "backslash"),
        ("C:a", "drive"),
        ("c:/a", "drive"),
        ("file:///etc/passwd", "address"),
        ("s3://bucket/a.wav", "address"),
        ("a\0.wav", "control"),
        ("a\n.wav", "control"),
        ("\x1b[2J", "control"),
        ("\x9b2J", "control"),
        ("\ud800", "no text"),
    ],
)
def test_a_name_that_does_not_is_refused_in_one_printable_line(tmp_path, name, reason):
    with pytest.raises(InputError, match=reason) as caught:
        beneath(tmp_path, name)
    assert str(caught.value).isprintable()


def test_a_long_name_is_shortened_where_it_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        beneath(tmp_path, "/first" + "x" * 5000 + "last.wav")
    assert len(str(caught.value)) < 200 + len(str(tmp_path))
    assert "/first" in str(caught.value)
    assert "last.wav" in str(caught.value)


def test_links_may_lead_about_inside_the_folder_and_not_out_of_it(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "root-not"
    (root / "real").mkdir(parents=True)
    outside.mkdir()
    (tmp_path / "alias").symlink_to(root)
    (root / "inside").symlink_to("real")
    (root / "outside").symlink_to(outside)
    (root / "up").symlink_to("..")
    (root / "chain").symlink_to("inside/../up/root-not")
    (root / "real/dangling").symlink_to(tmp_path / "nowhere")
    for folder in (root, tmp_path / "alias"):
        assert beneath(folder, "inside/a.wav") == folder / "real/a.wav"
        for name in ("outside", "outside/a.wav", "up/x", "chain/a", "inside/dangling"):
            with pytest.raises(InputError, match=r"leads out of .* through a link"):
                beneath(folder, name)


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        beneath(tmp_path, "a/x").open()


def test_new_files_have_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "x", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_link_planted_under_the_temporary_name_is_not_written_through(tmp_path, monkeypatch):
    monkeypatch.setattr("os.urandom", lambda count: bytes(count))
    with replacing(tmp_path / "x") as temporary:
        pass
    (tmp_path / "decoy").write_text("mine")
    temporary.symlink_to(tmp_path / "decoy")
    with pytest.raises(EnvironmentFault, match="/x: "):
        write_bytes(tmp_path / "x", b"theirs")
    assert (tmp_path / "decoy").read_text() == "mine"


def test_a_link_under_the_final_name_is_replaced_and_not_written_through(tmp_path):
    (tmp_path / "decoy").write_text("mine")
    (tmp_path / "x").symlink_to(tmp_path / "decoy")
    write_bytes(tmp_path / "x", b"new")
    assert (tmp_path / "decoy").read_text() == "mine"
    assert (tmp_path / "x").read_bytes() == b"new"
    assert not (tmp_path / "x").is_symlink()


def test_a_file_that_grows_does_not_grow_behind_a_link(tmp_path):
    (tmp_path / "decoy").write_text("mine")
    (tmp_path / "journal").symlink_to(tmp_path / "decoy")
    with (
        pytest.raises(EnvironmentFault, match="/journal: a link is in the way"),
        environment_faults(tmp_path),
        open(tmp_path / "journal", "w", opener=not_a_link),
    ):
        pass
    assert (tmp_path / "decoy").read_text() == "mine"
    with open(tmp_path / "new", "ab", opener=not_a_link) as file:
        file.write(b"1")
    assert (tmp_path / "new").read_bytes() == b"1"


def test_linking_gives_one_file_two_names_and_leaves_no_third(tmp_path):
    write_bytes(tmp_path / "a", b"1")
    write_bytes(tmp_path / "b", b"2")
    for _ in range(2):
        link_file(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").samefile(tmp_path / "a")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, call):
    write_bytes(tmp_path / "x", b"old")
    monkeypatch.setattr(f"os.{call}", _fail_with(errno.EIO))
    with pytest.raises(EnvironmentFault, match=r"/x: the disk reports an error; check it"):
        write_bytes(tmp_path / "x", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def _fail_with(code):
    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_full_disk_is_told_with_what_is_needed_and_what_is_free(tmp_path, monkeypatch):
    disk = os.statvfs_result((4096, 4096, 100, 90, 73, 10, 5, 5, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda folder: disk)
    monkeypatch.setattr("os.fsync", _fail_with(errno.ENOSPC))
    line = r"/sub/x: the disk is full \(needs 1.2 MB, 299.0 kB free\); free some space and run"
    with pytest.raises(EnvironmentFault, match=line):
        write_bytes(tmp_path / "sub/x", bytes(1_234_567))
    line = r"/sub/x: the disk is full \(needs more than the 299.0 kB that are free\); free some"
    with pytest.raises(EnvironmentFault, match=line), replacing(tmp_path / "sub/x"):
        pass
    none_left = os.statvfs_result((4096, 4096, 100, 90, 73, 10, 0, 0, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda folder: none_left)
    with pytest.raises(EnvironmentFault, match=r"room for 0 more files, of 10"):
        write_bytes(tmp_path / "sub/x", b"")


def test_a_copy_onto_a_full_disk_blames_the_disk_that_it_goes_to(tmp_path, monkeypatch):
    """The source was blamed, with the free space of its disk: Python names both, it first."""
    source, copy = tmp_path / "source/x.wav", tmp_path / "full/x.wav"
    source.parent.mkdir()
    source.write_bytes(bytes(1_234_567))
    monkeypatch.setattr("os.sendfile", _fail_with(errno.ENOSPC))
    with pytest.raises(EnvironmentFault, match=r"/full/x.wav: the .*\(needs 1.2 MB, .* free\)"):
        copy_file(source, copy)
    assert [*copy.parent.iterdir()] == []


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EACCES, "permission denied; choose a place"),
        (errno.EROFS, "read-only; choose another folder"),
        (errno.EIO, "check it, then run the same command again"),
        (errno.ENOENT, "not there, or not any more; see"),
        (errno.ENAMETOOLONG, "choose a shorter one"),
        (errno.EMFILE, "raise ulimit -n"),
        (errno.EFBIG, "raise ulimit -f"),
        (errno.EDQUOT, r"the quota is used up \(needs more than .*free some space"),
        (errno.EXDEV, "cross-device link; choose another place"),
    ],
)
def test_each_fault_has_its_remedy(tmp_path, code, remedy):
    with pytest.raises(EnvironmentFault, match=remedy), environment_faults(tmp_path):
        raise OSError(code, os.strerror(code))


def test_the_line_names_the_file_that_is_at_fault(tmp_path):
    with pytest.raises(EnvironmentFault, match=r"/gone\.wav: not there"):
        copy_file(tmp_path / "gone.wav", tmp_path / "x")
    write_bytes(tmp_path / "file", b"")
    with pytest.raises(EnvironmentFault, match="/file/x: a file is in the way"):
        write_bytes(tmp_path / "file/x/y", b"")
    with pytest.raises(EnvironmentFault, match=f"/{'n' * 300}: the name is too long"):
        write_bytes(tmp_path / ("n" * 300), b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(EnvironmentFault, match="/folder: a folder is in the way"):
        write_bytes(tmp_path / "folder", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_too_many_open_files_and_too_large_a_file_are_told(tmp_path):
    """The real limits, lowered for as long as it takes; Python ignores SIGXFSZ."""
    limits = {limit: resource.getrlimit(limit) for limit in _LIMITS}
    try:
        for limit, (value, remedy) in _LIMITS.items():
            resource.setrlimit(limit, (value, limits[limit][1]))
            with pytest.raises(EnvironmentFault, match=remedy):
                write_bytes(tmp_path / "x", bytes(100_000))
            resource.setrlimit(limit, limits[limit])
    finally:
        for limit, pair in limits.items():
            resource.setrlimit(limit, pair)
    assert list(tmp_path.iterdir()) == []


_LIMITS = {
    resource.RLIMIT_NOFILE: (1, "/x: too many open files; raise ulimit -n"),
    resource.RLIMIT_FSIZE: (50_000, "/x: larger than files may be here; raise ulimit -f"),
}


def test_a_fault_comes_back_whole_from_threads_and_processes(tmp_path):
    write_bytes(tmp_path / "file", b"")
    with pytest.raises(EnvironmentFault, match="a file is in the way") as here:
        write_bytes(tmp_path / "file/x", b"")
    copied = pickle.loads(pickle.dumps(here.value))
    assert (type(copied), str(copied), copied.exit_code) == (EnvironmentFault, str(here.value), 5)
    with pytest.raises(EnvironmentFault, match="a file is in the way"), Writer() as writer:
        writer.write(tmp_path / "file/x", b"")
    with pytest.raises(EnvironmentFault) as there:
        Parallel(n_jobs=2)([delayed(write_bytes)(tmp_path / "file/x", b"")] * 2)
    assert str(there.value) == str(here.value)


def test_writers_of_one_name_do_not_meet(tmp_path):
    contents = [bytes([n]) * 100_000 for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: write_bytes(tmp_path / "x", content), contents))
    assert (tmp_path / "x").read_bytes() in contents
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_run_left_is_swept_and_nothing_else(tmp_path):
    """A user's own .notes.tmp once went as well."""
    left = []
    for name in ("x", "y"):
        with replacing(tmp_path / f"a/{name}") as temporary:
            left.append(temporary)
        temporary.write_bytes(b"half")
    assert all(is_temporary(path.name) for path in left)
    (tmp_path / "a/.notes.tmp").write_bytes(b"mine")
    (tmp_path / "a" / f".{'0' * 16}.{'0' * 12}.tmp").mkdir()
    (tmp_path / "a" / f".{'1' * 16}.{'0' * 12}.tmp").symlink_to(tmp_path / "a/x")
    sweep_temporaries(tmp_path, ["x"])
    assert [path.exists() for path in left] == [False, True]
    sweep_temporaries(tmp_path)
    assert not left[1].exists()
    assert len(list((tmp_path / "a").iterdir())) == 5


def test_a_folder_of_the_users_is_named_whatever_it_is_called(tmp_path):
    (tmp_path / ".d.tmp").mkdir()
    with (
        pytest.raises(EnvironmentFault, match=r"/\.d\.tmp: a folder is in the way"),
        environment_faults(tmp_path),
    ):
        (tmp_path / ".d.tmp").write_bytes(b"")


def test_an_output_is_no_input_by_any_name(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "soft").symlink_to(tmp_path / "a")
    os.link(tmp_path / "a", tmp_path / "hard")
    for name in ("a", "soft", "hard"):
        with pytest.raises(UsageError, match=f"/{name}: the output is an input"):
            check_not_input(tmp_path / name, [None, tmp_path / "gone", tmp_path / "a"])
        check_not_input(tmp_path / name, [None, tmp_path / "b", tmp_path / "gone"])
    check_not_input(tmp_path / "gone", [tmp_path / "gone", tmp_path / "a"])


def test_what_comes_after_a_file_comes_after_it_and_never_without_it(tmp_path):
    seen = []
    with Writer() as writer:
        for number in range(40):
            path = tmp_path / f"{number}"
            writer.write(path, b"content")
            writer.after(lambda path=path: seen.append(path.read_bytes()))
    assert seen == [b"content"] * 40
    inode = (tmp_path / "7").stat().st_ino
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault):
        write_and_fail(tmp_path, seen)
    assert b"never" not in seen
    assert (tmp_path / "7").stat().st_ino == inode


def write_and_fail(folder, seen):
    with Writer() as writer:
        writer.write(folder / "7", b"content")
        writer.write(folder / "file/impossible", b"content")
        writer.after(lambda: seen.append(b"never"))
        writer.after(lambda: seen.append(b"never"))
