"""Pairs as datasets of PyTorch: `PairDataset` of recordings, `SimulatedPairs` of air speech.

Both work in a `DataLoader` with any number of workers.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from bcsim.audio.folder import audio_files
from bcsim.datasets.pairs import Pairs, open_pairs
from bcsim.datasets.rendered_pairs import RenderedPairs
from bcsim.dsp.signals import check_rate
from bcsim.errors import UsageError
from bcsim.simulator import Simulator


class PairItem(TypedDict):
    """One pair, as datasets hand it out and a `DataLoader` stacks it.

    `noisy_air` is what the air microphone picks up: `air` itself where there is no noise.
    """

    id: str
    air: Tensor  # (T,), float32
    bone: Tensor
    noisy_air: Tensor


class SegmentDataset(Dataset[PairItem]):
    """Pairs, whole or as one random segment of each in every epoch.

    Args:
        pairs: source of the pairs.
        segment_s: length of the segments in seconds, with zeros behind clips that are shorter;
            None for whole clips, which a `DataLoader` stacks only if they are equally long.

    Raises:
        UsageError: if the length is not finite, or shorter than a sample.
    """

    def __init__(self, pairs: Pairs, segment_s: float | None) -> None:
        if segment_s is not None and not (
            0 < segment_s < math.inf and round(segment_s * pairs.sample_rate) > 0
        ):
            raise UsageError(f"segment_s is {segment_s}; it wants a length of at least one sample")
        self.sample_rate = pairs.sample_rate
        self._pairs = pairs.with_channels(("bone", "air"))
        self._num_samples = None if segment_s is None else round(segment_s * pairs.sample_rate)
        # In shared memory, where workers see it that outlive an epoch (`persistent_workers`).
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose segments and draws come next."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> PairItem:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[PairItem]:
        """Return several items, for which a `DataLoader` asks at once."""
        rows = [range(len(self))[index] for index in indices]  # IndexError ends an iteration
        if self._num_samples is None:
            pairs = [self._pairs.whole(row) for row in rows]
        else:
            epoch = int(self._epoch)
            pairs = self._pairs.crops([(row, epoch) for row in rows], self._num_samples)
        return [
            {"id": p.id, "air": p.air, "bone": p.bone, "noisy_air": p.microphone} for p in pairs
        ]


class PairDataset(SegmentDataset):
    """Pairs on disk.

    Args:
        folder: dataset that `synthesize` or `import` wrote, or a folder or list of pairs in any
            layout of docs/recordings.md, such as `air/` and `bone/` with equal relative paths.
        sample_rate: sample rate of the items in Hz; files of another rate are resampled.
        split: "train", "validation" or "test" of a dataset; None for all of its splits.
        segment_s: length of the segments in seconds; None for whole clips.
        seed: root seed of the places of the segments.
        channels: channel of "air" and "bone", where files have several: "1", "left", "z",
            "strongest"; by default all are averaged.

    Raises:
        InputError: if the folder is none of these, or a pair cannot be used.
        UsageError: if the length is not finite, or shorter than a sample.

    Example:
        >>> import tempfile, numpy as np, soundfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for role in ("air", "bone"):
        ...     (folder / role).mkdir()
        ...     soundfile.write(folder / role / "a.wav", np.zeros(16_000), 16_000)
        >>> pairs = PairDataset(folder, segment_s=0.5)
        >>> len(pairs), pairs[0]["id"], pairs[0]["bone"].shape
        (1, 'a', torch.Size([8000]))
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        sample_rate: int = 16_000,
        split: str | None = None,
        segment_s: float | None = None,
        seed: int = 0,
        channels: Mapping[str, str] | None = None,
    ) -> None:
        check_rate(sample_rate)
        super().__init__(open_pairs(Path(folder), sample_rate, seed, split, channels), segment_s)


class SimulatedPairs(SegmentDataset):
    """Pairs that a simulator makes of air speech when they are asked for, anew in every epoch.

    Args:
        air: folder of air-conducted speech, of any sample rate.
        simulator: simulator of the sensor; the items have its sample rate.
        segment_s: length of the segments in seconds.
        seed: root seed of the places of the segments and of everything that the simulator draws.

    Raises:
        InputError: if the folder holds no audio.
        UsageError: if the length is not finite, or shorter than a sample.

    Example:
        >>> import tempfile, numpy as np, soundfile
        >>> from bcsim.effects.distributions import Constant
        >>> from bcsim.effects.gain import Gain
        >>> folder = Path(tempfile.mkdtemp())
        >>> soundfile.write(folder / "a.wav", np.full(16_000, 0.25), 16_000)
        >>> louder = Simulator((Gain(Constant(6.0206)),), 16_000)
        >>> pairs = SimulatedPairs(folder, louder, segment_s=0.5)
        >>> pairs.set_epoch(1)  # before each epoch
        >>> pairs[0]["bone"].max()
        tensor(0.5000)
    """

    def __init__(
        self, air: str | Path, simulator: Simulator, *, segment_s: float, seed: int = 0
    ) -> None:
        files = audio_files(Path(air))
        super().__init__(RenderedPairs(files, Path(air), simulator, seed), segment_s)
