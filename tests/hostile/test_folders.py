"""Where pairs must not be written: refused in one line, and nothing there is touched."""

import os

import pytest

from bcsim.synthesis.rendering import Renderer
from bcsim.workers.pool import Workers
from bcsim.workflows.synthesize import plan_synthesis, synthesize
from tests.hostile.case import ACCEPT, REJECT
from tests.hostile.folders import write_out_folders


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_out_folders(tmp_path_factory.mktemp("folders"))


@pytest.fixture
def nothing_rendered(monkeypatch):
    """Where a refusal is due, it is due before work starts."""

    def render(*_arguments):
        raise AssertionError("it began to work")

    monkeypatch.setattr(Renderer, "render", render)


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_a_bad_place_is_refused_and_left_alone(
    cases, options, bcsim, fingerprint, nothing_rendered, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    wrong = {}
    for case in (case for case in cases if case.verdict == REJECT):
        before = fingerprint(case.root)
        code, _, err = bcsim(
            "synthesize", "--in", case.root / "air", "--out", case.out, *options,
            "--sensor", "temporal-transforms", "--jobs", 1,
        )  # fmt: skip
        lines = [line for line in err.splitlines() if line]
        after = fingerprint(case.root)
        if code not in (2, 5) or len(lines) != 1 or "internal" in err:
            wrong[case.name] = f"{case.why}: {code} {lines}"
        elif str(case.out)[-8:] not in lines[0] or len(lines[0]) > 200:
            wrong[case.name] = f"not named in a short line: {lines[0]}"
        elif after != before:
            changed = {name for name in before | after if before.get(name) != after.get(name)}
            wrong[case.name] = f"changed: {changed}"
    assert wrong == {}
    assert not list(tmp_path.iterdir())


def test_a_good_place_is_taken(cases, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    wrong = {}
    for case in (case for case in cases if case.verdict == ACCEPT):
        try:
            plan = plan_synthesis(case.root / "air", case.out, "temporal-transforms")
            num_pairs = synthesize(plan, Workers(None)).num_pairs
        except Exception as error:  # to be named with its case
            wrong[case.name] = f"{case.why}: {error!r}"
        else:
            if num_pairs != 1 or len(list(case.out.glob("*/bone/a.flac"))) != 1:
                wrong[case.name] = f"{case.why}: {num_pairs} pairs"
    assert wrong == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_the_environments_fault(cases, bcsim, tmp_path):
    (tmp_path / "out").mkdir(mode=0o555)
    command = ("synthesize", "--in", cases[0].root / "air", "--out", tmp_path / "out")
    code, _, err = bcsim(*command, "--sensor", "temporal-transforms")
    assert code == 5
    assert "permission denied" in err
