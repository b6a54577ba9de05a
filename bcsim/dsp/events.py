"""Events in time, by seed: any segment of any clip has the events that the whole clip has there.

Time is counted in cells of one mean interval. What happens in a cell depends on the seed and on
the cell's number alone, so nothing has to be drawn from the start, and processes are endless in
both directions: what began before a clip lasts into it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bcsim.dsp.noise import white_noise

MOST = 8  # events in a cell of a Poisson process with one on average; one cell in 10^6 has more
MARKS = 64  # numbers that may be drawn about an event before its noise starts
# White noise hashes its seed, so seeds that are a step apart are unrelated. Three odd steps: no
# small multiple of one is one of another.
_PROCESS, _CELL, _EVENT = 0x5DEECE66D, -7046029254386353131, -7723592293110705685


@dataclass(frozen=True)
class Events:
    """Events of B clips in one list.

    Args:
        clip: (E,), number of the clip to which each event belongs.
        onset_s: (E,), start of each event in seconds from the clip's start; may be negative.
        seeds: (E,) of int64, seeds of all else that is random about each event.
    """

    clip: Tensor
    onset_s: Tensor
    seeds: Tensor

    def normal(self, count: int) -> Tensor:
        """Return `count` standard normal numbers for each event, (E, count), at most 64."""
        return white_noise(self.seeds, count)

    def uniform(self, count: int) -> Tensor:
        """Return `count` numbers between 0 and 1 for each event, (E, count), at most 64.

        They are those of `normal` in another form, so use one or the other.
        """
        return torch.special.ndtr(self.normal(count))

    def noise(self, num_samples: int) -> Tensor:
        """Return white noise of unit variance for each event, (E, num_samples)."""
        return white_noise(self.seeds, num_samples, start=MARKS)

    def times_s(self, num_samples: int, sample_rate: int) -> Tensor:
        """Return the time since the onset at the first samples from there on, (E, num_samples)."""
        onset = self.onset_s[:, None] * sample_rate
        steps = torch.arange(num_samples, device=onset.device)
        return (onset.ceil() - onset + steps) / sample_rate

    def place(self, shapes: Tensor, like: Tensor, start: int, sample_rate: int) -> Tensor:
        """Add up what happens in a segment of every clip.

        Args:
            shapes: (E, M), what each event adds at the times of `times_s`.
            like: (B, T), any signal of the segment.
            start: number of samples of the clip before the segment.
            sample_rate: in Hz.

        Returns:
            (B, T), float64.
        """
        num_samples = like.shape[-1]
        first = (self.onset_s * sample_rate).ceil().long() - start
        positions = first[:, None] + torch.arange(shapes.shape[1], device=first.device)
        inside = (positions >= 0) & (positions < num_samples)
        index = (positions + self.clip[:, None] * num_samples)[inside]
        total = torch.zeros(like.numel(), dtype=torch.float64, device=shapes.device)
        # index_put, not index_add: it adds in one order on every device.
        total.index_put_((index,), shapes.double()[inside], accumulate=True)
        return total.view_as(like)


def poisson_events(
    seeds: Tensor, rate_hz: Tensor, start_s: Tensor | float, end_s: float, process: int = 0
) -> Events:
    """Return the events of a Poisson process that begin between `start_s` and `end_s`.

    Args:
        seeds: (B,) of int64.
        rate_hz: (B,), events a second on average; none at 0 or below.
        start_s: seconds from the clip's start, (B,) or one number. Events that last into a
            segment begin before it by as much as an event lasts.
        end_s: seconds from the clip's start.
        process: number of the process, where one seed has several independent ones.

    Example:
        >>> seeds, rate_hz = torch.tensor([7]), torch.tensor([2.0])
        >>> whole = poisson_events(seeds, rate_hz, 0.0, 60.0).onset_s
        >>> part = poisson_events(seeds, rate_hz, 20.0, 30.0).onset_s
        >>> torch.equal(part, whole[(whole >= 20) & (whole < 30)])
        True
    """
    rate_hz = rate_hz.double().clamp(min=0)
    clip, number, cell_seeds = _cells(seeds, rate_hz, start_s, end_s, process, spill=0)
    uniform = torch.special.ndtr(white_noise(cell_seeds, 1 + MOST))
    terms = [math.exp(-1) / math.factorial(k) for k in range(MOST)]
    distribution = torch.tensor(terms, dtype=torch.float64, device=seeds.device).cumsum(0)
    count = (uniform[:, :1] > distribution).sum(dim=1, keepdim=True)
    order = torch.arange(MOST, device=seeds.device)
    happens = order < count
    onset_s = (number[:, None] + uniform[:, 1:]) / rate_hz[clip][:, None]
    own_seeds = cell_seeds[:, None] + (order + 1) * _EVENT
    clips = clip[:, None].expand(-1, MOST)
    return _between(Events(clips[happens], onset_s[happens], own_seeds[happens]), start_s, end_s)


def periodic_events(
    seeds: Tensor,
    rate_hz: Tensor,
    jitter: float,
    start_s: Tensor | float,
    end_s: float,
    process: int = 0,
) -> Events:
    r"""Return the events of a nearly regular process, at the times :math:`(n + p + j_n)/r`.

    The phase p depends on the seed. Each j is uniform within half the `jitter`, in periods (0 to
    1), either way. The other arguments are those of `poisson_events`.
    """
    rate_hz = rate_hz.double().clamp(min=0)
    # Phase and jitter move an event by less than two cells.
    clip, number, cell_seeds = _cells(seeds, rate_hz, start_s, end_s, process, spill=2)
    phase = torch.special.ndtr(white_noise(seeds + process * _PROCESS, 1))[:, 0]
    moved = jitter * (torch.special.ndtr(white_noise(cell_seeds, 1))[:, 0] - 0.5)
    onset_s = (number + phase[clip] + moved) / rate_hz[clip]
    return _between(Events(clip, onset_s, cell_seeds + _EVENT), start_s, end_s)


def _cells(
    seeds: Tensor, rate_hz: Tensor, start_s: Tensor | float, end_s: float, process: int, spill: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return clip, number and seed of every cell that reaches between the two times, flat."""
    first = (rate_hz * start_s).floor().long() - spill
    last = (rate_hz * end_s).floor().long() + spill
    longest = int((last - first).max()) + 1 if len(seeds) else 0
    number = first[:, None] + torch.arange(longest, device=seeds.device)
    inside = number <= last[:, None]
    # Odd multiples: no cell shares the seed of the process itself.
    own_seeds = (seeds + process * _PROCESS)[:, None] + (2 * number + 1) * _CELL
    clip = torch.arange(len(seeds), device=seeds.device)[:, None].expand_as(number)
    return clip[inside], number[inside], own_seeds[inside]


def _between(events: Events, start_s: Tensor | float, end_s: float) -> Events:
    earliest = start_s[events.clip] if isinstance(start_s, Tensor) else start_s
    kept = (events.onset_s >= earliest) & (events.onset_s < end_s)
    return Events(events.clip[kept], events.onset_s[kept], events.seeds[kept])
