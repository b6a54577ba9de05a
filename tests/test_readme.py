"""The README's Python is run, and what it points to is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_python_of_the_readme_runs():
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})


def test_every_picture_and_file_it_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for path in re.findall(r"`((?:assets|benchmarks|recipes)/[^`]+)`", README):
        assert (ROOT / path).exists(), path


def test_nothing_is_left_to_be_filled_in():
    assert "@@" not in README


def test_the_table_has_every_estimator():
    from bcsim.fitting.estimators import ESTIMATORS

    for name in [*ESTIMATORS, "temporal-transforms"]:
        assert re.search(rf"^\| \**{re.escape(name)}\**.*\|$", README, re.MULTILINE), name
