"""From one clip to the files of its pair."""

import contextlib
import hashlib
import logging
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bcsim.audio.read import AudioFile
from bcsim.audio.unchanging import open_unchanging
from bcsim.audio.validation.base import AudioInfo
from bcsim.audio.write import BITS, encode_audio, is_as_written, writing_audio
from bcsim.datasets.manifest import SIGNALS, PairRow, WrittenPair
from bcsim.effects.base import Draw, Scene
from bcsim.errors import InputError
from bcsim.files.atomic import CHANGED
from bcsim.files.findings import Finding, collecting
from bcsim.files.hashing import hash_file
from bcsim.files.paths import printable
from bcsim.files.writer import Writer
from bcsim.simulator import Simulator
from bcsim.synthesis.clips import Clip
from bcsim.synthesis.journal import own_notes
from bcsim.synthesis.long_files import (
    is_long,
    needed_factors,
    render_segments,
    snr_of_segments,
)

AirFiles = Literal["copy", "link", "encode"]
LEAST_TIME_S = 60.0  # that a clip may take, however short
LEAST_BYTES_PER_S = 20_000  # of its file: four times slower than rooms on a busy core
GAIN_DIGITS = 4  # after the point, of a gain in dB: processors agree on these
AUDIBLE_CLIPPING = 1.01  # of full scale, 0.1 dB: below it no warning is given

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skipped:
    """Why a clip gave no pair."""

    reason: str


@dataclass(frozen=True)
class _Source:
    """A recording: what it says about itself, samples (T,) unless it is long, SHA-256, bytes."""

    clip: Clip
    path: Path
    info: AudioInfo
    samples: NDArray[np.float64]
    sha256: str
    content: bytes  # none where the recording is long, or its file large
    draws: dict[str, Draw]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RenderingOptions:
    """Options of a run that decide what its pairs are, besides the recipe.

    Each is a setting of the run, under its own name or that in its metadata, and a run is continued
    with the same settings only. A run from before a field was added counts as one with its default.

    Args:
        seed: root seed.
        mean: render the mean sensor, with nothing random but its noise floor.
        air_files: whether a recording that no effect has changed, and whose file is as the dataset
            would hold it, gets there by "copy", "link" or "encode". The samples are the same.
        device: device of torch, "cpu" or "cuda".
    """

    seed: int = 0
    mean: bool = False
    air_files: AirFiles = field(default="copy", metadata={"setting": "air"})
    device: str = "cpu"

    def settings(self) -> dict[str, Any]:
        """Return the value of each option by the name of its setting."""
        return {_setting_of(option): getattr(self, option.name) for option in fields(self)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "RenderingOptions":
        """Return the options that settings hold; those that they lack have their defaults."""
        names = {_setting_of(option): option.name for option in fields(cls)}
        return cls(**{names[key]: value for key, value in settings.items() if key in names})


def _setting_of(option: Field[Any]) -> str:
    return option.metadata.get("setting", option.name)


@dataclass(frozen=True)
class Renderer:
    """Everything that rendering one clip takes, apart from the clip; goes to worker processes.

    Args:
        simulator: simulator that renders the clips.
        source_folder: folder of the air recordings; absolute, since workers may run elsewhere.
        out: folder of the dataset; absolute.
        sensor: name of the sensor, for the manifest.
        options: options of the run.
        audio_format: "flac" or "wav".
        subtype: subtype of libsndfile that the files have.
        notes: folder in which every process notes down the pairs that it has written, or None.
    """

    simulator: Simulator
    source_folder: Path
    out: Path
    sensor: str
    options: RenderingOptions
    audio_format: str = "flac"
    subtype: str = "PCM_16"
    notes: Path | None = None

    def render(self, clips: Sequence[Clip]) -> list[WrittenPair | Skipped]:
        """Render clips one by one and write their files.

        Returns:
            For each clip the written pair, or why the source cannot be used.

        Raises:
            EnvironmentFault: if the disk is full or forbidden.
        """
        results = []
        with contextlib.ExitStack() as stack:
            notes = None if self.notes is None else stack.enter_context(own_notes(self.notes))
            writer = stack.enter_context(Writer())
            for clip in clips:
                (result,) = self._render([clip], writer)
                results.append(result)
                if notes is not None and isinstance(result, WrittenPair):
                    writer.after(partial(notes.add, result))
        return results

    def render_together(self, clips: Sequence[Clip]) -> list[WrittenPair | Skipped]:
        """Render clips as one padded batch, which a GPU likes; otherwise as `render`."""
        with Writer() as writer:
            return self._render(clips, writer)

    def remove(self, clip: Clip) -> None:
        """Remove files of a clip that is given up: its worker may have been lost in the middle."""
        for signal in SIGNALS:
            path = self.out / clip.split / self._file_name(clip, signal)
            path.unlink(missing_ok=True)

    def limit_s(self, clip: Clip) -> float:
        """Return how long a clip may take, in seconds: more than any sound file of its size."""
        try:
            size = (self.source_folder / clip.source).stat().st_size
        except OSError:
            size = 0  # reading it will tell what is wrong
        return LEAST_TIME_S + size / LEAST_BYTES_PER_S

    def _render(self, clips: Sequence[Clip], writer: Writer) -> list[WrittenPair | Skipped]:
        read = [self._read(clip) for clip in clips]
        sources = [s for s in read if isinstance(s, _Source) and len(s.samples)]
        lines: dict[str, WrittenPair | Skipped] = {}
        if sources:
            try:
                lines = self._render_whole(sources, writer)
            except InputError as error:  # a recording of noise, which one of the clips drew
                if len(clips) == 1:
                    return [Skipped(f"{clips[0].source}: {error}")]
                return [self._render([clip], writer)[0] for clip in clips]
        for source in read:
            if isinstance(source, _Source) and not len(source.samples):
                lines[source.clip.id] = self._render_long(source)
        return [source if isinstance(source, Skipped) else lines[source.clip.id] for source in read]

    def _read(self, clip: Clip) -> _Source | Skipped:
        path = self.source_folder / clip.source
        try:
            with open_unchanging(path) as audio:
                digest = audio.sha256()
                long = is_long(path, audio.info, self.simulator)
                samples = np.zeros(0) if long else audio.read(self.simulator.sample_rate)
                audio.check_unchanged()
                content = b"" if long else audio.content() or b""
        except InputError as error:
            return Skipped(str(error))
        draws = self.simulator.sample(self.options.seed, clip.id, self.options.mean)
        if clip.replayed is not None:
            row = PairRow.from_json(clip.replayed, clip.id)
            if row.source_sha256 != digest:
                return Skipped(f"{path}: is not the file that {clip.id} was rendered from")
            if not _alike(row.drawn, draws):
                return Skipped(f"{clip.id}: its draw does not fit the recipe's effects")
            draws = row.drawn
        return _Source(clip, path, audio.info, samples, digest, content, draws, audio.findings)

    def _render_whole(
        self, sources: Sequence[_Source], writer: Writer
    ) -> dict[str, WrittenPair | Skipped]:
        """Render clips that were read as one batch; return the pairs by id."""
        # float64 throughout: after rounding to 16 bits, processors and thread counts agree.
        clips = [torch.from_numpy(source.samples) for source in sources]
        lengths = torch.tensor([len(clip) for clip in clips]).to(self.options.device)
        air = clips[0][None] if len(clips) == 1 else pad_sequence(clips, batch_first=True)
        air = air.to(self.options.device)
        scene = Scene.from_air(air, self.simulator.sample_rate, lengths)
        with torch.inference_mode():
            scene = self.simulator.apply(scene, [source.draws for source in sources])
        untouched = scene.air is air  # most effects leave it alone: nothing to fetch or compare
        return {
            source.clip.id: self._write(
                source,
                _signals(scene, row),
                _gains_db(scene, row),
                _numbers(scene.measured, row),
                untouched,
                writer,
            )
            for row, source in enumerate(sources)
        }

    def _write(
        self,
        source: _Source,
        signals: Mapping[str, Tensor],
        gains_db: Mapping[str, float],
        measured: Mapping[str, float | None],
        untouched: bool,
        writer: Writer,
    ) -> WrittenPair | Skipped:
        """Write the files of a pair; `signals` are (T,) by folder, air as read if `untouched`."""
        samples = {name: signal.cpu().numpy() for name, signal in signals.items()}
        if untouched:
            samples["air"] = source.samples
        is_kept = self.options.air_files != "encode" and self._is_the_file(source, samples["air"])
        encoded = [name for name in samples if not (is_kept and name == "air")]
        peaks = {name: float(max(s.max(), -s.min())) for name, s in samples.items()}
        try:
            for signal in signals.values():
                _check_finite(source, signal)
            told = {**measured, **_facts(source, peaks)}
            row = self._row(source, signals, len(signals["air"]), gains_db, told)
        except _UnusableError as error:
            return Skipped(str(error))
        folder, sha256 = self.out / source.clip.split, []
        for name, file_name in row.file_names.items():
            if name in encoded:
                path, rate = folder / file_name, row.sample_rate
                content = encode_audio(path, samples[name], rate, self.subtype)
                writer.write(path, content)
                sha256.append(hashlib.sha256(content).hexdigest())
            else:
                self._take(source, folder / file_name, writer)
                sha256.append(source.sha256)
        self._warn_of_clipping(source, {name: peaks[name] for name in encoded})
        return WrittenPair(row.to_json(), tuple(sha256))

    def _take(self, source: _Source, path: Path, writer: Writer) -> None:
        """Copy or link a recording that is held as it was read, whatever its path leads to now."""
        if self.options.air_files == "link":
            writer.link_or_write(source.path, path, source.sha256, source.content)
        else:
            writer.write(path, source.content)

    def _is_the_file(self, source: _Source, air: NDArray[np.float64]) -> bool:
        """Tell whether a file that is held has `air` (T,) in the way in which it is wanted."""
        rate, suffix = self.simulator.sample_rate, f".{self.audio_format}"
        same = air is source.samples or np.array_equal(air, source.samples)
        as_written = is_as_written(source.info, suffix, rate, len(air), self.subtype)
        return bool(source.content) and same and as_written

    def _render_long(self, source: _Source) -> WrittenPair | Skipped:
        """Render and write a long clip segment by segment."""
        try:
            with open_unchanging(source.path) as audio:
                if audio.sha256() != source.sha256:
                    raise InputError(f"{source.path}: {CHANGED}")
                entry, peaks = self._write_segments(source, audio, {})
                factors = needed_factors(self.simulator, peaks)
                if min(factors.values(), default=1.0) < 1:
                    entry, peaks = self._write_segments(source, audio, factors)
            self._warn_of_clipping(source, peaks)
            return entry
        except (_UnusableError, InputError) as error:
            return Skipped(str(error))

    def _write_segments(
        self, source: _Source, audio: AudioFile, factors: Mapping[str, float]
    ) -> tuple[WrittenPair, dict[str, float]]:
        """Write a long clip times factors; return the pair and the peak of each signal."""
        append: dict[str, Callable[[NDArray[np.float64]], None]] = {}
        peaks: dict[str, float] = {}
        num_samples = 0
        measured: list[tuple[int, Mapping[str, Tensor]]] = []
        with torch.inference_mode(), collecting() as found, contextlib.ExitStack() as files:
            for scene in render_segments(self.simulator, source.draws, audio, factors):
                for name, signal in _signals(scene, 0).items():
                    _check_finite(source, signal)
                    if name not in append:
                        path = self.out / source.clip.split / self._file_name(source.clip, name)
                        file = writing_audio(path, self.simulator.sample_rate, self.subtype)
                        append[name] = files.enter_context(file)
                    append[name](signal.cpu().numpy())
                    peaks[name] = max(peaks.get(name, 0.0), float(signal.abs().max()))
                num_samples += scene.air.shape[-1]
                measured.append((scene.air.shape[-1], scene.measured))
            audio.check_unchanged()  # before the files get their names
            gains_db = {name: _decibels(factor) for name, factor in factors.items()}
            told = _numbers(snr_of_segments(measured), 0) | _facts(source, peaks)
            inspected = replace(source, findings=tuple(found.of(str(source.path))))
            row = self._row(inspected, append, num_samples, gains_db, told)
        paths = [self.out / source.clip.split / name for name in row.file_names.values()]
        return WrittenPair(row.to_json(), tuple(map(hash_file, paths))), peaks

    def _row(
        self,
        source: _Source,
        signals: Iterable[str],
        num_samples: int,
        gains_db: Mapping[str, float],
        measured: dict[str, float | None],
    ) -> PairRow:
        """Return the manifest's row; an error if it is not that of the pair to be replayed."""
        clip, rate = source.clip, self.simulator.sample_rate
        row = PairRow(
            id=clip.id,
            **{f"{name}_file_name": self._file_name(clip, name) for name in signals},
            speaker=clip.speaker,
            duration_s=num_samples / rate,
            sample_rate=rate,
            sensor=self.sensor,
            source=printable(clip.source),
            source_sha256=source.sha256,
            seed=self.options.seed,
            drawn=source.draws,
            # In every row, since readers of JSON lines take the columns of the first ones.
            applied_gain_db={name: gains_db.get(name, 0.0) for name in signals},
            measured=measured,
            findings=_told(source.findings),
        )
        replayed = clip.replayed and PairRow.from_json(clip.replayed, clip.id)
        if replayed and not row.is_pair_of(replayed):
            raise _UnusableError(
                f"{clip.id}: renders to another pair; is this the recipe it was made by?"
            )
        return row.read_back()

    def _is_clipped(self, peak: float) -> bool:
        return self.subtype in BITS and peak > AUDIBLE_CLIPPING

    def _warn_of_clipping(self, source: _Source, peaks: Mapping[str, float]) -> None:
        name = max(peaks, key=peaks.__getitem__)
        if self._is_clipped(peaks[name]):
            log.warning(
                "%s: %s exceeds full scale (peaks at %.3g) and is clipped; end the recipe with "
                "peak_limit",
                printable(str(source.path)),
                name,
                peaks[name],
            )

    def _file_name(self, clip: Clip, signal: str) -> str:
        return f"{signal}/{clip.id}.{self.audio_format}"


class _UnusableError(Exception):
    """A clip whose rendering cannot be kept."""


def _check_finite(source: _Source, signal: Tensor) -> None:
    # A sum is as finite as all of its terms, and quicker to look at.
    if not math.isfinite(float(signal.sum())):
        raise _UnusableError(
            f"{source.path}: the simulated signal is not finite; look at the recipe's effects"
        )


def _signals(scene: Scene, row: int) -> dict[str, Tensor]:
    """Return the signals of one clip, each (T,)."""
    length = int(scene.lengths[row])
    signals = {"bone": scene.bone, "air": scene.air, "noisy_air": scene.noisy_air}
    return {name: s[row, :length] for name, s in signals.items() if s is not None}


def _decibels(factor: float) -> float:
    largest = sys.float_info.max  # 1 over a denormal number is infinite, which JSON does not know
    return round(20 * math.log10(min(max(factor, 1 / largest), largest)), GAIN_DIGITS)


def _gains_db(scene: Scene, row: int) -> dict[str, float]:
    """Return the gains in dB that followed from the peaks of one clip, by its signals."""
    gains = scene.gains or {}
    return {
        name: _decibels(float(gains[name][row])) for name in _signals(scene, row) if name in gains
    }


def _numbers(measured: Mapping[str, Tensor], row: int) -> dict[str, float | None]:
    """Return what was measured of one clip while it was rendered; see `Scene.measured`."""
    values = {name: float(value[row]) for name, value in measured.items()}
    return {
        name: round(value, 2) + 0.0 if math.isfinite(value) else None  # -0.0 becomes 0.0
        for name, value in values.items()
        if not math.isnan(value)
    }


def _facts(source: _Source, peaks: Mapping[str, float]) -> dict[str, float | None]:
    """Return the band of a recording and the peaks of a pair's files, as its row holds them."""
    levels = {
        f"{name}.peak_dbfs": round(_decibels(peak), 2) + 0.0 if peak > 0 else None
        for name, peak in peaks.items()
    }
    return {**levels, "source.bandwidth_hz": source.info.sample_rate / 2}


def _told(findings: Sequence[Finding]) -> list[dict[str, str]] | None:
    """Return the findings of a recording as its row holds them, or None without any."""
    keys = ("kind", "text", "remedy")
    return [{key: getattr(found, key) for key in keys} for found in findings] or None


def _alike(recorded: Any, drawn: Any) -> bool:
    """Tell whether recorded values are such as an effect draws: kinds, names and lengths."""
    if isinstance(drawn, float):
        return isinstance(recorded, float) and math.isfinite(recorded)
    if type(recorded) is not type(drawn):
        return False
    if isinstance(drawn, dict):
        same_names = recorded.keys() == drawn.keys()
        return same_names and all(_alike(recorded[name], drawn[name]) for name in drawn)
    return not isinstance(drawn, list) or (
        len(recorded) == len(drawn) and all(map(_alike, recorded, drawn))
    )
