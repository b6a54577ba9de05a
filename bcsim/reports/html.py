"""Reports: one HTML file that holds its pictures, sounds and style, and loads no other file."""

import base64
import importlib.resources
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import bcsim
from bcsim.audio.write import write_audio
from bcsim.errors import InputError
from bcsim.extras import optional_import
from bcsim.files.atomic import write_text
from bcsim.files.opening import open_regular
from bcsim.reports.pictures import Picture
from bcsim.reports.plots import spectrograms

Cell = str | int | float | None
_GENERATOR = b'<meta name="generator" content="bcsim">'  # of page.html
_HEAD_BYTES = 1024
_NUMBER = re.compile("[-+\N{MINUS SIGN}]?[0-9][0-9,.]*")


@dataclass(frozen=True)
class Figure:
    """A picture with the caption under it, which screen readers read in its place."""

    picture: Picture
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of cells; columns of numbers are set flush right.

    Args:
        columns: headings of the columns.
        rows: rows of one cell a column. A column of floats is shown with the decimals that give
            its largest value three digits (pass text for others); None and NaN as a dash.
        caption: text above the table; may be empty.

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
        return bool(cells) and all(not isinstance(c, str) or _NUMBER.fullmatch(c) for c in cells)

    def text_rows(self) -> list[list[str]]:
        """Return the cells as text.

        Example:
            >>> Table(["method", "LSD"], [["classes", 7.0], ["low-pass", 12.94]]).text_rows()
            [['classes', '7.0'], ['low-pass', '12.9']]
        """
        columns = map(_format_column, zip(*self.rows, strict=True))
        return [list(row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, eq=False)
class Player:
    """A sound that can be played.

    Args:
        label: heading above the player.
        samples: (T,), full scale at 1; a signal that exceeds it is scaled down as a whole.
        sample_rate: sample rate in Hz.
        picture: picture above the player, such as a spectrogram.
        note: text under the player; may be empty.
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
        title: title of the page and of the browser's tab.
        lead: one or two sentences on what the page shows.
        sections: parts of the page, in their order.
        facts: name to value of the main results, both as shown.
        light: colour of a light beside the title that tells a verdict, or "" for none.
    """

    title: str
    lead: str = ""
    sections: Sequence[Section] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    light: Literal["", "green", "amber", "grey"] = ""


def paragraphs(lines: Sequence[str]) -> str:
    """Return lines that begin in lower case and end without a point as paragraphs of a section."""
    return "\n\n".join(f"{line[:1].upper()}{line[1:]}." for line in lines)


def listening(signals: Mapping[str, NDArray[np.floating]], sample_rate: int) -> list[Player]:
    """Return a player for each signal (T,), with spectrograms on common scales."""
    pictures = spectrograms(signals, sample_rate)
    return [Player(name, signals[name], sample_rate, pictures[name]) for name in signals]


def check_report_packages() -> None:
    """Check that the packages that draw a page are installed.

    Raises:
        UsageError: naming the command that installs what is missing.
    """
    for module in ("jinja2", "matplotlib", "PIL.Image"):
        optional_import(module, extra="report")


def render(page: Page) -> str:
    """Return the page as HTML. All text is escaped; nothing in it refers to another file.

    Raises:
        UsageError: if jinja2 is not installed.
    """
    jinja2 = optional_import("jinja2", extra="report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(paragraphs=_paragraphs, base64=_base64, flac=_flac)
    template = importlib.resources.files("bcsim.reports").joinpath("page.html")
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        page=page, version=bcsim.__version__
    )


def is_page(path: Path) -> bool:
    """Tell whether a file is a page that `render` made."""
    try:
        with open_regular(path) as file:
            return _GENERATOR in file.read(_HEAD_BYTES)
    except InputError:
        return False


def write_page(path: Path, page: Page) -> None:
    """Write the page to `path`, whole or not at all; see `render`."""
    write_text(path, render(page))


def signed(value: float, decimals: int) -> str:
    """Return a number as text that begins with its sign."""
    return f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def _format_column(cells: Sequence[Cell]) -> list[str]:
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


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _flac(player: Player) -> bytes:
    """Return the sound as a FLAC file: every browser plays it, at half the size of WAV."""
    peak = float(np.abs(player.samples).max(initial=0.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.flac")
        write_audio(path, player.samples / max(1.0, peak), player.sample_rate)
        return path.read_bytes()
