"""What the audit of the lock file makes of each kind of answer, given by a stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).resolve().parents[2] / ".ci/audit.py"
FLAW = {"id": "CVE-2032-1", "fix_versions": ["1.1"]}
FLAWED = {"name": "one", "version": "1.0", "vulns": [FLAW]}
SOUND = {"name": "two", "version": "2.0", "vulns": []}
UNKNOWN = {"name": "three", "skip_reason": "not found"}

STAND_IN = """\
import sys
if "--dry-run" in sys.argv:
    sys.stderr.write({collecting!r})
    sys.exit(1 if {collecting!r} else 0)
sys.stdout.write({stdout!r})
sys.stderr.write("Traceback\\nrequests.exceptions.ConnectionError: no such host\\n")
sys.exit({code})
"""


def audit(folder, stdout="", code=0, collecting=""):
    text = STAND_IN.format(stdout=stdout, code=code, collecting=collecting)
    (folder / "pip_audit.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, AUDIT], capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(
    ("packages", "code", "last"),
    [
        ([FLAWED, SOUND], 1, "audit: 1 known flaws in 2 packages"),
        ([FLAWED, UNKNOWN], 1, "audit: 1 known flaws in 1 packages, 1 more are not known to the"),
        ([SOUND], 0, "audit: 0 known flaws in 1 packages"),
        ([UNKNOWN, UNKNOWN], 0, "audit: the service knows none of 2 packages; nothing was audited"),
    ],
)
def test_a_flaw_fails_and_no_answer_is_told_from_a_good_one(tmp_path, packages, code, last):
    answer = json.dumps({"dependencies": packages, "fixes": []})
    found, lines = audit(tmp_path, answer, code=int(FLAWED in packages))
    assert found == code
    assert lines[-1].startswith(last)
    if code:
        assert lines[0] == "audit: one 1.0: CVE-2032-1; fixed in 1.1"


def test_a_service_that_cannot_be_reached_fails_nothing(tmp_path):
    """pip-audit exits with 1 then too, as it does for a vulnerability."""
    assert audit(tmp_path, code=1) == (
        0,
        [
            "audit: the service cannot be reached (requests.exceptions.ConnectionError); "
            "nothing was audited"
        ],
    )


def test_a_lock_file_that_cannot_be_read_fails(tmp_path):
    code, lines = audit(tmp_path, collecting="ERROR: no hash\n")
    assert code == 1
    assert lines == ["audit: requirements.lock cannot be read: ERROR: no hash"]
