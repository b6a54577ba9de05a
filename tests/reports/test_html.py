import base64
import dataclasses
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bcsim.errors import UsageError
from bcsim.reports import html, sensor_plots
from bcsim.reports.html import Figure, Page, Player, Section, Table
from bcsim.sensors.profile import SensorProfile

HOSTILE = "\"'></title></style><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}"
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Takes down tags, attributes and text, and whether tags are closed in order."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str):
        assert self.open.pop() == tag

    def handle_data(self, data: str):
        self.texts.append(data)


def full_page(sensor: SensorProfile, text: str = "plain") -> Page:
    tone = np.sin(np.arange(4000) / 5)
    section = Section(
        heading=text,
        text=text,
        figures=[Figure(sensor_plots.magnitude(sensor), caption=text)],
        tables=[Table([text, "number"], [[text, 1.0]], caption=text)],
        players=[
            *html.listening({text: tone}, 16_000),
            Player(text, tone, 16_000, note=text),
        ],
    )
    return Page(text, text, [section], facts={text: text})


def sound_of(page: str) -> np.ndarray:
    match = re.search(r"data:audio/flac;base64,([^\"]+)", page)
    assert match is not None
    return soundfile.read(io.BytesIO(base64.b64decode(match[1])))[0]


def test_whatever_users_write_is_shown_as_text(sensor: SensorProfile):
    plain, hostile = (Reader(html.render(full_page(sensor, text))) for text in ("plain", HOSTILE))
    assert hostile.tags == plain.tags
    assert [a[:2] for a in hostile.attributes] == [a[:2] for a in plain.attributes]
    assert "script" not in hostile.tags
    assert [t.replace(HOSTILE, "plain") for t in hostile.texts] == plain.texts
    assert hostile.open == plain.open == []


def test_a_page_asks_nobody_for_anything(sensor: SensorProfile):
    page = html.render(full_page(sensor))
    reader = Reader(page)
    targets = [v for _, name, v in reader.attributes if name in ("src", "href", "srcset", "poster")]
    assert len(targets) == 4
    assert all(target.startswith("data:") for target in targets)
    assert "link" not in reader.tags
    without_data = re.sub(r"data:[^\"]+", "", page)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", without_data)


def test_what_is_played_is_what_was_given():
    samples = np.random.default_rng(1).uniform(-0.9, 0.9, 5000)
    page = html.render(Page("t", sections=[Section("s", players=[Player("p", samples, 16_000)])]))
    np.testing.assert_allclose(sound_of(page), samples, atol=0.5 / 32768)


def test_a_sound_over_full_scale_is_turned_down_not_clipped():
    samples = 3 * np.sin(np.arange(5000) / 7)
    page = html.render(Page("t", sections=[Section("s", players=[Player("p", samples, 16_000)])]))
    heard = sound_of(page)
    assert np.corrcoef(heard, samples)[0, 1] == pytest.approx(1, abs=1e-6)


def test_the_same_page_gives_the_same_bytes(sensor: SensorProfile):
    assert html.render(full_page(sensor)) == html.render(full_page(sensor))


def test_columns_of_numbers_show_their_digits_and_gaps_a_dash():
    table = Table(
        ["method", "LSD", "pairs"],
        [["low-pass", 12.94, 16], ["classes", -7.0, None], ["none", float("nan"), 3]],
    )
    assert table.text_rows() == [
        ["low-pass", "12.9", "16"],
        ["classes", "\N{MINUS SIGN}7.0", "\N{EN DASH}"],
        ["none", "\N{EN DASH}", "3"],
    ]
    assert [table.is_numeric(column) for column in range(3)] == [False, True, True]
    formatted = Table(["a", "b"], [["\N{MINUS SIGN}1.25", "0.5 dB"], ["\N{EN DASH}", "1"]])
    assert [formatted.is_numeric(column) for column in range(2)] == [True, False]
    assert Table(["x"], [[0.0]]).text_rows() == [["0.0"]]
    assert Table(["x"], [[float("inf")], [2.0]]).text_rows() == [["inf"], ["2.00"]]
    assert Table(["x"], []).text_rows() == []


def test_a_row_with_a_cell_too_many_is_refused():
    with pytest.raises(ValueError, match="a row has 2 cells, the table 1"):
        Table(["method"], [["low-pass", 12.9]])


def test_blank_lines_part_paragraphs():
    page = html.render(Page("t", lead="one\ntwo\n\n\n\nthree"))
    assert re.findall(r'<p class="lead">(.*?)</p>', page) == ["one two", "three"]


def test_a_page_that_cannot_be_made_leaves_the_old_one(tmp_path: Path):
    path = tmp_path / "report.html"
    html.write_page(path, Page("old"))
    broken = Page("new", sections=[dataclasses.replace(Section("s"), figures=[None])])  # type: ignore[list-item]
    with pytest.raises(Exception, match="None"):
        html.write_page(path, broken)
    assert "<title>old</title>" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'bcsim[report]'")):
        html.render(Page("t"))
