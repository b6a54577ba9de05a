"""Fixtures for all tests, and what no test may depend on: threads, chance, time, order."""

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import itertools
import logging
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from scipy import signal

from bcsim.progress import LineFormatter
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.provenance import LowpassEquivalent, Provenance
from bcsim.sensors.responses.residual import Calibration, Residual
from bcsim.sensors.responses.speech_classes import ClassResponse
from bcsim.sensors.transfer_function import TransferFunction

TRAINING_RECIPE = """
kind: training
sample_rate: 16000
model: {name: eben, width: 2, latent: 2}
losses: [{name: l1}]
training: {num_steps: 1, device: cpu}
data: {crop_s: 0.1, batch_size: 1, num_workers: 0}
"""
SHARED = Path(__file__).resolve().parents[2] / "shared"

# The same examples in every run, and however slow a busy machine makes them.
settings.register_profile(
    "bcsim",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("bcsim")


def pytest_addoption(parser):
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run files, and tests in them, in random order"
    )


def pytest_collection_modifyitems(config, items):
    """Shuffle on demand. Files stay together, and pytest keeps the values of wide fixtures so."""
    seed = config.getoption("--shuffle")
    if seed is None:
        return
    rng = random.Random(seed)
    files = [[*group] for _, group in itertools.groupby(items, key=lambda item: item.path)]
    rng.shuffle(files)
    for file in files:
        rng.shuffle(file)
    items[:] = itertools.chain.from_iterable(files)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # Two threads on an oversubscribed machine are many times slower than one.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def load_script() -> Callable[[Path], ModuleType]:
    """Load a script that is no part of a package, by its path."""

    def load(path: Path) -> ModuleType:
        specification = importlib.util.spec_from_file_location(path.stem, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def command_line() -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process, which saves the seconds of its start.

    It returns exit code, stdout and stderr, with what is logged as `main` lets it be shown.
    """
    main = importlib.import_module("bcsim_cli.main")

    def run(*arguments: object, cwd: str | Path = ".") -> tuple[int, str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        shown = logging.StreamHandler(stderr)
        shown.addFilter(main.OptionsInLog())
        shown.setFormatter(LineFormatter())
        with (
            _logged(shown),
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            mock.patch.object(sys, "argv", ["bcsim", *map(str, arguments)]),
        ):
            return main.run(), stdout.getvalue(), stderr.getvalue()

    return run


@contextlib.contextmanager
def _logged(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("bcsim")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"the development recordings are not at {SHARED}")
    return SHARED


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """Path of a training recipe of one step."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TRAINING_RECIPE)
    return str(path)


@pytest.fixture(scope="session")
def sensor() -> SensorProfile:
    """A sensor whose every property is known: a Butterworth low-pass, pink-like noise."""
    bins, sample_rate = 257, 16_000
    frequencies_hz = np.linspace(0, sample_rate / 2, bins)
    section = np.asarray(signal.butter(2, 800, fs=sample_rate, output="sos"))[0]
    z = np.exp(2j * np.pi * frequencies_hz / sample_rate)  # both polynomials are of one order
    response = (np.polyval(section[:3], z) / np.polyval(section[3:], z)).astype(np.complex128)
    response[[0, -1]] = response[[0, -1]].real
    components = np.stack([3 * np.cos(np.pi * k * np.arange(bins) / (bins - 1)) for k in range(3)])
    return SensorProfile(
        name="known",
        sample_rate=sample_rate,
        transfer_function=TransferFunction(
            frequencies_hz=frequencies_hz,
            response=0.5 * response,
            coherence=np.where(frequencies_hz < 1500, 0.9, 0.1),
            num_averages=100.0,
        ),
        spread_db=np.sqrt((components**2).sum(axis=0)),
        spread_components_db=components,
        noise_psd=1e-5 / (1000 + frequencies_hz),
        noise_level_std_db=2.0,
        level_db=-6.0,
        level_std_db=4.0,
        delay_s=-0.45e-3,
        polarity=-1,
        lowpass=LowpassEquivalent(cutoff_hz=800.0, q=0.7, gain_db=-6.0),
        usable_band_hz=(100.0, 1500.0),
        provenance=Provenance(
            estimator="power-ratio",
            num_pairs=3,
            num_talkers=1,
            seconds=12.0,
            active_seconds=9.0,
            pause_seconds=2.0,
            bcsim_version="0.1.0",
        ),
        coherence_ceiling=np.full(bins, 0.95),
        magnitude_interval_db=np.stack([np.full(bins, -1.0), np.full(bins, 1.5)]),
    )


@pytest.fixture(scope="session")
def speaking_sensor(sensor) -> SensorProfile:
    """The same sensor, but dull sounds come out 6 dB up in the bass and bright ones 6 dB down."""
    bands, coefficients = 40, 3
    tilt = np.linspace(1, -1, bands)
    speech = ClassResponse(
        sample_rate=sensor.sample_rate,
        level_db=0.5,
        residual=Residual(
            2.0 * np.eye(bands),
            ar_coefficient=0.9,
            level_correction_db=0.2,
            calibration=Calibration(np.linspace(1.0, 0.7, bands), np.full(bands, -20.0)),
        ),
        centres=np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]),
        mean=np.zeros(coefficients),
        std=np.full(coefficients, 50.0),
        class_gains_db=np.stack([6 * tilt, -6 * tilt]),
    )
    return dataclasses.replace(sensor, speech=speech)


@pytest.fixture(scope="session")
def speech() -> torch.Tensor:
    """Two speech-like clips (2, T) at 16 kHz, float64: modulated coloured noise with pauses."""
    generator = np.random.default_rng(5)
    time_s = np.arange(24_000) / 16_000
    envelope = np.clip(np.sin(2 * np.pi * 1.3 * time_s), 0, None) + 1e-4
    colour = signal.butter(1, [150, 3000], btype="band", fs=16_000, output="sos")
    clips = [
        0.3 * envelope * signal.sosfilt(colour, generator.standard_normal(len(time_s)))
        for _ in range(2)
    ]
    return torch.from_numpy(np.stack(clips))
