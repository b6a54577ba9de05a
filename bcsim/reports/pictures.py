"""Pictures in one look: SVG whose colours follow the page from light to dark.

Nothing uses pyplot, so no figure outlives its call, no display is needed, and the same numbers
give the same bytes.
"""

import base64
import contextlib
import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec

import numpy as np

from bcsim.extras import optional_import

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

PNG_DPI = 130
WIDTH_IN = 4.9  # 470 CSS pixels: two beside each other on a desk, one across a phone


@dataclass(frozen=True)
class Color:
    """A colour by its role, on a light and on a dark page."""

    role: str
    light: str
    dark: str


INK = Color("ink", "#1d2630", "#e7ebef")
SOFT = Color("soft", "#5d6975", "#9ba7b3")
GRID = Color("grid", "#dde2e7", "#363e47")
AIR = Color("air", "#2a6bb1", "#6aaaf0")
BONE = Color("bone", "#c44f1c", "#f29058")
ENHANCED = Color("enhanced", "#0e8768", "#3fc9a2")
OTHER = Color("other", "#874bbd", "#bf93ea")
PALETTE = (INK, SOFT, GRID, AIR, BONE, ENHANCED, OTHER)

_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,  # a sensor may be called $x$
    "text.color": INK.light,
    "axes.labelcolor": INK.light,
    "axes.edgecolor": SOFT.light,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 9.0,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.xmargin": 0.0,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": GRID.light,
    "grid.linewidth": 0.7,
    "legend.borderaxespad": 0.2,
    "legend.borderpad": 0.0,
    "legend.columnspacing": 1.4,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",  # text stays text: small files, sharp, searchable
    "svg.hashsalt": "bcsim",  # element ids are drawn at random otherwise
    "xtick.color": SOFT.light,
    "xtick.labelcolor": INK.light,
    "xtick.labelsize": 8.5,
    "ytick.color": SOFT.light,
    "ytick.labelcolor": INK.light,
    "ytick.labelsize": 8.5,
}
_METADATA = ("Creator", "Date", "Format", "Type")  # not written: dates differ between runs


@dataclass(frozen=True)
class Picture:
    """An image that a browser can show: the bytes of a file, and its media type."""

    data: bytes
    media_type: str = "image/svg+xml"


def as_picture(plot: Callable[P, "Figure"]) -> Callable[P, Picture]:
    """Let a function that returns a matplotlib figure return a `Picture` in the house style.

    Raises:
        UsageError: when it is called without matplotlib.
    """

    @functools.wraps(plot)
    def draw(*args: P.args, **kwargs: P.kwargs) -> Picture:
        svg_backend = optional_import("matplotlib.backends.backend_svg", extra="report")
        with _house_style():
            buffer = io.BytesIO()
            canvas = svg_backend.FigureCanvasSVG(plot(*args, **kwargs))
            canvas.print_svg(buffer, metadata=dict.fromkeys(_METADATA))
        svg = _follow_the_page(_compress_images(buffer.getvalue().decode("utf-8")))
        return Picture(svg.encode("utf-8"))

    return draw


def as_png(plot: Callable[P, "Figure"]) -> Callable[P, Picture]:
    """Let a function that returns a matplotlib figure return a PNG on white, as `as_picture`."""

    @functools.wraps(plot)
    def draw(*args: P.args, **kwargs: P.kwargs) -> Picture:
        agg_backend = optional_import("matplotlib.backends.backend_agg", extra="report")
        with _house_style():
            figure = plot(*args, **kwargs)
            figure.set(dpi=PNG_DPI, facecolor="white")
            canvas = agg_backend.FigureCanvasAgg(figure)
            canvas.draw()
        image = optional_import("PIL.Image", extra="report").fromarray(
            np.asarray(canvas.buffer_rgba())
        )
        buffer = io.BytesIO()
        image.convert("RGB").quantize(256).save(buffer, "PNG", optimize=True)
        return Picture(buffer.getvalue(), "image/png")

    return draw


@contextlib.contextmanager
def _house_style() -> Iterator[None]:
    matplotlib = optional_import("matplotlib", extra="report")
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Names in scripts that DejaVu lacks: the browser has the glyphs, the layout guesses.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        matplotlib.rcdefaults()  # whatever a matplotlibrc of the user says
        matplotlib.rcParams.update(_STYLE)
        yield


def panels(
    count: int,
    height_in: float,
    ratios: Sequence[float] | None = None,
    width_in: float = WIDTH_IN,
) -> tuple["Figure", list["Axes"]]:
    """Return a figure with panels below each other on one horizontal axis."""
    figure = optional_import("matplotlib.figure", extra="report").Figure(
        figsize=(width_in, height_in), layout="constrained"
    )
    grid = figure.subplots(count, 1, sharex=True, squeeze=False, height_ratios=ratios)
    figure.align_ylabels()
    return figure, list(grid[:, 0])


def _compress_images(svg: str) -> str:
    """Store embedded images by palette where they have few colours: a quarter of the size."""
    pillow = optional_import("PIL.Image", extra="report")

    def compress(match: re.Match[str]) -> str:
        image = pillow.open(io.BytesIO(base64.b64decode(match[1]))).convert("RGB")
        if image.getcolors(256) is None:
            return match[0]
        buffer = io.BytesIO()
        image.quantize(256, dither=pillow.Dither.NONE).save(buffer, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

    return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", compress, svg)


def _follow_the_page(svg: str) -> str:
    """Replace every colour of the palette by a variable with a light and a dark value."""
    for color in PALETTE:
        svg = re.sub(re.escape(color.light), f"var(--{color.role})", svg, flags=re.IGNORECASE)
    light = ";".join(f"--{color.role}:{color.light}" for color in PALETTE)
    dark = ";".join(f"--{color.role}:{color.dark}" for color in PALETTE)
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    # Names of fonts that a page may use anyway; DejaVu, which the layout was made with, is wider.
    svg = svg.replace("'DejaVu Sans'", "system-ui, -apple-system, 'Segoe UI', sans-serif")
    root = svg.index("<svg")  # what stands before it refers to a DTD on the network
    root_end = svg.index(">", root) + 1
    return svg[root:root_end] + style + svg[root_end:]
