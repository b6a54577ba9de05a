"""The two sets of scores: of a simulator against the real sensor, of an enhancer against clean."""

from torch import Tensor

from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison


def simulation_metrics() -> list[str]:
    """Return the names of the metrics of a simulated sensor in their order."""
    return _in_order({name: metric.simulation for name, metric in METRICS.items()})


def enhancement_metrics() -> list[str]:
    """Return the names of an enhancer's metrics in their order; only those that are available."""
    return _in_order({n: m.enhancement for n, m in METRICS.items() if m.is_available})


def headline_metrics() -> list[str]:
    """Return the few metrics of a simulated sensor that tables put side by side."""
    return [name for name in simulation_metrics() if METRICS[name].headline]


def coupling_metrics() -> list[str]:
    """Return the names of the metrics that are a difference to the real sensor's coupling."""
    return [name for name in simulation_metrics() if METRICS[name].better == "zero"]


def simulation_scores(
    simulated: Tensor, real: Tensor, air: Tensor, sample_rate: int
) -> dict[str, float]:
    """Score one simulated utterance against the real recording of the same speech.

    Air decides which frames are active, and the simulated signal is scaled to the real one's
    active RMS: level and pauses, which are easy, would hide the rest.

    Args:
        simulated: (T,), simulated signal of the sensor.
        real: (T,), recorded signal of the sensor.
        air: (T,), signal of the air microphone.
        sample_rate: sample rate of all signals in Hz.

    Returns:
        Values of `simulation_metrics` by name; NaN where there is nothing to compare (silence).
    """
    pair = Comparison.prepare(simulated, real, sample_rate, reference=air)
    return {name: METRICS[name](pair) for name in simulation_metrics()}


def enhancement_scores(estimate: Tensor, target: Tensor, sample_rate: int) -> dict[str, float]:
    """Score one enhanced utterance against the clean one, levels as they are.

    Args:
        estimate: (T,), enhanced signal.
        target: (T,), clean signal, which decides which frames are active.
        sample_rate: in Hz.

    Returns:
        Values of `enhancement_metrics` by name; NaN where the target is silent.
    """
    pair = Comparison.prepare(estimate, target, sample_rate, match_level=False)
    return {name: METRICS[name](pair) for name in enhancement_metrics()}


def _in_order(positions: dict[str, int | None]) -> list[str]:
    placed = [(position, name) for name, position in positions.items() if position is not None]
    return [name for _, name in sorted(placed)]
