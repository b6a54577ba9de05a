"""From one clip to the files of its pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bcsim.data.audio import is_ours, read_audio, write_audio
from bcsim.data.clips import Clip
from bcsim.data.manifest import PairRow
from bcsim.effects.base import Draw, Scene
from bcsim.errors import InputError
from bcsim.files import copy_file, hash_file, link_file, printable
from bcsim.simulator import Simulator

AirFiles = Literal["copy", "link", "encode"]


@dataclass(frozen=True)
class Skipped:
    """Why a clip gave no pair."""

    reason: str


@dataclass(frozen=True)
class _Source:
    """A recording as it was read: samples (T,) at the simulator's rate, and the file's SHA-256."""

    clip: Clip
    path: Path
    samples: NDArray[np.float64]
    sha256: str
    draws: dict[str, Draw]


@dataclass(frozen=True)
class Renderer:
    """Everything that rendering one clip takes, apart from the clip; goes to worker processes.

    Args:
        simulator: what is done to it.
        source_folder: of the air recordings; absolute, for workers may stand elsewhere.
        out: folder of the dataset, likewise.
        sensor: name for the manifest.
        seed: root seed.
        mean: render the mean sensor.
        audio_format: "flac" or "wav".
        device: of torch.
        air: what becomes of a recording that no effect has changed, and that is stored as the
            dataset wants it: its file is copied, linked, or encoded again. The samples are the
            same.
    """

    simulator: Simulator
    source_folder: Path
    out: Path
    sensor: str
    seed: int
    mean: bool = False
    audio_format: str = "flac"
    device: str = "cpu"
    air: AirFiles = "copy"

    def render(self, clip: Clip) -> str | Skipped:
        """Render a clip and write its files.

        Returns:
            The manifest's line, or why the source cannot be used.

        Raises:
            EnvironmentFault: if the disk is full or forbidden.
        """
        return self.render_together([clip])[0]

    def render_together(self, clips: Sequence[Clip]) -> list[str | Skipped]:
        """Render clips as one padded batch, which a GPU likes; otherwise as `render`."""
        read = [self._read(clip) for clip in clips]
        sources = [source for source in read if isinstance(source, _Source)]
        if not sources:
            return [source for source in read if isinstance(source, Skipped)]
        # float64 throughout: after rounding to 16 bits, processors and thread counts agree.
        lengths = torch.tensor([len(source.samples) for source in sources]).to(self.device)
        air = pad_sequence([torch.from_numpy(s.samples) for s in sources], batch_first=True)
        air = air.to(self.device)
        scene = Scene.from_air(air, self.simulator.sample_rate, lengths)
        try:
            with torch.inference_mode():
                scene = self.simulator.apply(scene, [source.draws for source in sources])
        except InputError as error:  # a recording of noise, which one of the clips drew
            if len(clips) == 1:
                return [Skipped(f"{clips[0].source}: {error}")]
            return [self.render(clip) for clip in clips]
        untouched = scene.air is air  # most effects leave it alone: nothing to fetch or compare
        lines = iter(
            [self._write(source, _row(scene, i), untouched) for i, source in enumerate(sources)]
        )
        return [next(lines) if isinstance(source, _Source) else source for source in read]

    def _read(self, clip: Clip) -> _Source | Skipped:
        path = self.source_folder / clip.source
        try:
            samples, _ = read_audio(path, self.simulator.sample_rate)
            digest = hash_file(path)
        except InputError as error:
            return Skipped(str(error))
        except OSError as error:
            return Skipped(f"{path}: cannot be read ({error.strerror})")
        draws = self.simulator.sample(self.seed, clip.id, self.mean)
        if clip.replayed is not None:
            row = PairRow.from_json(clip.replayed, clip.id)
            if row.source_sha256 != digest:
                return Skipped(f"{path}: is not the file that {clip.id} was rendered from")
            if _names(row.drawn) != _names(draws):
                return Skipped(
                    f"{clip.id}: what was drawn for it does not fit the recipe's effects"
                )
            draws = row.drawn
        return _Source(clip, path, samples, digest, draws)

    def _write(
        self, source: _Source, signals: Mapping[str, Tensor], untouched: bool
    ) -> str | Skipped:
        """Write the files of a pair.

        Args:
            source: that it came of.
            signals: each (T,), by the name of their folder.
            untouched: whether air is known to be what was read.
        """
        clip, rate = source.clip, self.simulator.sample_rate
        if not all(bool(torch.isfinite(signal).all()) for signal in signals.values()):
            return Skipped(
                f"{source.path}: the simulated signal is not finite; look at the recipe's effects"
            )
        row = PairRow(
            id=clip.id,
            **{f"{name}_file_name": f"{name}/{clip.id}.{self.audio_format}" for name in signals},
            speaker=clip.speaker,
            duration_s=signals["air"].shape[-1] / rate,
            sample_rate=rate,
            sensor=self.sensor,
            source=printable(clip.source),
            source_sha256=source.sha256,
            seed=self.seed,
            drawn=source.draws,
        )
        line = row.to_json()
        if clip.replayed not in (None, line):
            return Skipped(
                f"{clip.id}: renders to another pair; is this the recipe it was made by?"
            )
        folder = self.out / clip.split
        for name, file_name in row.file_names.items():
            as_read = name == "air" and untouched
            samples = source.samples if as_read else signals[name].cpu().numpy()
            if name == "air" and self.air != "encode" and self._is_the_file(source, samples):
                take = link_file if self.air == "link" else copy_file
                take(source.path, folder / file_name)
            else:
                write_audio(folder / file_name, samples, rate)
        return line

    def _is_the_file(self, source: _Source, air: NDArray[np.float64]) -> bool:
        """Tell whether a recording's file holds `air` (T,) in the way in which it is wanted."""
        suffix, rate = f".{self.audio_format}", self.simulator.sample_rate
        same = air is source.samples or np.array_equal(air, source.samples)
        return same and is_ours(source.path, suffix, rate, len(air))


def _row(scene: Scene, row: int) -> dict[str, Tensor]:
    """Return the signals of one clip, each (T,)."""
    length = int(scene.lengths[row])
    signals = {"bone": scene.bone, "air": scene.air, "noisy_air": scene.noisy_air}
    return {name: s[row, :length] for name, s in signals.items() if s is not None}


def _names(draws: Mapping[str, Any]) -> dict[str, set[str]]:
    return {step: set(draw) for step, draw in draws.items()}
