"""The recorded and stored pairs of a training run: which splits they have, and what tells them."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bcsim.datasets.augmented_pairs import AugmentedPairs
from bcsim.datasets.dataset import read_pairs
from bcsim.datasets.manifest import DATASET_NAME, MANIFEST_NAME, SPLITS
from bcsim.datasets.noise_folder import fingerprint
from bcsim.datasets.pairs import Pairs, RecordedPairs, StoredPairs, open_pairs
from bcsim.errors import InputError, UsageError
from bcsim.files.hashing import hash_file, hash_text
from bcsim.files.paths import printable
from bcsim.files.text import shown
from bcsim.recipe import build_simulator
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.training.kept_recorders import Synchronisation, write_kept
from bcsim.training.synchronised import SynchronisedPairs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairOptions:
    """How the pairs of a run are read.

    Args:
        sample_rate: sample rate in Hz that the pairs get.
        seed: root seed of the crops.
        channels: channel of "air" and "bone" in recordings, where files have several.
        talkers: table of the talkers in recordings, or None.
        kept: what an earlier start of the run found about the recorders of its pairs, by their key.
        training: pairs that are trained on; where they are recordings, others get their polarity.
    """

    sample_rate: int
    seed: int
    channels: Mapping[str, str] | None = None
    talkers: Path | None = None
    kept: Mapping[str, Synchronisation] = field(default_factory=dict)
    training: Pairs | None = None

    def open(
        self, folder: Path, split: str | None = None, bone: Path | None = None
    ) -> RecordedPairs:
        """Open pairs as they were recorded (`open_pairs`)."""
        return open_pairs(
            folder, self.sample_rate, self.seed, split, self.channels, bone, self.talkers
        )


def pairs_to_train_on(air: Path, bone: Path | None, options: PairOptions) -> TrainingData:
    """Return pairs on disk to train on, with those that their splits give to validate on.

    Args:
        air: dataset, or folder or list of recorded pairs; with `bone`, the recordings of the air
            microphone.
        bone: recordings of the sensor, given like those of the air microphone, or None.
        options: how the pairs are read.

    Raises:
        InputError: if there are none, they have splits of which none is for training, or a pair is
            in both splits.
    """
    if bone is not None:
        return _recorded(options.open(air, bone=bone), air, options)
    if not air.exists():
        raise InputError(f"{air}: no such folder; give what synthesize or import wrote")
    _check_split(air, "train")
    of_dataset = (air / "train" / MANIFEST_NAME, air / DATASET_NAME)
    if not any(path.is_file() for path in of_dataset):
        return _recorded(options.open(air), air, options)
    splits = ["train", *(["validation"] if (air / "validation").is_dir() else [])]
    sets = {split: _of_split(air, split, options) for split in splits}
    _check_apart(sets, air)
    manifests = [air / split / MANIFEST_NAME for split in splits]
    facts = [
        fingerprint_of_pairs(pairs) if isinstance(pairs, RecordedPairs) else hash_file(manifest)
        for pairs, manifest in zip(sets.values(), manifests, strict=True)
    ]
    return _data_of(sets, {"pairs_sha256": facts}, options)


def real_pairs_of(folder: Path, split: str, options: PairOptions) -> tuple[RecordedPairs, str]:
    """Return real pairs without what their recorders did, and a hash of them.

    Args:
        folder: dataset, of which one split is taken, or folder or list of recorded pairs.
        split: split that is taken, of a dataset or by the names of folders.
        options: how the pairs are read.

    Raises:
        InputError: if there are none, or none in that split.
    """
    _check_split(folder, split)
    is_dataset = (folder / split / MANIFEST_NAME).is_file()
    pairs = options.open(folder, split if is_dataset else None)
    splits = {} if is_dataset else pairs.by_split()
    if splits:
        _check_has_split(splits, split, folder)
        pairs = splits[split]
    return SynchronisedPairs(pairs, options.kept, options.training), fingerprint_of_pairs(pairs)


def keep_recorders(out: Path, data: TrainingData) -> None:
    """Write what was found about the recorders of a run's pairs to its folder, for its next start.

    Args:
        out: folder of the run.
        data: all pairs of the run.
    """
    sets = [pairs for pairs in data.sets.values() if isinstance(pairs, SynchronisedPairs)]
    write_kept(out, {pairs.key: pairs.found for pairs in sets})


def tell_what_both_hold(data: TrainingData) -> None:
    """Log how many of the pairs that decide which weights are best are trained on, too."""
    trained = {
        digests
        for pairs in (data.training, data.real)
        if isinstance(pairs, RecordedPairs)
        for digests in pairs.contents
    }
    if not isinstance(data.validation_real, RecordedPairs) or not trained:
        return
    digests = zip(data.validation_real.ids, data.validation_real.contents, strict=True)
    both = [name for name, digest in digests if digest in trained]
    if both:
        log.warning(
            "%d of %d pairs that are validated with are trained on, too, such as %s: their scores "
            "are better than those of other recordings",
            *(len(both), len(data.validation_real), printable(both[0])),
        )


def augmented(data: TrainingData, config: TrainingConfig) -> TrainingData:
    """Return the pairs of a run as its steps see them: recorded ones changed by effects.

    Args:
        data: all pairs of the run.
        config: recipe of the run, whose `data.augmentation` names the effects.

    Raises:
        UsageError: if an effect cannot be built, or there are no recorded pairs to change.
    """
    if not config.data.augmentation:
        return data
    where = "data.augmentation"
    simulator = build_simulator(config.data.augmentation, config.sample_rate, None, where)
    changed = {
        name: AugmentedPairs(pairs, simulator)
        for name in ("training", "real")
        if isinstance(pairs := getattr(data, name), RecordedPairs)
    }
    if not changed:
        raise UsageError(f"{where} is for recorded pairs, and there are none to train on")
    noise = fingerprint(simulator)
    facts = {} if noise is None else {"augmentation_noise_sha256": noise}
    return replace(data, **changed, facts={**data.facts, **facts})


def _of_split(dataset: Path, split: str, options: PairOptions) -> Pairs:
    """Return the pairs of a split: as stored if all were rendered, else as recorded."""
    manifest = dataset / split / MANIFEST_NAME
    first = next(read_pairs(manifest), None)
    if first is None or first.is_rendered:
        stored = StoredPairs(dataset, split, options.sample_rate, options.seed)
        if stored.are_rendered:
            return stored
    return options.open(dataset, split)


def _recorded(recorded: RecordedPairs, folder: Path, options: PairOptions) -> TrainingData:
    """Return recordings to train on: those in folders of splits, where they are all in such."""
    facts = {"pairs_sha256": fingerprint_of_pairs(recorded)}
    splits = recorded.by_split()
    if not splits:
        return TrainingData(SynchronisedPairs(recorded, options.kept), facts=facts)
    _check_has_split(splits, "train", folder)
    counts = ", ".join(f"{len(pairs)} in {split}" for split, pairs in splits.items())
    log.info("pairs by the folders of splits: %s; those in test are left alone", counts)
    used = {split: splits[split] for split in ("train", "validation") if split in splits}
    _check_apart(used, folder)
    return _data_of(used, facts, options)


def _data_of(
    sets: Mapping[str, Pairs], facts: Mapping[str, Any], options: PairOptions
) -> TrainingData:
    """Return the splits of one dataset as a run takes them: recordings synchronised."""
    _tell_talkers(sets)
    ready: dict[str, Pairs] = {}
    for split, pairs in sets.items():  # that which is trained on first
        if isinstance(pairs, RecordedPairs):
            pairs = SynchronisedPairs(pairs, options.kept, ready.get("train"))
        ready[split] = pairs
    return TrainingData(ready["train"], ready.get("validation"), facts=facts)


def _check_apart(sets: Mapping[str, Pairs], folder: Path) -> None:
    """Check that no pair is both in training and in validation, under whatever name.

    Rendered pairs are told by their ids, recorded ones by what their files hold.
    """
    if "validation" not in sets:
        return
    known: dict[object, str] = {}
    for split in ("train", "validation"):
        pairs = sets[split]
        keys = pairs.contents if isinstance(pairs, RecordedPairs) else pairs.ids
        for key, name in zip(keys, pairs.ids, strict=True):
            other = known.setdefault(key, f"{split}/{name}")
            if other.partition("/")[0] != split:
                told = f"'{shown(name)}' is in train and in validation"
                if isinstance(pairs, RecordedPairs):
                    told += f": its recordings are those of '{shown(other)}'"
                raise InputError(f"{folder}: {told}; remove one")


def _tell_talkers(sets: Mapping[str, Pairs]) -> None:
    """Log how many talkers each split of recordings has, and who is in several of them."""
    splits_of: dict[str, list[str]] = {}
    counts = []
    for split, pairs in sets.items():
        if isinstance(pairs, RecordedPairs):
            talkers = {pair.speaker for pair in pairs.pairs} - {None}
            counts.append(f"{len(talkers)} in {split}")
            for talker in talkers:
                splits_of.setdefault(str(talker), []).append(split)
    if splits_of:
        log.info("known talkers: %s", ", ".join(counts))
    several = sorted(talker for talker, splits in splits_of.items() if len(splits) > 1)
    if several:
        log.warning(
            "%d talkers are in train and in validation, such as %s: the scores there are not those "
            "of new talkers",
            *(len(several), printable(several[0])),
        )


def fingerprint_of_pairs(recorded: RecordedPairs) -> str:
    """Return a hash of names and contents: recordings are few, and any change is noticed."""
    channels = recorded.recorded_channels
    chosen = [f"channels {channels}"] if set(channels.values()) != {None} else []
    contents = [digest for digests in recorded.contents for digest in digests]
    return hash_text("\n".join([*chosen, *recorded.ids, *contents]))


def _check_split(folder: Path, split: str) -> None:
    """Raise for a dataset that has splits, but not the one that is wanted."""
    there = [name for name in SPLITS if (folder / name / MANIFEST_NAME).is_file()]
    if there:
        _check_has_split(there, split, folder)


def _check_has_split(splits: Iterable[str], split: str, folder: Path) -> None:
    there = [*splits]
    if split not in there:
        raise InputError(
            f"{folder}: has no split {split}, only {', '.join(there)}; give the folder of one of "
            f"them, such as {folder / there[0]}, to use that in its place"
        )
