"""A room around the talker: reverberant, noisy air; the sensor picks up the talker directly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bcsim.dsp.fir import fast_length
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import LogUniform, Parameter, Recordings, Uniform
from bcsim.effects.playback import gain_for_snr, play, recorded_power
from bcsim.errors import InputError, check_value

SPEED_OF_SOUND = 343.0  # m/s
CLEARANCE_M = 0.3  # from mouth and microphone to the next wall
COVERED = 0.65  # of the RT60: until then every image source counts, later ones are fewer
MAX_ORDER = 120  # of reflections: 2 million image sources, some 250 MB while they are computed
HIGHPASS_HZ = 20.0
TAPS = 81  # of the sinc that puts a reflection between two samples
HALF_TAPS = TAPS // 2
CALIBRATED_DB = (-5.0, -45.0)  # between these the decay is made to have the asked slope
TOLERANCE = 0.2  # of the RT60, relative; a room that misses it by more is refused

Point = tuple[float, float, float]


@EFFECTS.register("room")
@dataclass(frozen=True)
class Room(Effect):
    r"""Put talker, air microphone and noise into a shoebox room.

    `air` stays what it is, the sound that comes straight from the mouth, and the clean target.
    The air microphone picks up that, its reflections at the walls relative to it, and the noise by
    way of the room, at an SNR in the whole clip:

    .. math:: \mathrm{SNR} = 10\log_{10}\frac{\sum (\mathrm{speech} * h)^2}{\sum n^2}

    with both energies about their means; see `ambient_noise` for faint and silent recordings.

    The sensor picks up the talker through the body, without the room, and the noise only by
    `ambient_leakage`, further down the recipe. As speech keeps the level of `air` however far the
    microphone is, a far one counts as turned up, and the noise with it. At the sensor the noise is
    the one at the microphone times :math:`d_0 / d`, d being the distance: direct speech falls with
    the distance, noise from all round does not. Responses are those of pyroomacoustics' image
    sources (Allen and Berkley 1979, doi 10.1121/1.382599), mouth and noise radiating alike all
    round, walls alike at all frequencies: a model. The absorption is fitted to the decay that is
    asked for, as Sabine's formula misses that by up to a half.

    Args:
        noise: folder of recordings of noise, of which each clip draws one; without, the room is
            silent.
        length_m: length of the room in m.
        width_m: width of the room in m.
        height_m: height of the room in m.
        rt60_s: time in which the reflections, without the direct sound, decay by 60 dB at the
            slope that Schroeder's integral has from -5 to -45 dB, in s; a clip whose room comes out
            more than 20 % off is refused.
        mouth_x: place of the mouth along the room's length, from 0 to 1 of what the walls allow.
        mouth_y: place of the mouth along the room's width, from 0 to 1 of what the walls allow.
        mouth_height_m: height of mouth and microphone above the floor, in m.
        distance_m: distance of the air microphone from the mouth, in m: 0.05 is a headset, 0.5 a
            hand.
        direction_deg: direction of the microphone, seen from the mouth, in degrees.
        position: place in the recording where the clip starts, 0 to 1.
        snr_db: energy of reverberant speech over energy of noise at the air microphone, in dB.
        noise_direction_deg: direction of the first source of noise, seen from the microphone, in
            degrees.
        noise_distance: distance of the sources, as a part of the way from microphone to wall.
        noise_height: height of the sources, as a part of the room's height.
        sources: number of sources of noise, evenly round the microphone; all play the same
            recording, each from another position.
        reference_distance_m: distance d_0 from mouth to air microphone in the recordings that the
            sensor was fitted on, in m: how loud the noise is at the sensor. 0.05 is a headset.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {
        "direction_deg": (-360.0, 360.0),
        "position": (0.0, 1.0),
        "snr_db": (-200.0, 200.0),
        "noise_direction_deg": (-360.0, 360.0),
        "sources": (1, 64),
        "reference_distance_m": (1e-3, 30.0),
    }

    noise: Recordings | None = None
    length_m: Parameter = Uniform(4.0, 8.0)
    width_m: Parameter = Uniform(3.6, 6.0)
    height_m: Parameter = Uniform(2.4, 3.2)
    rt60_s: Parameter = Uniform(0.2, 0.6)
    mouth_x: Parameter = Uniform(0.0, 1.0)
    mouth_y: Parameter = Uniform(0.0, 1.0)
    mouth_height_m: Parameter = Uniform(1.1, 1.7)
    distance_m: Parameter = LogUniform(0.05, 1.5)
    direction_deg: Parameter = Uniform(0.0, 360.0)
    position: Parameter = Uniform(0.0, 1.0)
    snr_db: Parameter = Uniform(0.0, 20.0)
    noise_direction_deg: Parameter = Uniform(0.0, 360.0)
    noise_distance: Parameter = Uniform(0.3, 1.0)
    noise_height: Parameter = Uniform(0.1, 0.9)
    sources: int = 1
    reference_distance_m: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mouth_x", "mouth_y", "noise_distance", "noise_height"):
            low, high = self._extremes(name)
            check_value(low >= 0 and high <= 1, name, (low, high), "0 to 1")
        (shortest, longest), (lowest, tallest) = map(self._extremes, ("rt60_s", "mouth_height_m"))
        check_value(shortest >= 0.1, "rt60_s", shortest, "0.1 s or more")
        sides = map(self._extremes, ("length_m", "width_m", "height_m"))
        smallest, largest = zip(*sides, strict=True)
        largest_m = max(largest)
        check_value(largest_m <= 30, "a side of the room", largest_m, "30 m or less")
        check_value(lowest >= CLEARANCE_M, "mouth_height_m", lowest, f"{CLEARANCE_M} m or more")
        room_above = smallest[2] - CLEARANCE_M
        check_value(tallest <= room_above, "mouth_height_m", tallest, f"{room_above:.2f} m or less")
        nearest, farthest = self._extremes("distance_m")
        check_value(nearest >= 0.01, "distance_m", nearest, "0.01 m or more")
        half = min(smallest[:2]) / 2 - CLEARANCE_M
        check_value(farthest <= half, "distance_m", farthest, f"{half:.2f} m or less in this room")
        check_value(longest <= 60, "rt60_s", longest, "60 s or less")
        order = _reflection_order(smallest, longest)
        check_value(
            order <= MAX_ORDER,
            f"rt60_s {longest:g} in the smallest room wants reflections of order",
            order,
            f"{MAX_ORDER} or less: make rt60_s shorter or the room larger",
        )

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        columns = {
            name: values.tolist() if isinstance(values, Tensor) else values
            for name, values in drawn.items()
        }
        rows = (
            {name: column[b] for name, column in columns.items()} for b in range(len(scene.air))
        )
        responses = [impulse_responses(self.layout(row), scene.sample_rate) for row in rows]
        num_samples = scene.air.shape[-1]
        reflections = _stack([r[0] for r in responses], scene.air)
        speech = scene.air + _convolve(scene.air, reflections, HALF_TAPS, num_samples)
        leak_gain = self.reference_distance_m / drawn["distance_m"].double()
        scene = replace(scene, leak_gain=leak_gain)
        ambient = torch.zeros_like(scene.air)
        if self.noise is None:
            return scene.with_ambient(ambient, speech)
        recorded = recorded_power(self.noise, drawn["noise"], scene)
        power = torch.zeros_like(recorded)  # what is expected at the microphone
        for number in range(self.sources):
            response = _stack([r[1 + number] for r in responses], scene.air)
            # The noise was there before the talker: its reverberation is, at the first sample.
            before = response.shape[-1] - 1
            position = (drawn["position"] + number / self.sources) % 1
            played = play(self.noise, drawn["noise"], position, scene, before)
            ambient = ambient + _convolve(played, response, before, num_samples)
            power = power + recorded * response.double().square().sum(dim=-1)
        speech, ambient = speech * scene.mask(), ambient * scene.mask()
        gain, snr_db = gain_for_snr(speech, ambient, drawn["snr_db"], scene.lengths, power)
        return scene.with_ambient(ambient * gain, speech).with_measured(snr_db=snr_db)

    def layout(self, drawn: Mapping[str, Any]) -> "Layout":
        """Return where everything is, for what was drawn for one clip."""
        size = (drawn["length_m"], drawn["width_m"], drawn["height_m"])
        distance, height = drawn["distance_m"], drawn["mouth_height_m"]
        margin = distance + CLEARANCE_M
        mouth = tuple(
            margin + part * (side - 2 * margin)
            for part, side in ((drawn["mouth_x"], size[0]), (drawn["mouth_y"], size[1]))
        )
        angle = math.radians(drawn["direction_deg"])
        microphone = (mouth[0] + distance * math.cos(angle), mouth[1] + distance * math.sin(angle))
        noises = []
        for number in range(self.sources if self.noise is not None else 0):
            angle = math.radians(drawn["noise_direction_deg"]) + 2 * math.pi * number / self.sources
            direction = (math.cos(angle), math.sin(angle))
            to_wall = min(
                ((side if step > 0 else 0.0) - place) / step if step else math.inf
                for place, step, side in zip(microphone, direction, size[:2], strict=True)
            )
            away = 0.05 + drawn["noise_distance"] * (to_wall - 0.1)
            x, y = (place + away * step for place, step in zip(microphone, direction, strict=True))
            noises.append((x, y, 0.05 + drawn["noise_height"] * (size[2] - 0.1)))
        return Layout(
            size=size,
            rt60_s=drawn["rt60_s"],
            mouth=(*mouth, height),
            microphone=(*microphone, height),
            noises=tuple(noises),
        )

    def _extremes(self, name: str) -> tuple[float, float]:
        extremes = getattr(self, name).extremes()
        if extremes is None:
            raise ValueError(f"{name} has no bounds; give a number, uniform, log_uniform or choice")
        return extremes


@dataclass(frozen=True)
class Layout:
    """A room and the places in it, in m from one corner."""

    size: Point
    rt60_s: float
    mouth: Point
    microphone: Point
    noises: tuple[Point, ...] = ()


@lru_cache(maxsize=64)  # previews and training render the same clip again
def impulse_responses(layout: Layout, sample_rate: int) -> tuple[NDArray[np.float64], ...]:
    """Return the impulse responses of a room to the microphone.

    Returns:
        (L,) each, from `HALF_TAPS` samples before the direct sound on. From the mouth: the
        reflections alone, relative in level to the direct sound. From every source of noise:
        direct sound and reflections.

    Raises:
        InputError: if no absorption of the walls gives the asked decay.
    """
    images, orders = _image_sources(layout)
    reflected = orders > 0
    distances = _distances(images, layout.mouth)
    direct = float(distances[~reflected][0])
    relative = distances[reflected] - direct
    gains, rt60_s = direct / distances[reflected], layout.rt60_s
    reflection = _fitted_reflection(relative, orders[reflected], gains, rt60_s)
    amplitudes = (reflection ** np.arange(orders.max() + 1))[orders]
    found = [_impulse_response(relative, gains * amplitudes[reflected], rt60_s, sample_rate)]
    decay_s = decay_time(found[0] ** 2, sample_rate)
    if not abs(decay_s / rt60_s - 1) <= TOLERANCE:
        size = " x ".join(f"{side:.3g}" for side in layout.size)
        raise InputError(
            f"room: {size} m with an rt60_s of {rt60_s:.3g} decays in {decay_s:.3g} s, as "
            "reflections come too seldom; make rt60_s longer or the room smaller"
        )
    for place in layout.noises:
        distances = _distances(images, place)
        delays = distances - distances.min()
        found.append(_impulse_response(delays, amplitudes / distances, rt60_s, sample_rate))
    return tuple(found)


def _image_sources(layout: Layout) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the images of the microphone, (3, N), and how often each was reflected, (N,).

    Sound takes the same paths in both directions, so the images of the one microphone serve all
    sources.
    """
    import pyroomacoustics  # slow to import

    room = pyroomacoustics.ShoeBox(
        np.array(layout.size),
        max_order=_reflection_order(layout.size, layout.rt60_s),
        materials=pyroomacoustics.Material(0.5),  # not used: what it absorbs is fitted
    )
    room.add_source(list(layout.microphone))
    room.add_microphone(list(layout.mouth))
    room.image_source_model()
    return room.sources[0].images, room.sources[0].orders.astype(np.int64)


def _reflection_order(size: Point | tuple[float, ...], rt60_s: float) -> int:
    """Return the order of reflections that fills a sphere of `COVERED` of the RT60 with images.

    Up to an order the images fill an octahedron, whose faces are nearest along two axes.
    """
    x, y, z = size
    nearest = min(a * b / math.hypot(a, b) for a, b in ((x, y), (x, z), (y, z)))
    return math.ceil(COVERED * rt60_s * SPEED_OF_SOUND / nearest)


def _fitted_reflection(
    relative_m: NDArray[np.float32],
    orders: NDArray[np.int64],
    gains: NDArray[np.float32],
    rt60_s: float,
) -> float:
    r"""Return the walls' reflection coefficient that gives the asked decay.

    An image that was reflected n times at walls of coefficient :math:`\beta` has the energy
    :math:`\beta^{2n} g^2`; summed by arrival, they give Schroeder's decay curve. Time and
    :math:`-\ln\beta` are nearly inverse, so a few steps of that proportion find it.
    """
    step_s = 1e-3
    arrival = (relative_m / (SPEED_OF_SOUND * step_s)).astype(np.int64)
    num_orders = int(orders.max()) + 1
    energy = np.bincount(
        arrival * num_orders + orders,
        weights=gains.astype(np.float64) ** 2,
        minlength=(int(arrival.max()) + 1) * num_orders,
    )
    energy = energy.astype(np.float64).reshape(-1, num_orders)
    number = np.arange(num_orders)
    absorbed = 0.2  # -2 ln beta
    for _ in range(8):
        measured = decay_time(energy @ np.exp(-absorbed * number), 1 / step_s)
        absorbed *= float(np.clip(measured / rt60_s, 0.2, 5.0))
    return math.exp(-absorbed / 2)


def decay_time(
    energy: NDArray[np.float64], rate: float, range_db: tuple[float, float] = CALIBRATED_DB
) -> float:
    """Return the time in which Schroeder's integral decays by 60 dB, in s.

    Args:
        energy: (T,), energy of every sample of the response.
        rate: number of samples a second.
        range_db: levels of the integral between which the line is fitted.
    """
    integral = np.cumsum(energy[::-1])[::-1]
    curve_db = 10 * np.log10(integral / integral[0] + 1e-30)
    start = int(np.argmax(curve_db < range_db[0]))
    end = max(start + 2, int(np.argmax(curve_db < range_db[1])))
    slope = np.polyfit(np.arange(start, end) / rate, curve_db[start:end], 1)[0]
    return -60 / slope


def _impulse_response(
    delays_m: NDArray[np.float32], gains: NDArray[Any], rt60_s: float, sample_rate: int
) -> NDArray[np.float64]:
    """Return pulses delayed by paths of `delays_m` metres, (L,), without their common offset."""
    from pyroomacoustics import libroom  # pyright: ignore[reportAttributeAccessIssue]  compiled

    early = delays_m < rt60_s * SPEED_OF_SOUND
    response = np.zeros(math.ceil(rt60_s * sample_rate) + 2 * TAPS)
    times = delays_m[early].astype(np.float64) / SPEED_OF_SOUND + HALF_TAPS / sample_rate
    # In one thread: the order of a sum decides its last digits.
    libroom.rir_builder(response, times, gains[early].astype(np.float64), sample_rate, TAPS, 20, 1)
    highpass = scipy.signal.butter(2, HIGHPASS_HZ, "highpass", fs=sample_rate, output="sos")
    filtered = np.asarray(scipy.signal.sosfilt(highpass, response))
    filtered.setflags(write=False)
    return filtered


def _distances(images: NDArray[np.float32], place: Point) -> NDArray[np.float32]:
    return np.sqrt(np.square(images - np.array(place, dtype=np.float32)[:, None]).sum(axis=0))


def _convolve(signals: Tensor, responses: Tensor, start: int, num_samples: int) -> Tensor:
    """Return (B, num_samples) of each row's convolution, from `start` on."""
    size = fast_length(signals.shape[-1] + responses.shape[-1])
    spectrum = torch.fft.rfft(signals, size) * torch.fft.rfft(responses, size)
    return torch.fft.irfft(spectrum, size)[:, start : start + num_samples]


def _stack(responses: list[NDArray[np.float64]], like: Tensor) -> Tensor:
    rows = [torch.tensor(response, dtype=like.dtype) for response in responses]
    return pad_sequence(rows, batch_first=True).to(like.device)
