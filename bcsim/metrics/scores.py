"""The two sets of scores: of a simulator against the real sensor, of an enhancer against clean."""

from importlib.util import find_spec

from torch import Tensor

from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison

SIMULATION = (
    "lsd", "lsd_all", "lsd_0_2k", "lsd_2_8k", "lsd_pauses", "mel_sd", "mcd", "ltas",
    "si_sdr_100_1000", "stoi", "estoi", "dynamics_ratio",
)  # fmt: skip
ENHANCEMENT = ("si_sdr", "stoi", "estoi", "lsd")  # and PESQ, where it is installed


def enhancement_metrics() -> tuple[str, ...]:
    """Return what an enhancer is judged by on this machine: PESQ needs a package of its own."""
    return (*ENHANCEMENT, "pesq") if find_spec("pesq") else ENHANCEMENT


def simulation_scores(
    simulated: Tensor, real: Tensor, air: Tensor, sample_rate: int
) -> dict[str, float]:
    """BestModelTracker one simulated utterance against the real recording of the same speech.

    Air decides which frames are active, and the simulated signal is scaled to the real one's
    active RMS: level and pauses, which are easy, would hide the rest.

    Args:
        simulated: (T,).
        real: (T,), of the sensor.
        air: (T,), of the microphone.
        sample_rate: in Hz.

    Returns:
        Values by name; NaN where there is nothing to compare (silence).
    """
    pair = Comparison.prepare(simulated, real, sample_rate, reference=air)
    return {name: METRICS[name](pair) for name in SIMULATION}


def enhancement_scores(estimate: Tensor, target: Tensor, sample_rate: int) -> dict[str, float]:
    """BestModelTracker one enhanced utterance against the clean one, levels as they are.

    Args:
        estimate: (T,).
        target: (T,), which decides which frames are active.
        sample_rate: in Hz.

    Returns:
        Values of `enhancement_metrics` by name; NaN where the target is silent.
    """
    pair = Comparison.prepare(estimate, target, sample_rate, match_level=False)
    return {name: METRICS[name](pair) for name in enhancement_metrics()}
