"""The header of NIST SPHERE, as TIMIT and its kin have it; source: NIST's SPHERE 2.6."""

import re

from bcsim.audio.validation.base import (
    CONVERT,
    COPY,
    AudioError,
    AudioInfo,
    FileBytes,
    check_size,
)

_CODECS = {
    **{("pcm", 1): "PCM_S8", ("pcm", 2): "PCM_16", ("pcm", 3): "PCM_24", ("pcm", 4): "PCM_32"},
    **{("ulaw", 1): "ULAW", ("mu-law", 1): "ULAW", ("alaw", 1): "ALAW"},
}
_MAX_HEADER_BYTES = 1 << 16
_FIELD = re.compile(rb"^(\w+) -(?:i|r|s\d+) (.*)$")


def read_sphere(data: FileBytes) -> AudioInfo:
    """Check the header of SPHERE: lines of text; the samples follow where its size says."""
    first = data.at(0, 16)
    if first[:8] != b"NIST_1A\n" or not first[8:].strip().isdigit():
        raise AudioError(f"begins like SPHERE, and does not go on like it; {COPY}")
    start = int(first[8:])
    if not 16 < start <= _MAX_HEADER_BYTES:
        raise AudioError(f"SPHERE with a header of {start} bytes; {COPY}")
    text, end, _ = data.at(0, start).partition(b"end_head")
    if not end:
        raise AudioError(f"SPHERE whose header has no end; {COPY}")
    matches = (_FIELD.match(line.rstrip()) for line in text.split(b"\n"))
    fields = {match[1].decode(): match[2].decode("latin-1") for match in matches if match}
    channels, rate, frames, width = (
        _number(fields, name)
        for name in ("channel_count", "sample_rate", "sample_count", "sample_n_bytes")
    )
    coding = fields.get("sample_coding", "pcm").lower()
    codec = _CODECS.get((coding, width))
    if codec is None:
        raise AudioError(f"SPHERE with {width}-byte {coding!a} inside; {CONVERT}")
    check_size(frames * channels * width, data.size - start)
    if frames * channels * width < data.size - start:  # which libsndfile would read as well
        raise AudioError(f"holds more than the {frames} samples that its header claims; {CONVERT}")
    return AudioInfo("SPHERE", codec, channels, rate, frames)


def _number(fields: dict[str, str], name: str) -> int:
    value = fields.get(name, "")
    if not value.isdecimal() or len(value) > 12:
        raise AudioError(f"SPHERE whose {name} is {value[:40]!a}; {COPY}")
    return int(value)
