"""Write requirements.lock: what tests, demo and development need, with the hash of each file.

Versions that the lock names are kept, and what pyproject.toml newly asks for is added; to take the
newest version of something, delete its lines first, or the whole file for all of them. The hashes
are those of every file of that version that pip could take on Linux x86-64: which one it takes
depends on the machine.
"""

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from pip._internal.models.index import PyPI  # the registry that pip asks, whichever that is

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
WANTED = f"{ROOT}[train,eval,report,dev]"
HEAD = """\
# Exact versions of everything that tests, demo and development need, with the SHA-256 of the files
# that pip may take; Linux x86-64, Python 3.11. Written by `make lock`: see .ci/lock.py.
"""
FORMAT = "application/vnd.pypi.simple.v1+json"
WHEEL = re.compile(r"-(py3|py2\.py3|cp3\d+)-(none|abi3|cp311)-(any|\w*linux\w*x86_64[\w.]*)\.whl$")


def main() -> None:
    """Ask pip what it would install, and write that down."""
    kept = (
        re.findall(r"^[\w.-]+==\S+", LOCK.read_text("utf-8"), re.MULTILINE) if LOCK.exists() else []
    )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as versions:
        versions.write("\n".join(kept))
        versions.flush()
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        command += ["--quiet", "--report", "-", "--constraint", versions.name, WANTED]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    found = [
        (item["metadata"]["name"], item["metadata"]["version"], item["download_info"])
        for item in json.loads(answer)["install"]
        if "dir_info" not in item["download_info"]  # bcsim itself
    ]
    with ThreadPoolExecutor(8) as threads:
        lines = sorted(threads.map(lambda package: locked(*package), found), key=str.lower)
    LOCK.write_text(HEAD + "".join(lines), "utf-8")


def locked(name: str, version: str, taken: dict[str, Any]) -> str:
    """Return the lines of one package."""
    page = f"{PyPI.simple_url}/{canonicalize_name(name)}/"
    asked = urllib.request.Request(page, headers={"Accept": FORMAT})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        files = json.load(answer)["files"]
    hashes = {taken["archive_info"]["hashes"]["sha256"]}
    for file in files:
        stem = canonicalize_name(file["filename"].removesuffix(".tar.gz"))
        is_source = stem == canonicalize_name(f"{name}-{version}")
        is_wheel = stem.startswith(canonicalize_name(f"{name}-{version}-py")) or stem.startswith(
            canonicalize_name(f"{name}-{version}-cp")
        )
        if is_source or (is_wheel and WHEEL.search(file["filename"])):
            hashes.add(file["hashes"]["sha256"])
    return (
        f"{name}=={version}" + "".join(f" \\\n    --hash=sha256:{h}" for h in sorted(hashes)) + "\n"
    )


if __name__ == "__main__":
    main()
