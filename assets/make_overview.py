"""Draw `overview.svg`, the README's picture of what bcsim does, from the demonstration data.

    .venv/bin/python assets/make_overview.py [--out FILE]

The picture brings its own background and follows the reader from light to dark. The curve is the
response of `demo/known.sensor`, the spectrograms are a demonstration sentence and what that sensor
makes of it.
"""

import argparse
import base64
import io
from pathlib import Path

import matplotlib
import numpy as np
import scipy.signal
from numpy.typing import NDArray
from PIL import Image

from bcsim.audio.read import read_audio
from bcsim.files.atomic import write_text
from bcsim.reports.pictures import AIR, BONE, ENHANCED, GRID, INK, SOFT, Color
from bcsim.sensors.profile import SensorProfile

HERE = Path(__file__).parent
PAPER = Color("paper", "#f6f7f9", "#161b22")
CARD = Color("card", "#ffffff", "#1f262e")
COLORS = (PAPER, CARD, INK, SOFT, GRID, AIR, BONE, ENHANCED)
WIDTH, HEIGHT = 1000, 364
BOX_WIDTH, BOX_TOP, BOX_HEIGHT = 166, 64, 208
LEFTS = (20, 286, 552, 814)  # of the four boxes; verbs stand in the gaps
INSET = 14
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


def spectrogram(
    samples: NDArray[np.float64], x: float, y: float, width: float, height: float, top: float
) -> str:
    """Return an image element; colours span the 70 dB under `top`, a power."""
    power = scipy.signal.stft(samples, 16_000, nperseg=512, noverlap=384)[2]
    level = 10 * np.log10(np.maximum(np.abs(power) ** 2 / top, 1e-7))[::-1] / 70 + 1
    colors = matplotlib.colormaps["magma"](np.round(np.clip(level, 0, 1) * 24) / 24)
    image = Image.fromarray((colors[..., :3] * 255).astype(np.uint8))
    image = image.resize((round(2 * width), round(2 * height)), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.quantize(48, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<image {place} preserveAspectRatio="none" href="{uri}"/>'


def curve(profile: SensorProfile, x: float, y: float, width: float, height: float) -> str:
    """Return the sensor's response over log frequency, with its spread, in a frame."""
    frequencies_hz = np.geomspace(60, 7500, 120)
    grid_hz = profile.transfer_function.frequencies_hz
    level_db = np.interp(frequencies_hz, grid_hz, profile.transfer_function.magnitude_db)
    spread_db = 2 * np.interp(frequencies_hz, grid_hz, profile.spread_db)  # 95 % of wearers
    across = x + width * np.linspace(0, 1, len(frequencies_hz))

    def points(levels_db: NDArray[np.float64]) -> list[str]:
        down = y + height * (0.08 + 0.84 * (level_db.max() - levels_db) / np.ptp(level_db))
        return [f"{right:.1f},{below:.1f}" for right, below in zip(across, down, strict=True)]

    band = points(level_db + spread_db) + points(level_db - spread_db)[::-1]
    lines = [
        f'<path d="M{x} {y + height * part:.1f}h{width}" class="grid"/>'
        for part in (0.25, 0.5, 0.75)
    ]
    lines += [
        f'<path d="M{x + width * np.log(hz / 60) / np.log(125):.1f} {y}v{height}" class="grid"/>'
        for hz in (100, 1000)
    ]
    return "".join(
        [
            *lines,
            f'<polygon points="{" ".join(band)}" fill="var(--bone)" fill-opacity=".22"/>',
            f'<polyline points="{" ".join(points(level_db))}" class="curve"/>',
        ]
    )


def network(x: float, y: float, width: float, height: float) -> str:
    """Return a sign for an enhancer: layers that narrow and widen again, with skips across."""
    heights = (1.0, 0.74, 0.5, 0.3, 0.5, 0.74, 1.0)
    step, bar = width / len(heights), 11
    centres = [x + step * (index + 0.5) for index in range(len(heights))]
    floor = y + height
    bars = [
        f'<rect x="{centre - bar / 2:.1f}" y="{floor - (height - 26) * part:.1f}" width="{bar}"'
        f' height="{(height - 26) * part:.1f}" rx="3" fill="var(--enhanced)"/>'
        for centre, part in zip(centres, heights, strict=True)
    ]
    skips = [
        f'<path d="M{centres[i]:.1f} {floor - (height - 26) * heights[i] - 5:.1f}'
        f"C{centres[i]:.1f} {y - 14 + 16 * i:.1f} {centres[-1 - i]:.1f} {y - 14 + 16 * i:.1f}"
        f' {centres[-1 - i]:.1f} {floor - (height - 26) * heights[i] - 5:.1f}" class="skip"/>'
        for i in range(3)
    ]
    return "".join(bars + skips)


def text(x: float, y: float, content: str, kind: str) -> str:
    """Return a line of text of one of the classes in the style sheet."""
    return f'<text x="{x}" y="{y}" class="{kind}">{content}</text>'


def box(left: float, title: str, *lines: str) -> str:
    """Return a card with a title above and lines of text at its foot."""
    size = f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="10" class="card"'
    frame = f'<rect x="{left}" y="{BOX_TOP}" {size}/>'
    middle = left + BOX_WIDTH / 2
    foot = BOX_TOP + BOX_HEIGHT - 14 - 18 * (len(lines) - 1)
    rows = [text(middle, foot + 18 * index, line, "note") for index, line in enumerate(lines)]
    return frame + text(middle, BOX_TOP + 24, title, "title") + "".join(rows)


def verb(after: int, name: str) -> str:
    """Return the arrow from box `after` to the next, with the command on it."""
    start, end = LEFTS[after] + BOX_WIDTH + 6, LEFTS[after + 1] - 8
    middle, y = (start + end) / 2, BOX_TOP + BOX_HEIGHT / 2
    arrow = f'<path d="M{start} {y}H{end}" class="arrow" marker-end="url(#head)"/>'
    return arrow + text(middle, y - 10, name, "verb")


def overview() -> str:
    """Return the picture as SVG text."""
    profile = SensorProfile.load(HERE / "demo" / "known.sensor")
    air, _ = read_audio(HERE / "demo" / "air" / "ada" / "ada-1.flac")
    other, _ = read_audio(HERE / "demo" / "air" / "bruno" / "bruno-1.flac")
    taps, centre = profile.impulse_response()
    pairs = [
        (clip, scipy.signal.fftconvolve(clip, taps)[centre : centre + len(clip)])
        for clip in (air[6000:46000], other[6000:46000])
    ]
    top = max(
        float((np.abs(scipy.signal.stft(clip, 16_000, nperseg=512)[2]) ** 2).max())
        for pair in pairs
        for clip in pair
    )
    inner = BOX_WIDTH - 2 * INSET

    def labelled(clip: NDArray[np.float64], name: str, left: float, y: float) -> str:
        picture = spectrogram(clip, left + INSET + 40, y, inner - 40, 52, top)
        return picture + text(left + INSET, y + 31, name, f"label {name}")

    recorded, fitted, made, learned = LEFTS
    stack = "".join(
        f'<rect x="{made + shift}" y="{BOX_TOP - shift}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}"'
        ' rx="10" class="card"/>'
        for shift in (10, 5)
    )
    below = BOX_TOP + BOX_HEIGHT
    middle = [left + BOX_WIDTH / 2 for left in LEFTS]
    loop = (
        f'<path d="M{middle[1]} {below + 6}v32q0 14 14 14H{middle[3] - 14}q14 0 14 -14V{below + 9}"'
        ' class="arrow thin" marker-end="url(#head)"/>'
    )
    parts = [
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="14" class="paper"/>',
        text(20, 34, "bcsim", "name"),
        text(96, 34, "minutes of paired recordings in, a working enhancer out", "tagline"),
        box(recorded, "paired recordings", "a few minutes", "of one sensor"),
        labelled(pairs[0][0], "air", recorded, BOX_TOP + 40),
        labelled(pairs[0][1], "bone", recorded, BOX_TOP + 98),
        verb(0, "fit-response"),
        box(fitted, "sensor profile", "response, spread,", "noise floor, delay"),
        curve(profile, fitted + INSET, BOX_TOP + 40, inner, 110),
        verb(1, "synthesize"),
        stack,
        box(made, "simulated pairs", "without limit, from", "any clean speech"),
        labelled(pairs[1][0], "air", made, BOX_TOP + 40),
        labelled(pairs[1][1], "bone", made, BOX_TOP + 98),
        verb(2, "train"),
        box(learned, "enhancer", "enhance, evaluate,", "export to users"),
        network(learned + INSET, BOX_TOP + 44, inner, 106),
        loop,
        text(
            (middle[1] + middle[3]) / 2,
            below + 74,
            "or the same simulator inside the training loader",
            "note",
        ),
    ]
    return HEAD + "".join(parts) + "</svg>\n"


LIGHT = ";".join(f"--{color.role}:{color.light}" for color in COLORS)
DARK = ";".join(f"--{color.role}:{color.dark}" for color in COLORS)
HEAD = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"
 aria-label="Paired recordings become a sensor profile, simulated pairs and an enhancer">
<style>:root{{{LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}
text{{font:13px {FONT};fill:var(--ink)}}
.name{{font-size:19px;font-weight:700}}.tagline{{font-size:15px;fill:var(--soft)}}
.title{{font-size:15px;font-weight:600;text-anchor:middle}}
.note{{fill:var(--soft);text-anchor:middle}}
.verb{{font:600 12.5px ui-monospace,Menlo,Consolas,monospace;text-anchor:middle;fill:var(--bone)}}
.label{{font-weight:600}}.air{{fill:var(--air)}}.bone{{fill:var(--bone)}}
.paper{{fill:var(--paper);stroke:var(--grid)}}.card{{fill:var(--card);stroke:var(--grid)}}
.grid{{stroke:var(--grid)}}.curve{{fill:none;stroke:var(--bone);stroke-width:2.4;stroke-linejoin:round}}
.arrow{{fill:none;stroke:var(--soft);stroke-width:2}}.thin{{stroke-width:1.5;stroke-dasharray:5 4}}
.skip{{fill:none;stroke:var(--soft);stroke-width:1.3;stroke-dasharray:3 3}}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" markerHeight="8"
 markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="var(--soft)"/>
</marker></defs>
"""


def main() -> None:
    """Write the picture to OUT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE / "overview.svg")
    write_text(parser.parse_args().out, overview())


if __name__ == "__main__":
    main()
