"""Folders of pairs: the doctor names what is wrong, and a fit refuses rather than fits nonsense."""

import pytest

from bcsim.errors import InputError
from bcsim.workflows.doctor import doctor
from tests.hostile.case import ACCEPT, REJECT, WARN
from tests.hostile.pair_folders import write_pair_folders

FIT_TOO = ("pair_swapped", "pair_identical", "pair_unrelated", "pair_silent_bone")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_pair_folders(tmp_path_factory.mktemp("pairs"))


def test_every_pair_ends_as_expected(cases, caplog):
    wrong = {}
    for case in cases:
        caplog.clear()
        said, ended = [], REJECT
        try:
            checkup = doctor(case.path / "air", case.path / "bone")
        except InputError as error:
            said = [str(error)]
        else:
            warned = checkup.verdict == "warning" or case.name in caplog.text
            ended = REJECT if checkup.verdict == "unusable" else WARN if warned else ACCEPT
            found = [finding for pair in checkup.pairs for finding in pair.findings]
            said = [f"{finding.kind}: {finding.text}" for finding in found]
            said += [*checkup.failures.values(), *caplog.messages]
        if ended != case.verdict or case.says not in "; ".join(said):
            wrong[case.name] = f"{ended}, not {case.verdict} ({case.why}, {case.says}): {said}"
    assert wrong == {}


@pytest.mark.parametrize("name", FIT_TOO)
def test_nothing_is_fitted_to_nonsense(cases, bcsim, tmp_path, name):
    (case,) = (case for case in cases if case.name == name)
    out = tmp_path / "x.sensor"
    code, _, err = bcsim(
        "fit-response", "--air", case.path / "air", "--bone", case.path / "bone", "--out", out
    )
    assert code == 2, err
    assert case.says in err
    assert not out.exists()
