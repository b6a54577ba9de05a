"""`bcsim enhance`: every recording becomes one file, and none is written over."""

import os

import pytest
import soundfile
import torch

from bcsim.audio import unchanging
from bcsim.errors import EnvironmentFault, InputError, UsageError
from bcsim.files.atomic import replacing
from bcsim.files.run_folder import locked
from bcsim.models.eben import EBENGenerator
from bcsim.models.storage import save_enhancer
from bcsim.workflows import enhance as workflow
from bcsim.workflows.enhance import NOTES_NAME, enhance


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    save_enhancer(tmp_path / "model", EBENGenerator(width=2, latent=2), {})
    return tmp_path / "model"


def names(folder):
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return sorted(files - {NOTES_NAME})


def test_a_folder_gives_a_file_for_each_recording_and_a_single_one_the_same(model, air, tmp_path):
    enhance(model, air, tmp_path / "out", "cpu")
    assert names(tmp_path / "out") == [
        "s1/a.wav", "s1/b.flac", "s2/a.wav", "s2/deep/c.ogg.wav", "s3/stereo.wav", "s4/a b.AIFF.wav"
    ]  # fmt: skip
    (tmp_path / "single").mkdir()
    single = enhance(model, air / "s2/deep/c.ogg", tmp_path / "single", "cpu")
    assert single.written == [tmp_path / "single/c.ogg.wav"]
    in_folder = tmp_path / "out/s2/deep/c.ogg.wav"
    assert single.written[0].read_bytes() == in_folder.read_bytes()


def test_what_is_noticed_behind_a_recording_without_findings_is_told(
    model, tmp_path, speech, command_line
):
    """It ended in an internal error, with everything enhanced and nothing told."""
    (tmp_path / "in").mkdir()
    for name, gain in (("a", 1.0), ("b", 1e-3)):
        soundfile.write(tmp_path / f"in/{name}.wav", gain * speech[0].numpy(), 16_000)
    with replacing(tmp_path / "out/findings.jsonl") as left:
        pass
    (tmp_path / "out/findings.jsonl").rename(left)  # as by a run that was killed before this
    options = ("--model", model, "--in", tmp_path / "in", "--out", tmp_path / "out")
    code, _, told = command_line("enhance", *options, "--device", "cpu")
    assert code == 0, told
    assert "quiet: 1 recording or pair" in told
    assert "b.wav" in (tmp_path / "out/findings.jsonl").read_text()
    assert not left.exists()


def test_two_recordings_are_not_written_to_one_file(model, tmp_path, speech):
    (tmp_path / "in").mkdir()
    for name, container in (("a.ogg", "OGG"), ("a.ogg.wav", "WAV")):
        soundfile.write(tmp_path / "in" / name, speech[0, :4000].numpy(), 16_000, format=container)
    with pytest.raises(UsageError, match=r"in/a\.ogg and .*in/a\.ogg\.wav would both become"):
        enhance(model, tmp_path / "in", tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_what_a_killed_run_left_goes_and_what_others_are_writing_stays(model, air, tmp_path):
    out = tmp_path / "out"
    left = []
    for name in ("s1/a.wav", "s1/another.wav"):
        with replacing(out / name) as temporary:
            left.append(temporary)
        (out / name).unlink()
        temporary.write_bytes(b"half")
    enhance(model, air, out, "cpu")
    assert [path.exists() for path in left] == [False, True]


def test_what_a_killed_run_left_of_a_single_file_goes(model, air, tmp_path):
    left = []
    for name in ("mine.wav", "another.wav"):
        with replacing(tmp_path / name) as temporary:
            left.append(temporary)
        (tmp_path / name).unlink()
        temporary.write_bytes(b"half")
    enhance(model, air / "s1/a.wav", tmp_path / "mine.wav", "cpu")
    assert [path.exists() for path in left] == [False, True]


def test_a_recording_is_not_replaced_even_through_a_link(model, air, tmp_path):
    (tmp_path / "link.wav").symlink_to(air / "s1/a.wav")
    before = (air / "s1/a.wav").read_bytes()
    for source, out in (
        (air / "s1/a.wav", air / "s1"),
        (air / "s1/a.wav", tmp_path / "link.wav"),
        (tmp_path / "link.wav", air / "s1/a.wav"),
    ):
        with pytest.raises(UsageError, match="the output is an input"):
            enhance(model, source, out, "cpu")
    assert (air / "s1/a.wav").read_bytes() == before


def test_what_is_neither_file_nor_folder_is_no_recording(model, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(InputError, match=r"pipe\.wav: is no recording"):
        enhance(model, tmp_path / "pipe.wav", tmp_path / "out", "cpu")


class Stopped(BaseException):
    """Stands for whatever ends a process."""


@pytest.fixture
def made(monkeypatch):
    """The recordings that are enhanced from now on, by name; `made.stop_at` ends the run."""

    class Made(list):
        stop_at = None

    made, enhance_recordings = Made(), workflow.enhance_recordings

    def noting(enhancer, source, *rest):
        if len(made) == made.stop_at:
            raise Stopped
        made.append(source.name.name)
        enhance_recordings(enhancer, source, *rest)

    monkeypatch.setattr(workflow, "enhance_recordings", noting)
    return made


def test_a_folder_that_was_begun_is_finished_with_the_same_bytes(model, air, tmp_path, made, tree):
    enhance(model, air, tmp_path / "whole", "cpu")
    everything = [*made]
    made.clear()
    made.stop_at = 2
    with pytest.raises(Stopped):
        enhance(model, air, tmp_path / "out", "cpu")
    with (tmp_path / "out" / NOTES_NAME).open("a") as notes:
        notes.write('5\n[]\n[[1]]\n{"s1/a.wav": 1}\n["s1/a.wav", "torn')
    made.clear()
    made.stop_at = None
    result = enhance(model, air, tmp_path / "out", "cpu")
    assert made == everything[2:]
    assert (len(result.written), len(result.kept)) == (4, 2)
    audio = [
        {n: h for n, h in tree(tmp_path / f).items() if n != NOTES_NAME} for f in ("out", "whole")
    ]
    assert audio[0] == audio[1]
    made.clear()
    assert len(enhance(model, air, tmp_path / "out", "cpu").kept) == 6
    assert made == []


@pytest.mark.parametrize("what", ["source", "result", "lost", "replaced by a link"])
def test_what_has_changed_since_is_made_anew(model, air, tmp_path, made, tree, what):
    out = tmp_path / "out"
    enhance(model, air, out, "cpu")
    before = tree(out)
    made.clear()
    target = out / "s2/a.wav"
    if what == "source":
        samples, rate = soundfile.read(air / "s2/a.wav")
        soundfile.write(air / "s2/a.wav", samples[::-1], rate)
    elif what == "result":
        target.write_bytes(target.read_bytes()[:-1] + b"x")
    else:
        target.rename(tmp_path / "moved.wav")
        if what != "lost":
            target.symlink_to(tmp_path / "moved.wav")
    result = enhance(model, air, out, "cpu")
    assert result.written == [target]
    assert not target.is_symlink()
    same = {name for name, digest in tree(out).items() if digest == before[name]}
    assert ("s2/a.wav" in same) == (what != "source")


def at_the_first_look(monkeypatch, change):
    """Let a change happen once, after the recording was hashed and before it is enhanced."""
    tells_of = workflow._Notes.tells_of
    changes = [change]

    def looking(notes, *asked):
        if changes:
            changes.pop()()
        return tells_of(notes, *asked)

    monkeypatch.setattr(workflow._Notes, "tells_of", looking)


@pytest.fixture
def one(tmp_path, speech):
    (tmp_path / "one").mkdir()
    for name, samples in (("one/a.wav", speech[0]), ("other.wav", speech[0].flip(0))):
        soundfile.write(tmp_path / name, samples.numpy(), 16_000)
    return tmp_path / "one"


def test_a_recording_that_is_replaced_meanwhile_is_noted_as_what_was_enhanced(
    model, one, tmp_path, monkeypatch
):
    """Its hash was that of the old file and its result that of the new one, and so it stayed."""
    enhance(model, one / "a.wav", tmp_path / "expected.wav", "cpu")
    (tmp_path / "kept.wav").hardlink_to(one / "a.wav")
    at_the_first_look(monkeypatch, lambda: (tmp_path / "other.wav").replace(one / "a.wav"))
    enhance(model, one, tmp_path / "out", "cpu")
    (tmp_path / "kept.wav").replace(one / "a.wav")
    assert len(enhance(model, one, tmp_path / "out", "cpu").kept) == 1
    expected = (tmp_path / "expected.wav").read_bytes()
    assert (tmp_path / "out/a.wav").read_bytes() == expected


def test_a_large_recording_that_is_written_to_meanwhile_is_a_failure(
    model, one, tmp_path, monkeypatch
):
    monkeypatch.setattr(unchanging, "MOST_HELD", 0)
    other = (tmp_path / "other.wav").read_bytes()
    at_the_first_look(monkeypatch, lambda: (one / "a.wav").write_bytes(other))
    with pytest.raises(InputError, match="none of 1"):
        enhance(model, one, tmp_path / "out", "cpu")
    assert names(tmp_path / "out") == ["failures.jsonl"]
    assert "was changed while it was read" in (tmp_path / "out/failures.jsonl").read_text()
    monkeypatch.undo()
    assert len(enhance(model, one, tmp_path / "out", "cpu").written) == 1


def test_another_model_makes_everything_anew(model, air, tmp_path, made):
    enhance(model, air, tmp_path / "out", "cpu")
    torch.manual_seed(1)
    save_enhancer(tmp_path / "other", EBENGenerator(width=2, latent=2), {})
    made.clear()
    assert enhance(tmp_path / "other", air, tmp_path / "out", "cpu").kept == []
    assert len(made) == 6


def test_two_runs_do_not_write_to_one_folder(model, air, tmp_path):
    (tmp_path / "out").mkdir()
    with (
        locked(tmp_path / "out", tmp_path / "out" / NOTES_NAME),
        pytest.raises(EnvironmentFault, match="another run is writing there"),
    ):
        enhance(model, air, tmp_path / "out", "cpu")


def test_a_recording_that_failed_is_tried_again(model, air, tmp_path):
    whole = (air / "s1/a.wav").read_bytes()
    (air / "s1/a.wav").write_bytes(whole[:100])
    result = enhance(model, air, tmp_path / "out", "cpu")
    assert [*result.failures] == [str(air / "s1/a.wav")]
    assert "s1/a.wav" in (tmp_path / "out/failures.jsonl").read_text()
    (air / "s1/a.wav").write_bytes(whole)
    result = enhance(model, air, tmp_path / "out", "cpu")
    assert (len(result.written), len(result.kept), result.failures) == (1, 5, {})
    assert not (tmp_path / "out/failures.jsonl").exists()


def test_a_run_that_is_killed_behind_a_renaming_knows_its_own_file(
    model, one, tmp_path, monkeypatch
):
    """Files were noted after they had got their names, and would be somebody else's now."""

    def killed(*arguments):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("bcsim.files.atomic.sync", lambda path: path.is_dir() and killed())
        with pytest.raises(Stopped):
            enhance(model, one, tmp_path / "out", "cpu")
    assert (tmp_path / "out/a.wav").is_file()
    assert len(enhance(model, one, tmp_path / "out", "cpu").kept) == 1


def test_a_single_file_is_kept_where_it_holds_the_same_and_else_only_overwritten(
    model, one, tmp_path
):
    out = tmp_path / "out.wav"
    enhance(model, one / "a.wav", out, "cpu")
    first = out.read_bytes()
    enhance(model, one / "a.wav", out, "cpu")
    assert out.read_bytes() == first
    soundfile.write(out, *soundfile.read(tmp_path / "other.wav"))  # as long, and somebody else's
    theirs = out.read_bytes()
    with pytest.raises(UsageError, match="did not write it"):
        enhance(model, one / "a.wav", out, "cpu")
    assert out.read_bytes() == theirs
    enhance(model, one / "a.wav", out, "cpu", overwrite=True)
    assert out.read_bytes() == first
