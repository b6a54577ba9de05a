"""The mean gain of a sensor for each kind of speech sound; kinds are found in the air signals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch
from numpy.typing import NDArray

from bcsim.dsp.activity import is_active
from bcsim.rng import stream
from bcsim.sensors.responses.base import SpeechResponse, relative_levels

NUM_KINDS = 6
FADED_DB = 40.0  # under the highest band of a frame; fainter bands do not decide on its kind


@dataclass(frozen=True, eq=False)
class SpeechKind:
    """Frames of air speech that resemble each other.

    Args:
        centroid_hz: centroid of their mean spectrum, in Hz.
        share: fraction of all active frames.
        air_db: (M,), mean level of each band relative to active speech.
        gains_db: (M,), mean gain of the sensor relative to its fixed response.
    """

    centroid_hz: float
    share: float
    air_db: NDArray[np.float64]
    gains_db: NDArray[np.float64]


def speech_kinds(
    speech: SpeechResponse, air: Sequence[NDArray[np.floating]], count: int = NUM_KINDS
) -> list[SpeechKind]:
    """Cluster the active frames of air signals and average the gains within each cluster.

    The clusters are k-means of the shapes of the mel spectra. Low centroids are nasals and close
    vowels, high ones fricatives.

    Args:
        speech: speech-dependent part of a sensor.
        air: signals (T,) at the sensor's rate.
        count: largest number of clusters; there are fewer where there are few frames.

    Returns:
        Clusters from the lowest centroid to the highest; none where nothing is active.
    """
    levels, gains = [], []
    for samples in air:
        if not np.any(samples):
            continue
        signal = torch.from_numpy(np.array(samples, dtype=np.float64))[None]
        air_db = speech.bank.levels_db(signal)
        frames = torch.tensor([air_db.shape[1]])
        active = is_active(speech.bank.speech_power(air_db), frames)[0]
        levels.append(relative_levels(speech.bank, air_db, frames)[0][active].numpy())
        gains.append(speech.gains_db(air_db)[0][active].numpy())
    if not levels:
        return []
    level_db, gain_db = np.concatenate(levels), np.concatenate(gains)
    shape = np.maximum(level_db - level_db.max(axis=1, keepdims=True), -FADED_DB)
    count = min(count, len(shape) // 10, len(np.unique(shape, axis=0)))
    if count < 1:
        return []
    _, labels = scipy.cluster.vq.kmeans2(
        shape, count, minit="++", rng=stream(0, "kinds of speech"), missing="warn"
    )
    centres_hz = speech.bank.centres_hz.numpy()
    kinds = []
    for label in sorted(set(labels.tolist())):
        inside = labels == label
        power = (10 ** (level_db[inside] / 10)).mean(axis=0)
        # Bands are about as wide as their distance: powers are densities, to be summed over Hz.
        energy = power * np.gradient(centres_hz)
        kinds.append(
            SpeechKind(
                centroid_hz=float((energy * centres_hz).sum() / energy.sum()),
                share=float(inside.mean()),
                air_db=level_db[inside].mean(axis=0),
                gains_db=gain_db[inside].mean(axis=0),
            )
        )
    return sorted(kinds, key=lambda kind: kind.centroid_hz)
