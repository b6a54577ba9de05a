"""Air recordings for training, rendered through a sensor as they are asked for."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from bcsim.audio.read import BLOCK, AudioFile, open_audio
from bcsim.datasets.pairs import Pair, Pairs, as_float32
from bcsim.dsp.activity import speech_rms_of_blocks
from bcsim.effects.base import Draw, Scene
from bcsim.errors import InputError
from bcsim.files.opening import state_of
from bcsim.simulator import Simulator


class RenderedPairs(Pairs):
    """Air recordings, simulated as they are asked for: every epoch has other draws.

    Args:
        files: paths of the air recordings.
        folder: common folder of the recordings; the paths below it are the ids.
        simulator: simulator of the sensor; the pairs have its sample rate.
        seed: root seed of crops and draws.
    """

    def __init__(
        self, files: Sequence[Path], folder: Path, simulator: Simulator, seed: int
    ) -> None:
        ids = [path.relative_to(folder).as_posix() for path in files]
        super().__init__(ids, simulator.sample_rate, seed)
        self.files = list(files)
        # What is read of them has to be of the files as they are now.
        self._states = [state_of(path) if path.is_file() else None for path in files]
        self.simulator = simulator
        self._levels: dict[int, tuple[Tensor, Tensor]] = {}  # of whole files, by `speech_level`

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        return self.crops([(index, epoch)], num_samples)[0]

    def crops(self, picks: Sequence[tuple[int, int]], num_samples: int) -> list[Pair]:
        airs = [self._read(index, epoch, num_samples) for index, epoch in picks]
        clip_ids = [self._clip_id(*pick) for pick in picks]
        # The sensor's noise goes by how loud the talker is, not by what is said in this crop.
        indices = [index for index, _ in picks]
        level, offset = map(torch.cat, zip(*(self._levels[i] for i in indices), strict=True))
        whole = {"level": level, "offset": offset}
        return self._render(indices, airs, clip_ids, num_samples, whole)

    def draws(self, index: int, epoch: int) -> dict[str, Draw]:
        """Return what is drawn for a crop of an item, by step, as `Simulator.sample` does."""
        return self.simulator.sample(self.seed, self._clip_id(index, epoch))

    def _clip_id(self, index: int, epoch: int) -> str:
        return f"{self.ids[index]}@{epoch}"

    def whole(self, index: int) -> Pair:
        with self._open(index) as audio:
            air = audio.read(self.sample_rate)
        return self._render([index], [air], [self.ids[index]], len(air))[0]

    def _read(self, index: int, epoch: int, num_samples: int) -> NDArray[np.float64]:
        with self._open(index) as audio:
            if index not in self._levels:
                self._levels[index] = speech_level(audio, self.sample_rate)
            if (audio.info.sample_rate, audio.info.channels) == (self.sample_rate, 1):
                start = self.crop_start(index, epoch, audio.info.frames, num_samples)
                return audio.read_segment(start, num_samples)
            air = audio.read(self.sample_rate)
        start = self.crop_start(index, epoch, len(air), num_samples)
        return air[start : start + num_samples]

    def _open(self, index: int) -> AbstractContextManager[AudioFile]:
        # Whether they can be used was looked at when the run began.
        return open_audio(self.files[index], is_recording=False, known=self._states[index])

    def _render(
        self,
        indices: Sequence[int],
        airs: Sequence[NDArray[np.float64]],
        clip_ids: Sequence[str],
        num_samples: int,
        whole: Mapping[str, Tensor] | None = None,
    ) -> list[Pair]:
        """Return the pairs, of `num_samples` each, that the simulator makes of air as one batch.

        `whole` holds level and offset of the whole recordings, where `airs` are parts of them.
        """
        started = time.perf_counter()
        batch = torch.stack([as_float32(air, num_samples) for air in airs])
        lengths = torch.tensor([len(air) for air in airs])
        scene = Scene.from_air(batch, self.sample_rate, lengths)
        draws = [self.simulator.sample(self.seed, clip_id) for clip_id in clip_ids]
        with torch.inference_mode():
            scene = self.simulator.apply(replace(scene, **(whole or {})), draws)
        # An effect may have made the clips longer or shorter.
        missing = (0, num_samples - scene.air.shape[-1])
        self.simulated_s += time.perf_counter() - started
        signals = {"air": scene.air, "bone": scene.bone, "noisy_air": scene.noisy_air}
        padded = {name: pad(s, missing) for name, s in signals.items() if s is not None}
        return [
            Pair(
                self.ids[index],
                sample_rate=self.sample_rate,
                **{name: batch[row] for name, batch in padded.items()},
            )
            for row, index in enumerate(indices)
        ]


def speech_level(recording: AudioFile, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Return the RMS of speech in a file, and its mean, (1,) each, read at `sample_rate`."""
    with recording.again(whole=False) as audio:
        blocks = audio.resampled_blocks(sample_rate, BLOCK, None)
        level = speech_rms_of_blocks(blocks, sample_rate)
    if level is None:
        raise InputError(f"{recording.name}: holds no samples")
    return level
