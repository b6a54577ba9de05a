"""`bcsim train` of the classifier that the deep feature loss looks through."""

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bcsim.audio.folder import audio_names
from bcsim.datasets.rendered_pairs import RenderedPairs
from bcsim.errors import UsageError
from bcsim.files.atomic import environment_faults, is_temporary, sweep_temporaries, write_text
from bcsim.files.failures import FAILURES_NAME, write_failures
from bcsim.files.findings import FINDINGS_NAME
from bcsim.files.outputs import check_output_folder
from bcsim.files.run_folder import LOCK_NAME, locked
from bcsim.files.safetensors_file import read_json
from bcsim.files.tree import make_folders
from bcsim.losses.sound_classifier import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    load_classifier,
    save_classifier,
)
from bcsim.recipe import from_mapping, override, read_yaml, write_yaml
from bcsim.synthesis.speakers import find_speakers
from bcsim.training.classifier import (
    Accuracy,
    ClassifierConfig,
    LabelledClips,
    accuracies,
    train_classifier,
)
from bcsim.training.run_folder import RECIPE_FILE
from bcsim.workflows.presets import find_recipe
from bcsim.workflows.rendered_air import rendered_pairs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassifierResult:
    """A trained classifier: its folder, how often it is right, and recordings that were left out.

    `accuracy` is empty where no speaker was kept back.
    """

    out: Path
    accuracy: dict[str, Accuracy]
    failures: dict[str, str]

    def lines(self) -> list[str]:
        """Return what there is to say of it, line by line."""
        said = [
            f"{label:<8} {found.accuracy:6.1%} right of {found.num_clips} clips of speakers kept "
            f"back ({found.most_frequent:.1%} are in the most frequent class)"
            for label, found in self.accuracy.items()
        ]
        return [f"classifier in {self.out}", *said]


def is_for_classifier(recipe: str) -> bool:
    """Tell whether a recipe, a path or a bundled name, is one of a classifier."""
    return read_yaml(find_recipe(recipe, "training", "classifier")).get("kind") == "classifier"


def make_classifier(
    recipe: str,
    out: Path,
    air: Path,
    sensor: str,
    settings: tuple[str, ...] = (),
    resume: bool = False,
    speakers: Path | None = None,
    speaker_level: int | None = None,
) -> ClassifierResult:
    """Train a classifier on air speech that is rendered, and write it.

    A run that was stopped begins anew; it takes minutes, and ends with the same weights.

    Args:
        recipe: path or bundled name of a recipe of the kind `classifier`.
        out: folder of the run.
        air: folder of air recordings.
        sensor: path or bundled name of a sensor, or name of a preset.
        settings: `KEY=VALUE` overrides of the recipe.
        resume: whether `out` may hold this run already.
        speakers: table of the speakers in `air`, or None.
        speaker_level: number of the folder in each path that is called after the speaker.

    Raises:
        UsageError: if a setting is wrong, or `out` holds something else.
        InputError: if recordings, noise or sensor cannot be read.
        DivergedError: if the loss is not finite.
        EnvironmentFault: if the disk is full, or another process trains in `out`.
    """
    path = find_recipe(recipe, "classifier")
    config = from_mapping(ClassifierConfig, override(read_yaml(path), settings), path.name)
    check_output_folder(out, [air], _is_own)
    if (out / CONFIG_FILE).is_file() and not resume:
        raise UsageError(f"{out}: already holds a classifier; resume it, or choose another folder")
    names = audio_names(air)
    told = find_speakers(air, names, speakers, speaker_level)
    data, effects = rendered_pairs(air, names, told, sensor, config)
    config = replace(config, effects=effects)
    made_from = json.loads(json.dumps({"recipe": asdict(config), "data": dict(data.facts)}))
    assert isinstance(data.training, RenderedPairs)
    with environment_faults(out):
        make_folders(out)
    with locked(out, out / LOCK_NAME):
        sweep_temporaries(out)
        if (out / CONFIG_FILE).is_file():
            return _finished(out, made_from, dict(data.failures))
        write_text(out / RECIPE_FILE, write_yaml(made_from["recipe"]))
        write_failures(out / FAILURES_NAME, "train", dict(data.failures))
        classifier = train_classifier(config, LabelledClips(data.training, config))
        found = {}
        if isinstance(data.validation, RenderedPairs):
            found = accuracies(classifier, LabelledClips(data.validation, config))
        of_labels = {label: asdict(accuracy) for label, accuracy in found.items()}
        save_classifier(out, classifier, {**made_from, "accuracy": of_labels})
    return ClassifierResult(out, found, dict(data.failures))


def _finished(out: Path, made_from: dict[str, Any], failures: dict[str, str]) -> ClassifierResult:
    """Return what is in a folder, if it was made from the same recipe and recordings."""
    load_classifier(out)
    facts = read_json(out / CONFIG_FILE).get("facts", {})
    if {key: facts.get(key) for key in made_from} != made_from:
        raise UsageError(
            f"{out}: holds a classifier of another recipe, sensor or other recordings; choose "
            "another folder"
        )
    log.info("%s: is finished", out)
    found = {label: Accuracy(**numbers) for label, numbers in facts.get("accuracy", {}).items()}
    return ClassifierResult(out, found, failures)


def _is_own(folder: Path) -> bool:
    """Tell whether a folder holds a run of this kind alone, begun or finished."""
    names = {path.name for path in folder.iterdir() if not is_temporary(path.name)}
    begun = {RECIPE_FILE, FAILURES_NAME, FINDINGS_NAME, LOCK_NAME}
    return names <= begun | {WEIGHTS_FILE, CONFIG_FILE}
