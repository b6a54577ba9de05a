import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save

import bcsim.training.run as run_module
import bcsim.training.trainer as trainer_module
from bcsim.datasets.pairs import Pair, Pairs
from bcsim.errors import DivergedError, EnvironmentFault, InputError, UsageError
from bcsim.files.hashing import hash_file
from bcsim.files.run_folder import locked
from bcsim.models import MODELS
from bcsim.models.eben import EBENGenerator
from bcsim.models.storage import load_enhancer
from bcsim.training.batches import Batches
from bcsim.training.checkpoint import _text, load_newest, save_checkpoint
from bcsim.training.data import TrainingData
from bcsim.training.run import TrainingResult, TrainingRun
from bcsim.training.trainer import Trainer


def train(config, pairs, validation, out, resume=False, data_facts=None) -> TrainingResult:
    data = TrainingData(pairs, validation, facts=data_facts or {})
    return run_module.train(config, data, out, resume=resume)


class Stopped(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def stop_after(monkeypatch):
    """Make the trainer fall over after so many steps of this process, anywhere in the loop."""

    def arm(num_steps: int) -> None:
        original, taken = TrainingRun._after_step, []

        def after_step(self, *arguments):
            taken.append(self.trainer.step)
            if len(taken) == num_steps:
                raise Stopped
            original(self, *arguments)

        monkeypatch.setattr(TrainingRun, "_after_step", after_step)

    return arm


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def state_of(out: Path) -> dict[str, str]:
    """Return the SHA-256 of all that a run leaves, but for what depends on the hour."""
    return {
        path.relative_to(out).as_posix(): hash_file(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and "tensorboard" not in path.parts and path.name != "pace.jsonl"
    }


@pytest.fixture(scope="module")
def whole(config, pairs, tmp_path_factory) -> TrainingResult:
    """A run that was never stopped, with validation, in a folder to read only."""
    return train(config, pairs, pairs, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def unscored(config, pairs, tmp_path_factory) -> TrainingResult:
    """A run that was never stopped, without validation, in a folder to read only."""
    return train(config, pairs, None, tmp_path_factory.mktemp("unscored"))


def copied(result: TrainingResult, folder: Path) -> Path:
    """Return a copy of the folder of a run, which knows no other folder."""
    return Path(shutil.copytree(result.out, folder / "run"))


@pytest.mark.parametrize("stop", [1, 2, 4, 5, 6])
def test_resuming_equals_never_stopping(
    config, pairs, whole, tmp_path, monkeypatch, stop_after, stop
):
    """Stopped within an epoch, between two lines of metrics, before and after a checkpoint."""
    with monkeypatch.context():
        stop_after(stop)
        with pytest.raises(Stopped):
            train(config, pairs, pairs, tmp_path / "stopped")
    monkeypatch.undo()
    train(config, pairs, pairs, tmp_path / "stopped", resume=True)
    assert state_of(tmp_path / "stopped") == state_of(whole.out)


def test_killed_between_the_best_weights_and_the_checkpoint_of_the_same_step(
    changed, pairs, tmp_path, monkeypatch
):
    config = changed(
        training={"num_steps": 3, "checkpoint_interval_steps": 2}, validation={"interval_steps": 2}
    )
    save_one = run_module.save_checkpoint

    def die(folder, checkpoint, **options):
        if folder.name == "last":
            raise Stopped
        save_one(folder, checkpoint, **options)

    train(config, pairs, pairs, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "save_checkpoint", die)
        with pytest.raises(Stopped):
            train(config, pairs, pairs, tmp_path / "stopped")
    train(config, pairs, pairs, tmp_path / "stopped", resume=True)
    assert (tmp_path / "stopped/checkpoints/last/step_00000002.json").is_file()
    assert state_of(tmp_path / "stopped") == state_of(tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(config, pairs, whole, tmp_path):
    out = copied(whole, tmp_path)
    again = train(config, pairs, pairs, out, resume=True)
    assert again == dataclasses.replace(whole, out=out)
    assert state_of(out) == state_of(whole.out)


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_finished_run_mends_what_it_exported(config, pairs, whole, tmp_path, caplog, damage):
    out = copied(whole, tmp_path)
    path = out / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    if damage == "gone":
        path.unlink()
    train(config, pairs, pairs, out, resume=True)
    assert "exporting the best weights again" in caplog.text
    assert state_of(out) == state_of(whole.out)


def test_a_log_that_was_changed_costs_a_warning(config, pairs, whole, tmp_path, caplog):
    out = copied(whole, tmp_path)
    log = out / "metrics.jsonl"
    log.write_text("5\n" + log.read_text())  # which is mended
    train(config, pairs, pairs, out, resume=True)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    log.unlink()
    train(config, pairs, pairs, out, resume=True)
    assert "metrics.jsonl: was changed; it is no longer the log of the whole run" in caplog.text


@pytest.mark.parametrize("step", [0, 8])
def test_a_state_of_a_step_that_the_run_has_not_is_refused(config, pairs, tmp_path, step):
    run = TrainingRun(Trainer(config, TrainingData(pairs)), tmp_path)
    run.trainer.step = step
    save_checkpoint(tmp_path / "checkpoints/last", run.checkpoint())
    with pytest.raises(InputError, match=f"step {step}: not the state of a run, .* 1 to 7"):
        run.restore()


def test_one_loading_process_and_none_train_the_same(changed, pairs, whole, tmp_path):
    train(changed(data={"num_workers": 1}), pairs, pairs, tmp_path)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert hash_file(tmp_path / name) == hash_file(whole.out / name)


def test_the_global_generators_do_not_notice_and_are_not_noticed(config, pairs, whole, tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train(config, pairs, pairs, tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert state_of(tmp_path) == state_of(whole.out)


def test_a_network_with_dropout_resumes_as_well(
    config, changed, pairs, tmp_path, monkeypatch, stop_after
):
    class Leaky(EBENGenerator):
        def forward_with_bands(self, signal):
            dropped = torch.nn.functional.dropout(signal, 0.5, self.training)
            return super().forward_with_bands(dropped)

    monkeypatch.setitem(MODELS._entries, "leaky", Leaky)
    config = changed(model={"name": "leaky", "width": 2, "latent": 2}, training={"num_steps": 5})
    train(config, pairs, None, tmp_path / "whole")
    with monkeypatch.context():
        stop_after(4)
        with pytest.raises(Stopped):
            train(config, pairs, None, tmp_path / "stopped")
    monkeypatch.undo()
    monkeypatch.setitem(MODELS._entries, "leaky", Leaky)
    train(config, pairs, None, tmp_path / "stopped", resume=True)
    assert state_of(tmp_path / "stopped") == state_of(tmp_path / "whole")


def test_training_brings_the_loss_down(changed, pairs, tmp_path):
    config = changed(
        model={"name": "eben", "width": 4, "latent": 4},
        training={"num_steps": 60, "log_interval_steps": 20},
        validation={"interval_steps": 60},
        optimizer={"learning_rate": 3e-3},
    )
    result = train(config, pairs, pairs, tmp_path)
    losses = [line["train/loss"] for line in lines(tmp_path) if "train/loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    assert result.num_steps == 60


def test_metrics_name_split_and_metric_and_count_every_step_once(whole):
    training = [line for line in lines(whole.out) if "train/loss" in line]
    assert [line["step"] for line in training] == [2, 4, 6, 7]
    assert set(training[0]) == {
        "step",
        "train/loss",
        "train/l1",
        "train/multi_resolution_stft",
        "train/gradient_norm",
        "train/learning_rate",
    }
    for line in training:
        weighted = 10 * line["train/l1"] + line["train/multi_resolution_stft"]
        assert line["train/loss"] == pytest.approx(weighted, rel=1e-5)
    validation = [line for line in lines(whole.out) if "validation/stoi" in line]
    assert [line["step"] for line in validation] == [4, 7]
    names = ("si_sdr", "stoi", "estoi", "lsd")
    assert all(f"validation/unprocessed_{name}" in validation[0] for name in names)


def test_the_exported_model_is_the_best_of_the_averages(whole):
    by_step = {
        line["step"]: line["validation/stoi"]
        for line in lines(whole.out)
        if "validation/stoi" in line
    }
    assert whole.best_step == max(by_step, key=lambda step: by_step[step])
    assert whole.scores["validation"]["enhanced"]["stoi"] == by_step[whole.best_step]
    best = load_newest([whole.out / "checkpoints/best"])
    assert best is not None
    assert best.step == whole.best_step
    exported = load_enhancer(whole.out).state_dict()
    for name, weights in exported.items():
        assert torch.equal(weights, best.tensors[f"average.module.{name}"]), name
    card = (whole.out / "README.md").read_text()
    assert f"from step {whole.best_step}" in card
    assert "| stoi |" in card


def test_without_validation_the_last_weights_are_exported(changed, pairs, tmp_path):
    config = changed(training={"ema_decay": None})
    result = train(config, pairs, None, tmp_path)
    assert result.best_step == 7
    last = load_newest([tmp_path / "checkpoints/last"])
    assert last is not None
    for name, weights in load_enhancer(tmp_path).state_dict().items():
        assert torch.equal(weights, last.tensors[f"model.{name}"]), name


def test_the_average_is_that_of_the_weights_after_every_step(changed, pairs, tmp_path):
    config = changed(training={"checkpoint_interval_steps": 1, "num_steps": 2, "ema_decay": 0.75})
    folder = tmp_path / "checkpoints/last"
    train(config, pairs, None, tmp_path)
    first, second = (load_step(folder, step) for step in (1, 2))
    name = "last_conv.weight"
    # the average begins with the weights after the first step
    expected = 0.75 * first[f"model.{name}"] + 0.25 * second[f"model.{name}"]
    torch.testing.assert_close(second[f"average.module.{name}"], expected)


def load_step(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / f"step_{step:08d}.safetensors")


def test_audio_of_bone_air_and_every_validation_is_written(whole):
    names = sorted(path.name for path in (whole.out / "samples").iterdir())
    assert names == [
        "00_talker_000.air.flac",
        "00_talker_000.bone.flac",
        "00_talker_000.enhanced.step_00000004.flac",
        "00_talker_000.enhanced.step_00000007.flac",
    ]
    samples, rate = soundfile.read(whole.out / "samples" / names[0])
    assert (len(samples), rate) == (16_000, 16_000)  # max_item_s is 1


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(changed, tmp_path, pairs):
    """Of the batches of two, the third is the first with the broken item."""
    config = changed(training={"checkpoint_interval_steps": 1})
    batches = Batches(pairs, config.data, crop_samples=4000, seed=config.seed, num_steps=3)
    broken_id = next(i for i in batches.at(2).ids if i not in batches.at(0).ids + batches.at(1).ids)
    broken = type(pairs)(5, broken=frozenset({broken_id}))
    with pytest.raises(DivergedError, match=f"step 3: loss is nan on {broken_id}; lower"):
        train(config, broken, None, tmp_path)
    last = load_newest([tmp_path / "checkpoints/last"])
    assert last is not None
    assert last.step == 2
    assert all(tensor.isfinite().all() for tensor in last.tensors.values())
    assert not (tmp_path / "model.safetensors").exists()
    assert DivergedError.exit_code == 6


def test_a_message_on_divergence_stays_short_whatever_the_items_are_called(
    changed, tmp_path, pairs, monkeypatch
):
    pairs = type(pairs)(5)
    names = [f"talker/{n}/{'x' * 300}\x1b[31m" for n in range(5)]
    pairs.ids = names
    monkeypatch.setattr(type(pairs), "whole", lambda self, index: self.crop(index, 0, 4000))

    def crop(self, index, epoch, num_samples):
        nothing = torch.full((num_samples,), float("nan"))
        return Pair(names[index], nothing, nothing, 16_000)

    monkeypatch.setattr(type(pairs), "crop", crop)
    config = changed(data={"batch_size": 5})
    with pytest.raises(DivergedError, match=r"step 1: loss is nan on .* and 2 more; ") as caught:
        train(config, pairs, None, tmp_path)
    assert len(str(caught.value)) <= 200
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("validation", [True, False])
def test_weights_that_a_finite_gradient_made_infinite_reach_no_file(
    config, changed, pairs, tmp_path, monkeypatch, validation
):
    """The step before a validation or a checkpoint overflows; the losses were all finite."""
    config = changed(validation={"interval_steps": 3})
    original = Trainer.take_step

    def overflowing(self, batch):
        original(self, batch)
        if self.step == 3:
            next(self.model.parameters()).data.fill_(float("inf"))
            next(self.networks.enhancer.parameters()).data.fill_(float("inf"))

    monkeypatch.setattr(Trainer, "take_step", overflowing)
    with pytest.raises(DivergedError, match=r"step 3: .* is not finite .*learning_rate"):
        train(config, pairs, pairs if validation else None, tmp_path)
    assert not list(tmp_path.glob("**/*.safetensors"))


def test_a_gradient_that_is_not_finite_stops_as_well(config, pairs, tmp_path, monkeypatch):
    """A finite loss can have an infinite slope; the step would make every weight NaN."""

    def steep(self, estimate, target):
        return {"steep": (estimate * 0).abs().sum().sqrt() + 1}, {"steep": 1.0}

    monkeypatch.setattr(trainer_module.WeightedObjectives, "forward", steep)
    with pytest.raises(DivergedError, match="step 1: gradient_norm is nan on talker"):
        train(config, pairs, None, tmp_path)


def test_a_pair_that_cannot_be_read_is_named_from_a_loading_process(changed, pairs, tmp_path):
    class Torn(type(pairs)):
        def crop(self, index, epoch, num_samples):
            raise InputError("pairs/train/air/3.flac: cannot be read as audio")

    for num_workers in (0, 1):
        config = changed(data={"num_workers": num_workers})
        with pytest.raises(InputError, match=r"^pairs/train/air/3.flac: cannot be read as audio$"):
            train(config, Torn(5), None, tmp_path / str(num_workers))


def test_a_folder_that_holds_a_run_is_refused_without_resume(config, pairs, unscored, tmp_path):
    out = copied(unscored, tmp_path)
    with pytest.raises(UsageError, match="already holds a run; resume it"):
        train(config, pairs, None, out)
    assert state_of(out) == state_of(unscored.out)


@pytest.mark.parametrize("resume", [False, True])
def test_a_foreign_folder_is_refused(config, pairs, tmp_path, resume):
    (tmp_path / "thesis.tex").write_text("the only copy")
    with pytest.raises(UsageError, match=r"holds 'thesis\.tex', which is of no run"):
        train(config, pairs, None, tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_resume_begins_a_run_where_there_is_none(config, pairs, tmp_path):
    (tmp_path / "recipe.resolved.yaml").write_text("kind: training\n")
    assert train(config, pairs, None, tmp_path, resume=True).num_steps == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 12}, "seed 11, now 12"),
        ({"training": {"num_steps": 9}}, "training.num_steps 7, now 9"),
        ({"model": {"name": "eben", "width": 3, "latent": 2}}, "model.width 2, now 3"),
        (
            {"losses": [{"name": "l1", "weight": 2.0}]},
            r"losses .*'l1', 'weight': 10\.0\}, .*, now \[\{'name': 'l1', 'weight': 2\.0\}\]",
        ),
    ],
)
def test_resuming_with_other_settings_is_refused(
    changed, pairs, unscored, tmp_path, change, message
):
    out = copied(unscored, tmp_path)
    with pytest.raises(UsageError, match=message):
        train(changed(**change), pairs, None, out, resume=True)
    assert state_of(out) == state_of(unscored.out)


def test_resuming_with_other_pairs_is_refused(config, pairs, tmp_path):
    train(config, pairs, None, tmp_path, data_facts={"sensor": "abc"})
    with pytest.raises(UsageError, match=r"pairs\.training"):
        train(config, type(pairs)(6), None, tmp_path, resume=True, data_facts={"sensor": "abc"})
    with pytest.raises(UsageError, match=r"data_facts\.sensor 'abc', now 'abd'"):
        train(config, pairs, None, tmp_path, resume=True, data_facts={"sensor": "abd"})


def test_resuming_with_another_version_is_refused(config, pairs, unscored, tmp_path, monkeypatch):
    out = copied(unscored, tmp_path)
    monkeypatch.setattr("bcsim.__version__", "9.0")
    with pytest.raises(UsageError, match=r"bcsim_version '.*', now '9\.0'; .* use the same"):
        train(config, pairs, None, out, resume=True)
    assert state_of(out) == state_of(unscored.out)


def tampered(path: Path, change: Callable[[dict, dict], object]) -> None:
    """Change a checkpoint as somebody would who knows how it is hashed."""
    tensors = load_file(path.with_suffix(".safetensors"))
    content = json.loads(path.read_text())
    del content["sha256"]
    change(content["facts"], tensors)
    packed = save(tensors)
    content["tensors_sha256"] = hashlib.sha256(packed).hexdigest()
    content["tensors_bytes"] = len(packed)
    path.with_suffix(".safetensors").write_bytes(packed)
    path.write_text(_text(content))


HOSTILE = {
    "no facts": (lambda facts, _: facts.clear(), "not the state of a run"),
    "an unknown fact": (lambda facts, _: facts.update(x=1), "x: .*not the state of a run"),
    "settings that are a list": (lambda facts, _: facts.update(settings=[]), "settings: "),
    "sums of one number": (lambda facts, _: facts.update(sums={"loss": [1.0]}), r"sums\.loss"),
    "sums of text": (lambda facts, _: facts.update(sums={"loss": ["1", 2]}), r"sums\.loss"),
    "sums of nothing": (lambda facts, _: facts.update(sums={"loss": [1.0, 0]}), r"sums\.loss"),
    "best of step 0": (
        lambda facts, _: facts.update(best={"step": 0, "value": None, "scores": {}}),
        r"best\.step: ",
    ),
    "best of a step to come": (
        lambda facts, _: facts.update(best={"step": 2, "value": None, "scores": {}}),
        r"best\.step: 2 is yet to come",
    ),
    "best as text": (lambda facts, _: facts.update(best="7"), "best: "),
    "best without scores": (lambda facts, _: facts.update(best={"step": 1, "value": None}), "best"),
    "other weights": (
        lambda _, tensors: tensors.update({"model.first_conv.weight": torch.zeros(3)}),
        r"other weights than the model has: model\.first_conv\.weight is \[3\], not \[",
    ),
    "missing weights": (
        lambda _, tensors: tensors.pop("average.n_averaged"),
        r"average\.n_averaged is missing",
    ),
    "weights in double precision": (
        lambda _, tensors: tensors.update(
            {n: t.double() for n, t in tensors.items() if n.startswith("model.first_conv")}
        ),
        r"is torch\.float64, not torch\.float32",
    ),
    "a stranger": (lambda _, tensors: tensors.update(x=torch.zeros(1)), "x is unknown"),
    "moments of another weight": (
        lambda _, tensors: tensors.update({"optimizer.0.exp_avg": torch.zeros(7)}),
        r"of another optimizer: 0\.exp_avg is \[7\], not \[",
    ),
    "moments of no weight": (
        lambda _, tensors: tensors.update({"optimizer.x": torch.zeros(7)}),
        "of another optimizer: x is unknown",
    ),
}


@pytest.fixture(scope="module")
def begun(config, pairs, tmp_path_factory) -> TrainingRun:
    """A run after one step, with its checkpoint in a folder to read only."""
    run = TrainingRun(Trainer(config, TrainingData(pairs)), tmp_path_factory.mktemp("begun"))
    run.trainer.take_step(run.trainer.batches.at(0))
    save_checkpoint(run.out / "checkpoints/last", run.checkpoint())
    return run


@pytest.mark.parametrize("case", list(HOSTILE))
def test_a_state_that_is_not_that_of_the_run_is_refused_in_one_line(begun, tmp_path, case):
    change, message = HOSTILE[case]
    shutil.copytree(begun.out, tmp_path, dirs_exist_ok=True)
    run = TrainingRun(begun.trainer, tmp_path)
    assert run.restore()
    tampered(tmp_path / "checkpoints/last/step_00000001.json", change)
    before = state_of(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        run.restore()
    assert str(caught.value).isprintable()
    assert state_of(tmp_path) == before


def test_a_checkpoint_of_a_later_bcsim_is_left_alone(config, pairs, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("bcsim.training.checkpoint.SCHEMA", 3)
        train(config, pairs, None, tmp_path)
    before = state_of(tmp_path)
    with pytest.raises(InputError, match="schema 3, this version of bcsim reads 2"):
        train(config, pairs, None, tmp_path, resume=True)
    assert state_of(tmp_path) == before


def test_another_torch_costs_a_warning(config, pairs, unscored, tmp_path, monkeypatch, caplog):
    out = copied(unscored, tmp_path)
    monkeypatch.setattr(torch, "__version__", "9.9")
    train(config, pairs, None, out, resume=True)
    assert "this is 9.9; what follows may differ in the last bits" in caplog.text


def test_loading_processes_may_change_between_two_halves(
    config, changed, pairs, tmp_path, monkeypatch, stop_after
):
    with monkeypatch.context():
        stop_after(4)
        with pytest.raises(Stopped):
            train(config, pairs, None, tmp_path)
    monkeypatch.undo()
    more_workers = changed(data={"num_workers": 1})
    assert train(more_workers, pairs, None, tmp_path, resume=True).num_steps == 7


def test_a_damaged_checkpoint_costs_a_warning_and_some_steps(
    config, pairs, whole, tmp_path, caplog
):
    out = copied(whole, tmp_path)
    newest = out / "checkpoints/last/step_00000007.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    train(config, pairs, pairs, out, resume=True)
    assert "step_00000007.safetensors: damaged" in caplog.text
    assert state_of(out) == state_of(whole.out)


def test_a_second_process_in_the_same_folder_is_refused(tmp_path):
    """The lock is the kernel's, so it needs another process, and none is left after a kill."""
    code = (
        "import sys; from pathlib import Path\n"
        "from bcsim.files.run_folder import locked\n"
        "with locked(Path(sys.argv[1]), Path(sys.argv[1], '.lock')): print('mine')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with locked(tmp_path, tmp_path / ".lock"):
        second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "another run is writing there" in second.stderr
    assert EnvironmentFault.__name__ in second.stderr
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "mine\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 8000}, "pairs are 16000 Hz, the recipe wants 8000"),
        ({"model": {"name": "eben", "sample_rate": 8000}}, "model.sample_rate is 8000"),
        (
            {
                "direction": "air-to-bone",
                "model": {"name": "seanet", "channels": ["bone", "air"]},
            },
            r"direction air-to-bone .*: use \[bone\]",
        ),
        ({"training": {"device": "cuda"}}, "torch sees no CUDA device"),
        ({"losses": [{"name": "l1"}, {"name": "l1"}]}, "listed twice"),
        ({"losses": [{"name": "l1", "weight": 0}]}, "wants a number above 0"),
        ({"losses": [{"name": "l2"}]}, "unknown loss 'l2'; did you mean 'l1'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed, pairs, tmp_path, change, message):
    if "cuda" in str(change) and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match=message):
        train(changed(**change), pairs, None, tmp_path)


def test_no_pairs_are_refused(config, pairs, tmp_path):
    with pytest.raises(UsageError, match="no pairs to train on"):
        train(config, type(pairs)(0), None, tmp_path)


def test_silent_pairs_train_and_score_nothing(changed, pairs, tmp_path):
    class Silent(Pairs):
        def crop(self, index, epoch, num_samples):
            nothing = torch.zeros(num_samples)
            return Pair(self.ids[index], nothing, nothing.clone(), 16_000)

        def whole(self, index):
            nothing = torch.zeros(8000)
            return Pair(self.ids[index], nothing, nothing.clone(), 16_000)

    config = changed(training={"num_steps": 2})
    result = train(config, Silent(["a", "b"], 16_000, 0), Silent(["c"], 16_000, 0), tmp_path)
    assert result.scores["validation"]["enhanced"]["stoi"] is None
    assert load_enhancer(tmp_path).num_parameters > 0


def test_bfloat16_trains_in_a_process_of_its_own(config, tmp_path):
    """Accelerate keeps the precision of a process for good, hence the process."""
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "import torch; torch.set_num_threads(1)\n"
        "from conftest import MemoryPairs\n"
        "from bcsim.training.config import *\n"
        "from bcsim.training.data import TrainingData; from bcsim.training.run import train\n"
        "config = TrainingConfig(model={'name': 'eben', 'width': 2, 'latent': 2},\n"
        "    losses=[{'name': 'l1'}], data=DataConfig(crop_s=0.25, batch_size=2, num_workers=0),\n"
        "    training=LoopConfig(num_steps=2, precision='bfloat16', device='cpu'))\n"
        "data = TrainingData(MemoryPairs(2))\n"
        "print(train(config, data, pathlib.Path(sys.argv[2])).num_steps)\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "2\n", done.stderr
    weights = load_enhancer(tmp_path / "run").state_dict()
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_every_setting_is_plain_data(config):
    assert json.loads(json.dumps(dataclasses.asdict(config)))["training"]["num_steps"] == 7
