"""The header of Sony Wave64; source: Sonic Foundry's "Wave 64 File Format" of 1999."""

import struct
from collections.abc import Iterator

from bcsim.audio.validation.base import (
    CONVERT,
    COPY,
    MAX_CHUNKS,
    AudioError,
    AudioInfo,
    FileBytes,
    check_size,
    quoted,
)
from bcsim.audio.validation.wav import read_layout

_RIFF = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of the names of all other chunks
_HEADER_BYTES = 24  # of a chunk: name 16, size 8, both counted in the size


def read_w64(data: FileBytes) -> AudioInfo:
    """Check the header of Wave64."""
    (form_size,) = struct.unpack("<Q", data.at(16, 8))
    if data.at(0, 16) != _RIFF or data.at(24, 16) != b"wave" + _TAIL:
        raise AudioError(f"begins like Wave64, and does not go on like it; {CONVERT}")
    layout = None
    for name, start, size in _chunks(data):
        if name == b"fmt " + _TAIL and layout is None:
            layout = read_layout(data, start, size, "<")
        elif name == b"data" + _TAIL:
            break
    else:
        raise AudioError(f"has no chunk of samples ('data'): damaged or cut short; {COPY}")
    if layout is None:
        raise AudioError(f"does not say what its samples are ('fmt '); {CONVERT}")
    codec, channels, rate, align = layout
    there, warnings = data.size - start, []
    check_size(size, there)
    if size == 0 and there > 0:
        raise AudioError(f"its header claims no samples, and {there} bytes follow; {CONVERT}")
    if form_size > data.size + 7:  # padding may be missing
        warnings.append(f"its header claims {form_size} bytes, {data.size} are there")
    if size % align:
        warnings.append(f"ends within a sample; the last {size % align} bytes are left out")
    return AudioInfo("Wave64", codec, channels, rate, size // align, tuple(warnings))


def _chunks(data: FileBytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position of the content and size of the content of each chunk."""
    start = 40
    for _ in range(MAX_CHUNKS):
        if start + _HEADER_BYTES > data.size:
            return
        name, size = struct.unpack("<16sQ", data.at(start, _HEADER_BYTES))
        if size < _HEADER_BYTES:
            raise AudioError(f"its chunk {quoted(name[:4])} claims {size} bytes; {COPY}")
        yield name, start + _HEADER_BYTES, size - _HEADER_BYTES
        start += (size + 7) // 8 * 8
        if start > data.size + 7:
            raise AudioError(
                f"cut short: its chunk {quoted(name[:4])} claims {size} bytes, and the file ends "
                f"{start - data.size} before; {COPY}"
            )
    raise AudioError(f"has more than {MAX_CHUNKS} chunks; {CONVERT}")
