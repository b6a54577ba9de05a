"""What is packaged is what is in the tree, and the lock file can be installed anywhere."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_no_subpackage_is_forgotten():
    renamed = {
        folder: name for name, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()
    }
    folders = [p.parent for p in (ROOT / "bcsim").rglob("__init__.py")]
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    found |= {renamed[name] for name in ("cli", "assets", "recipes")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_every_folder_with_modules_is_a_package():
    for path in (ROOT / "bcsim").rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), path


def test_every_requirement_is_locked_to_one_version():
    text = (ROOT / "requirements.lock").read_text("utf-8").replace(" \\\n    ", " ")
    locked = [line for line in text.splitlines() if line and not line.startswith("#")]
    pinned = r"[A-Za-z0-9._-]+==[^\s;]+( --hash=sha256:[0-9a-f]{64})+"
    assert all(re.fullmatch(pinned, line) for line in locked)
    versions = dict(line.split()[0].lower().replace("_", "-").split("==") for line in locked)
    assert versions["torch"] == versions["torchaudio"] == "2.11.0"
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"]]
    wanted += [spec for name in ("train", "eval", "report", "dev") for spec in extras[name]]
    for spec in wanted:
        match = re.match(r"[A-Za-z0-9._-]+", spec)
        assert match is not None
        name = match[0].lower().replace("_", "-")
        assert name == "bcsim" or name in versions, f"{spec} is not in requirements.lock"


def test_no_file_names_a_registry_host():
    for name in ("requirements.lock", "pyproject.toml", "Makefile", "README.md"):
        text = (ROOT / name).read_text("utf-8")
        assert "index-url" not in text
        assert "pypi.org" not in text


def test_the_version_stands_in_one_place_each_way():
    import bcsim

    assert PROJECT["project"]["version"] == bcsim.__version__
    assert f"## {bcsim.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
