"""Reports: one HTML file that carries its pictures, its sounds and its style, and asks nobody."""

import base64
import importlib.resources
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bcsim
from bcsim.audio.write import write_audio
from bcsim.extras import optional_import
from bcsim.files.atomic import write_text
from bcsim.reports.pictures import Picture
from bcsim.reports.plots import spectrograms

Cell = str | int | float | None


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Args:
        picture: what to show.
        caption: what it says, under it.
        alt: what it shows, for those who cannot see it; the caption where empty.
    """

    picture: Picture
    caption: str
    alt: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells; columns of numbers are set flush right.

    Args:
        columns: headings.
        rows: one cell a column. A column of floats gets as many decimals as show three digits of
            its largest (format yourself, as text, what wants others); None and NaN are shown as a
            dash.
        caption: above the table; may be empty.

    Raises:
        ValueError: if a row has another number of cells than there are columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} cells, the table {len(self.columns)}")

    def is_numeric(self, column: int) -> bool:
        """Tell whether a column holds nothing but numbers, formatted or not, and gaps."""
        cells = [row[column] for row in self.rows if row[column] not in (None, "\N{EN DASH}")]
        return bool(cells) and all(map(_is_number, cells))

    def text_rows(self) -> list[list[str]]:
        """Return what the cells show.

        Example:
            >>> Table(["method", "LSD"], [["classes", 7.0], ["low-pass", 12.94]]).text_rows()
            [['classes', '7.0'], ['low-pass', '12.9']]
        """
        columns = [list(column) for column in zip(*self.rows, strict=True)]
        return [list(row) for row in zip(*map(_format_column, columns), strict=True)]


@dataclass(frozen=True, eq=False)
class Player:
    """A sound that can be played.

    Args:
        label: its name.
        samples: (T,), full scale at 1; what exceeds it is turned down as a whole.
        sample_rate: in Hz.
        picture: shown above it, such as its spectrogram.
        note: under it; may be empty.
    """

    label: str
    samples: NDArray[np.floating]
    sample_rate: int
    picture: Picture | None = None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page: text (blank lines part paragraphs), players, figures, tables, in order."""

    heading: str
    text: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    players: Sequence[Player] = ()


@dataclass(frozen=True)
class Page:
    """A report.

    Args:
        title: of the page and of the browser's tab.
        lead: what this is and what came out, in a sentence or two.
        sections: the rest.
        facts: a handful of results to see first, name to value, both as they are to be shown.
        footer: how it was made.
    """

    title: str
    lead: str = ""
    sections: Sequence[Section] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    footer: str = f"Made by bcsim {bcsim.__version__}."


def listening(signals: Mapping[str, NDArray[np.floating]], sample_rate: int) -> list[Player]:
    """Return a player for each signal, with spectrograms on common scales.

    Args:
        signals: name to samples (T,).
        sample_rate: in Hz, of all of them.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    pictures = spectrograms(signals, sample_rate)
    return [
        Player(name, samples, sample_rate, picture=pictures[name])
        for name, samples in signals.items()
    ]


def render(page: Page) -> str:
    """Return the page as HTML. All text is escaped; nothing in it refers to another file.

    Raises:
        UsageError: if jinja2 is not installed.
    """
    jinja2 = optional_import("jinja2", extra="report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(paragraphs=_paragraphs, data_uri=_picture_uri, audio_uri=_audio_uri)
    template = importlib.resources.files("bcsim.reports").joinpath("page.html")
    return environment.from_string(template.read_text(encoding="utf-8")).render(page=page)


def write_page(path: Path, page: Page) -> None:
    """Write the page to `path`, whole or not at all.

    Raises:
        UsageError: if jinja2 is not installed.
        EnvironmentFault: if the disk is full or forbidden.
    """
    write_text(path, render(page))


def _paragraphs(text: str) -> list[str]:
    parts = (" ".join(part.split()) for part in text.split("\n\n"))
    return [part for part in parts if part]


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or bool(re.fullmatch("[-+\N{MINUS SIGN}]?[0-9][0-9,.]*", cell))


def _format_column(cells: list[Cell]) -> list[str]:
    floats = [abs(cell) for cell in cells if isinstance(cell, float) and math.isfinite(cell)]
    largest = max(floats, default=0.0)
    decimals = min(max(2 - math.floor(math.log10(largest)), 0), 6) if largest else 1
    texts = []
    for cell in cells:
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            texts.append("\N{EN DASH}")
        elif isinstance(cell, float):
            texts.append(f"{cell:.{decimals}f}".replace("-", "\N{MINUS SIGN}"))
        else:
            texts.append(str(cell))
    return texts


def _picture_uri(picture: Picture) -> str:
    return _data_uri(picture.media_type, picture.data)


def _audio_uri(player: Player) -> str:
    """Return a player's sound as FLAC: every browser plays it, at half the size of WAV."""
    peak = float(np.abs(player.samples).max(initial=0.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.flac")
        write_audio(path, player.samples / max(1.0, peak), player.sample_rate)
        return _data_uri("audio/flac", path.read_bytes())


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
