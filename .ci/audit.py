"""Ask whether anything in requirements.lock has a known vulnerability; exit code 1 if so.

Where the service cannot be reached, or does not know the packages, one line says so, and the exit
code is 0. pip-audit itself gives 1 for the first, as for a vulnerability, and 0 for the second.
"""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
LIMIT_S = 300
AUDIT = [sys.executable, "-m", "pip_audit", "--disable-pip", "--progress-spinner", "off"]
AUDIT += ["--format", "json", "--timeout", "10", "--requirement", str(LOCK)]


def main() -> int:
    """Ask, and say what came of it."""
    # A dry run asks nobody: what fails after it is not the lock file's fault.
    collected = subprocess.run([*AUDIT, "--dry-run"], capture_output=True, text=True)
    if collected.returncode != 0:
        return _say(f"audit: {LOCK.name} cannot be read: {_last_line(collected.stderr)}", code=1)
    try:
        answer = subprocess.run(AUDIT, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return _say(f"audit: no answer within {LIMIT_S} s; nothing was audited")
    try:
        packages = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = _last_line(answer.stderr).partition(":")[0]
        return _say(f"audit: the service cannot be reached ({reason}); nothing was audited")
    flaws = [(package, flaw) for package in packages for flaw in package.get("vulns", [])]
    for package, flaw in flaws:
        fixed = " or ".join(flaw["fix_versions"]) or "no version yet"
        _say(f"audit: {package['name']} {package['version']}: {flaw['id']}; fixed in {fixed}")
    unknown = sum("skip_reason" in package for package in packages)
    if unknown == len(packages):
        return _say(f"audit: the service knows none of {unknown} packages; nothing was audited")
    rest = f", {unknown} more are not known to the service" if unknown else ""
    known = len(packages) - unknown
    return _say(f"audit: {len(flaws)} known flaws in {known} packages{rest}", code=int(bool(flaws)))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def _say(line: str, code: int = 0) -> int:
    print(line, flush=True)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
