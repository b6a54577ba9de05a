"""Profiles, models, checkpoints, manifests of strangers: refused with a reason, never run."""

import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bcsim.audio.write import write_audio
from bcsim.datasets.pairs import StoredPairs
from bcsim.errors import BcsimError, InputError
from bcsim.models.storage import load_enhancer
from bcsim.sensors.profile import SensorProfile
from bcsim.training.checkpoint import load_checkpoint, load_newest
from bcsim.workers.pool import Workers
from bcsim.workflows.synthesize import plan_synthesis, synthesize
from bcsim.workflows.verify import verify
from tests.hostile.case import ACCEPT, RATE, REJECT, Case, speech
from tests.hostile.manifests import write_damaged, write_manifests
from tests.hostile.networks import write_checkpoints, write_models
from tests.hostile.profiles import write_profiles

MAX_SECONDS, MAX_MIB = 10.0, 1024


def endings(cases: list[Case], load: Callable[[Path], object]) -> dict[str, str]:
    """Load every case; return those that end in another way than expected."""
    wrong = {}
    for case in cases:
        started, message = time.process_time(), ""  # of the processor: the machine may be busy
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            load(case.path)
            ended = ACCEPT
        except InputError as error:
            ended, message = REJECT, str(error)
        except Exception as error:  # a defect, which has to be named with its case
            ended = f"{type(error).__name__}: {error}"
        mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
        seconds = time.process_time() - started
        if ended != case.verdict:
            wrong[case.name] = f"{ended}, not {case.verdict} ({case.why}) {message}"
        elif seconds > MAX_SECONDS or mib > MAX_MIB:
            wrong[case.name] = f"took {seconds:.1f} s and {mib:.0f} MiB"
        elif message and not message.startswith(str(case.path.parent)):
            wrong[case.name] = f"the file is not named: {message}"
        elif not message.isprintable():
            wrong[case.name] = f"not one line: {message!r}"
    return wrong


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    path = tmp_path_factory.mktemp("canary") / "canary"
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two short pairs of one split, as `synthesize` writes them."""
    folder = tmp_path_factory.mktemp("dataset")
    for name in "ab":
        write_audio(folder / f"air/talker {name}/{name}.wav", speech(0.3), RATE)
    splits = ("splits.validation=0", "splits.test=0")
    plan = plan_synthesis(folder / "air", folder / "out", "temporal-transforms", settings=splits)
    synthesize(plan, Workers(None))
    return folder / "out"


def test_every_profile_ends_as_expected(tmp_path, canary):
    cases = write_profiles(tmp_path / "cases", canary)
    assert len(cases) > 100
    assert endings(cases, SensorProfile.load) == {}


def test_every_model_ends_as_expected(tmp_path, canary):
    cases = write_models(tmp_path / "cases", canary)
    assert len(cases) > 50
    assert endings(cases, load_enhancer) == {}


def test_every_checkpoint_ends_as_expected(tmp_path, canary):
    cases = write_checkpoints(tmp_path / "cases", canary)
    assert len(cases) > 40
    assert endings(cases, load_checkpoint) == {}


def test_a_run_whose_only_checkpoint_is_bad_is_not_begun_anew_in_silence(tmp_path, canary):
    for case in write_checkpoints(tmp_path / "cases", canary):
        if case.verdict == REJECT and case.path.exists():
            with pytest.raises(InputError):
                load_newest([case.path.parent])


def read_pairs(dataset: Path) -> None:
    """Open a dataset as training does, and read every pair once."""
    pairs = StoredPairs(dataset, "train", RATE, seed=0)
    for index in range(len(pairs)):
        pairs.crop(index, epoch=0, num_samples=1000)
        pairs.whole(index)


def test_every_manifest_ends_as_expected(tmp_path, dataset, fingerprint):
    cases = write_manifests(tmp_path / "cases", dataset)
    assert len(cases) > 90
    before = fingerprint(tmp_path / "cases/outside")
    assert endings(cases, read_pairs) == {}
    assert fingerprint(tmp_path / "cases/outside") == before


def test_a_link_that_comes_to_lead_out_while_training_is_not_followed(tmp_path, dataset):
    shutil.copytree(dataset, tmp_path / "dataset")
    pairs = StoredPairs(tmp_path / "dataset", "train", RATE, seed=0)
    pairs.whole(0)
    write_audio(tmp_path / "decoy.flac", speech(0.3), RATE)
    bone = tmp_path / "dataset/train" / pairs.file_names[0]["bone"]
    bone.unlink()
    bone.symlink_to(tmp_path / "decoy.flac")
    with pytest.raises(InputError, match=bone.name):
        pairs.whole(0)


def test_every_damaged_dataset_is_found_out(tmp_path, dataset):
    cases = write_damaged(tmp_path / "cases", dataset)
    wrong = {}
    for case in cases:
        problems = verify(case.path).problems
        if (case.verdict == ACCEPT) != (problems == []):
            wrong[case.name] = f"{case.why}: {problems}"
    assert wrong == {}


def test_verify_tells_of_every_manifest_that_training_refuses(tmp_path, dataset):
    wrong = {}
    for case in write_manifests(tmp_path / "cases", dataset):
        if case.verdict == REJECT:
            try:
                if not verify(case.path).problems:
                    wrong[case.name] = case.why
            except BcsimError:
                pass
    assert wrong == {}


@pytest.mark.parametrize("name", ["pickle", "100mb_of_zeros", "name_ansi", "name_unicode"])
def test_a_profile_is_refused_or_shown_without_its_control_characters(tmp_path, bcsim, name):
    (case,) = (
        case
        for case in write_profiles(tmp_path / "cases", tmp_path / "canary")
        if case.name == f"profile_{name}.sensor"
    )
    code, out, err = bcsim("show", case.path)
    assert code == (0 if case.verdict == ACCEPT else 2), err
    lines = [*out.splitlines(), *err.splitlines()]
    assert [line for line in lines if not line.isprintable()] == []
    if case.verdict == REJECT:
        (line,) = err.strip().splitlines()
        assert line.startswith("Error: ")
        assert case.name in line
        assert len(line) <= 200
