"""What a hostile case is, and the bytes that all kinds of cases are made of."""

import io
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000
BUNDLED_SENSOR = Path(__file__).parents[2] / "assets/sensors/vibravox_throat.sensor"


class Verdict(StrEnum):
    """How an input must end."""

    ACCEPT = "accept"  # used, and nothing is said
    WARN = "warn"  # used, and one line says what is odd
    REJECT = "reject"  # not used, and one line says why


ACCEPT, WARN, REJECT = Verdict


@dataclass(frozen=True)
class Case:
    """One input and its expected end.

    Args:
        name: unique, plain ASCII; the name of the file, or part of it.
        path: of the file or folder.
        verdict: what must become of it.
        why: in one sentence.
        says: a word that the message must hold, if it matters.
        seconds: how long what was read must be, if that is in question.
    """

    name: str
    path: Path
    verdict: Verdict
    why: str
    says: str = ""
    seconds: float | None = None


class Cases:
    """Collects the cases of one folder while their files are written.

    Args:
        folder: where to; is made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.found: list[Case] = []

    def add(
        self,
        file_name: str,
        content: bytes | None,
        verdict: Verdict,
        why: str,
        says: str = "",
        seconds: float | None = None,
        name: str | None = None,
    ) -> Path:
        """Write a file, unless `content` is None, and note what must become of it."""
        path = self.folder / file_name
        if content is not None:
            path.write_bytes(content)
        self.found.append(Case(name or path.name, path, verdict, why, says, seconds))
        return path


def generator(*key: int) -> np.random.Generator:
    """Return a generator that depends on `key` alone."""
    return np.random.default_rng([20, 6, *key])


def speech(seconds: float = 0.3, rate: int = RATE, channels: int = 1) -> NDArray[np.float64]:
    """Return noise whose level comes and goes, (T,) or (T, C), peak about 0.4."""
    size = round(seconds * rate)
    time_s = np.arange(size) / rate
    envelope = np.clip(np.sin(2 * np.pi * 4 * time_s), 0.02, None)
    noise = generator(size, rate, channels).standard_normal((size, channels))
    signal = 0.1 * envelope[:, None] * noise
    return signal[:, 0] if channels == 1 else signal


def encode(
    samples: NDArray[np.floating],
    container: str = "WAV",
    subtype: str = "PCM_16",
    rate: int = RATE,
    endian: str = "FILE",
) -> bytes:
    """Return a file as libsndfile writes it."""
    opened = io.BytesIO()
    soundfile.write(opened, samples, rate, format=container, subtype=subtype, endian=endian)
    return opened.getvalue()


def pcm16(samples: NDArray[np.floating]) -> bytes:
    """Return samples as little-endian 16-bit integers."""
    return np.round(samples * 32767).astype("<i2").tobytes()


def chunk(tag: bytes, body: bytes, size: int | None = None) -> bytes:
    """Return a RIFF chunk whose size may be a lie."""
    declared = len(body) if size is None else size
    return tag + struct.pack("<I", declared) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes, size: int | None = None, form: bytes = b"WAVE") -> bytes:
    """Return a RIFF file whose size may be a lie."""
    body = form + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def wav_format(
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    code: int = 1,
    align: int | None = None,
    bytes_per_second: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """Return the fmt chunk of a WAV file; every field may be a lie."""
    block = channels * -(-bits // 8) if align is None else align
    speed = rate * block if bytes_per_second is None else bytes_per_second
    fields = (code, channels, rate, speed & 0xFFFFFFFF, block & 0xFFFF, bits)
    return chunk(b"fmt ", struct.pack("<HHIIHH", *fields) + extra)


def wav(samples: NDArray[np.floating], **lies: int | bytes) -> bytes:
    """Return a 16-bit WAV file whose fmt chunk may lie."""
    return riff(wav_format(**lies), chunk(b"data", pcm16(samples)))  # pyright: ignore[reportArgumentType]
