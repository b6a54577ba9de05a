"""`bcsim demo`: the whole chain on bundled data, where the truth is known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.audio.write import write_audio
from bcsim.dsp.delay import delay_signal
from bcsim.errors import UsageError
from bcsim.files.atomic import environment_faults, is_temporary, write_text
from bcsim.files.failures import FAILURES_NAME
from bcsim.files.outputs import check_output_folder
from bcsim.files.run_folder import LOCK_NAME, clear_folder, locked
from bcsim.metrics import METRICS
from bcsim.metrics.scores import enhancement_scores
from bcsim.reports import plots
from bcsim.reports.html import Figure, Page, Section, Table, listening, write_page
from bcsim.sensors.profile import SensorProfile
from bcsim.training.run import TrainingResult
from bcsim.workflows.enhance import enhance
from bcsim.workflows.enhancers import bundled_enhancers
from bcsim.workflows.fit_response import fit_response
from bcsim.workflows.presets import bundled_folder, load_simulator
from bcsim.workflows.synthesize import plan_synthesis, synthesize
from bcsim.workflows.train import train

MARKER = ".bcsim-demo"
NUM_STEPS = 600
_OF_A_DEMO = {
    *(MARKER, LOCK_NAME, FAILURES_NAME, "recordings", "pairs", "run", "enhanced.wav"),
    *("fitted.sensor", "fitted.report.html", "report.html"),
    *("throat.wav", "throat_enhanced.wav"),
}
THROAT_SENSOR, THROAT = "vibravox_throat", "throat"  # a real sensor, and the enhancer for it
CURVES = ("train/loss", "validation/si_sdr", "validation/stoi", "validation/lsd")


@dataclass(frozen=True, eq=False)
class Sentence:
    """A sentence at a sensor, enhanced.

    Args:
        path: file of the enhanced sentence.
        signals: clean speech, the sensor's signal and the enhanced one, (T,) each, by their labels.
        sample_rate: sample rate in Hz.
        before: scores of the sensor's signal against clean speech.
        after: scores of the enhanced one.
    """

    path: Path
    signals: dict[str, np.ndarray]
    sample_rate: int
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Args:
        error_db: rms difference of fitted and known magnitude over the fitted usable band, in dB.
        band_hz: lower and upper end of the fitted usable band.
        delay_error_s: fitted less known delay, in seconds.
        trained: sentence of a voice that was not trained on, at the known sensor, enhanced by the
            network that was trained here.
        throat: that sentence through a real throat microphone's profile, enhanced by the bundled
            enhancer, which has never heard the voice.
    """

    error_db: float
    band_hz: tuple[float, float]
    delay_error_s: float
    trained: Sentence
    throat: Sentence


def run_demo(out: Path, num_steps: int = NUM_STEPS, overwrite: bool = False) -> DemoResult:
    """Record, fit, synthesize, train, enhance and report, in a few minutes on a CPU.

    Args:
        out: folder of the demo, made anew; an earlier demo there is replaced.
        num_steps: number of training steps.
        overwrite: throw away files in an earlier demo that are not of it.

    Raises:
        UsageError: if `out` holds anything but an earlier demo.
        EnvironmentFault: if another demo is at work there, or the disk is full or forbidden.
    """
    with environment_faults(out):
        check_output_folder(out, (), lambda _: (out / MARKER).is_file())
        names = [path.name for path in out.iterdir()] if out.is_dir() else []
        others = sorted(name for name in {*names} - _OF_A_DEMO if not is_temporary(name))
        if others and not overwrite:
            raise UsageError(
                f"{out}: holds {others[0]!r}, which is of no demo; choose another folder, or "
                "overwrite it"
            )
        write_text(out / MARKER, "made by bcsim demo\n")  # first and last: a kill changes nothing
    with locked(out, out / LOCK_NAME):
        clear_folder(out, kept={MARKER, LOCK_NAME})
        return _run_chain(out, num_steps)


def _run_chain(out: Path, num_steps: int) -> DemoResult:
    demo = bundled_folder("bcsim.assets") / "demo"
    air, known_path = demo / "air", demo / "known.sensor"
    known = SensorProfile.load(known_path)

    recipe = demo / "recordings.yaml"
    synthesize(plan_synthesis(air, out / "recordings", str(known_path), recipe, mean=True))
    recordings = out / "recordings" / "train"
    fitted_path = out / "fitted.sensor"
    fit = fit_response(
        recordings / "air",
        recordings / "bone",
        fitted_path,
        source="bcsim demo",
        licence="CC0-1.0",
        report=None,
    )
    fitted = fit.result.profile

    synthesize(plan_synthesis(air, out / "pairs", str(fitted_path)))
    steps = (f"training.num_steps={num_steps}", f"validation.interval_steps={num_steps}")
    recipe = str(demo / "training.yaml")
    training = train(recipe, out / "run", pairs=out / "pairs", settings=steps)

    kept_back = out / "pairs" / "validation" / "bone"
    name = audio_files(kept_back)[0].relative_to(kept_back)
    clean, bone = (recordings / role / name for role in ("air", "bone"))
    throat = _through_throat(out, clean)
    result = DemoResult(
        error_db=_magnitude_error_db(fitted, known),
        band_hz=fitted.usable_band_hz,
        delay_error_s=fitted.delay_s - known.delay_s,
        trained=_enhanced(out / "run", clean, bone, out / "enhanced.wav", fitted.delay_s),
        throat=_enhanced(bundled_enhancers()[THROAT], clean, throat, out / "throat_enhanced.wav"),
    )
    choice = (
        f"Chosen among estimators: {fit.result.choice}. The sensor is a filter, so a filter is "
        "the right answer. All about the fit is in fitted.report.html."
    )
    sections = [
        _fit_section(choice, fitted, known),
        Section(
            "Listen",
            "One sentence of a voice that was kept out of training.",
            players=listening(result.trained.signals, result.trained.sample_rate),
        ),
        _training_section(result.trained, training),
        _throat_section(result.throat),
    ]
    write_page(out / "report.html", _page(result, sections))
    return result


def _through_throat(out: Path, air: Path) -> Path:
    """Write a sentence as a throat microphone has it."""
    clean, rate = read_audio(air)
    simulator = load_simulator(THROAT_SENSOR, settings=(f"sample_rate={rate}",))
    path = out / "throat.wav"
    write_audio(path, simulator(clean, rate, clip_ids=[air.stem]).bone[0].numpy(), rate)
    return path


def _enhanced(model: Path, air: Path, bone: Path, out: Path, delay_s: float = 0.0) -> Sentence:
    """Enhance a recording and score it against clean speech, in which the delay is not to count."""
    enhance(model, bone, out)
    (clean, rate), *heard = (read_audio(path) for path in (air, bone, out))
    late = torch.tensor([-delay_s * rate], dtype=torch.float64)
    before, after = (
        enhancement_scores(
            delay_signal(torch.from_numpy(signal)[None], late)[0], torch.from_numpy(clean), rate
        )
        for signal, _ in heard
    )
    signals = {"air (clean)": clean, "bone (sensor)": heard[0][0], "enhanced": heard[1][0]}
    return Sentence(out, signals, rate, before, after)


def _magnitude_error_db(fitted: SensorProfile, known: SensorProfile) -> float:
    """Return the rms difference of two magnitudes over the fitted one's usable band, in dB."""
    found, true = fitted.transfer_function, known.transfer_function
    low, high = fitted.usable_band_hz
    inside = (found.frequencies_hz >= low) & (found.frequencies_hz <= high)
    truth = np.interp(found.frequencies_hz, true.frequencies_hz, true.magnitude_db)
    return float(np.sqrt(np.mean((found.magnitude_db - truth)[inside] ** 2)))


def _page(result: DemoResult, sections: list[Section]) -> Page:
    low, high = result.band_hz
    return Page(
        "bcsim demo",
        "A sensor whose truth is known was put on twelve synthetic sentences, fitted from the "
        "resulting pairs, simulated, trained against, and undone on a voice that the training "
        "never heard. At the end, what comes trained with bcsim: speech of a throat microphone.",
        facts={
            "fit error": f"{result.error_db:.2f} dB rms",
            "over": f"{low:.0f}-{high:.0f} Hz",
            "delay error": f"{1000 * result.delay_error_s:+.4f} ms",
            "spectral distance": f"{result.trained.before['lsd']:.1f} to "
            f"{result.trained.after['lsd']:.1f} dB",
        },
        sections=sections,
    )


def _fit_section(choice: str, fitted: SensorProfile, known: SensorProfile) -> Section:
    figures = [
        Figure(plots.fitted_against_true(fitted, known), "Fitted and known response."),
        Figure(plots.noise_floor(fitted), "Fitted noise floor."),
    ]
    return Section("The fit against the truth", choice, figures=figures)


def _training_section(sentence: Sentence, training: TrainingResult) -> Section:
    curves = plots.training_curves(plots.read_metrics(training.out / "metrics.jsonl"), CURVES)
    return Section(
        "What the enhancer gains",
        f"After {training.num_steps} training steps, a minute or two on a CPU: it shows the way, "
        "not the goal.",
        tables=[_score_table(sentence)],
        figures=[Figure(curves, "Training; dashed, the sensor as it is.")],
    )


def _throat_section(sentence: Sentence) -> Section:
    return Section(
        "A throat microphone, and the enhancer that comes with bcsim",
        f"The same sentence through {THROAT_SENSOR}, the profile of a real throat microphone, and "
        f"enhanced by the bundled model '{THROAT}', which was fine-tuned on recordings of seven "
        "people and has never heard this voice.",
        tables=[_score_table(sentence)],
        players=listening(sentence.signals, sentence.sample_rate),
    )


def _score_table(sentence: Sentence) -> Table:
    rows = [
        [_heading(key), f"{value:.2f}", f"{sentence.after[key]:.2f}"]
        for key, value in sentence.before.items()
    ]
    return Table(["metric", "sensor", "enhanced"], rows)


def _heading(name: str) -> str:
    metric = METRICS[name]
    return f"{metric.heading} (lower is better)" if metric.better == "lower" else metric.heading
