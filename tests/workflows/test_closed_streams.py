"""Some schedulers start jobs with stdin, stdout and stderr closed: every command works then, too.

The commands are walked: one that is new stands in no list, and fails until it is in one.
"""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from safetensors.torch import save_file
from scipy import signal

from bcsim.models.storage import build_enhancer
from bcsim.rng import stream

main = importlib.import_module("bcsim_cli.main")
RATE = 16_000
WALK = {  # later ones read what earlier ones wrote, below one folder, which is the current one
    "doctor": "--pairs rec",
    "show": "x.sensor",
    "export-response": "--sensor x.sensor --out x.wav",
    "preview": "--in rec/air --sensor x.sensor --limit 1 --draws 1 --out x.html",
    "fit-response": "--pairs rec --estimator h1 --no-cross-validate --no-report --out y.sensor",
    "evaluate": "--pairs rec --sensor x.sensor",
    "synthesize": "--in rec/air --sensor x.sensor --shard 1/1 --jobs 1 --out shard",
    "merge": "whole shard",
    "verify": "whole",
    "convert": "whole --format lhotse --out cuts",
    "import": "cuts --out pairs",
    "import-checkpoint": "published --out run",
    "enhance": "--model run --in rec/bone --device cpu --out enhanced",
    "train": "--recipe tiny.yaml --pairs rec --out trained",
    "compare": "tiny.yaml --pairs rec --validation-pairs rec --steps 1 --out compared",
    "adapt": "--pairs rec --recipe tiny.yaml --sensor x.sensor --out adapted",
    "demo": "--out shown --steps 1",
}
WRITTEN = [
    *("x.wav", "x.html", "y.sensor", "whole/dataset.json", "cuts", "pairs", "run/config.json"),
    *("enhanced/0.wav", "trained/model.safetensors", "compared/results.json"),
    "adapted/model.safetensors",
]
# The imports are paid for once: each command is a copy of one process, which closes its streams.
# What takes long is left out: the processes of `compare` and `adapt`, which always get streams of
# their own, reports, and the fits and trainings of `demo`, which are those of the other commands.
PROGRAM = """
import importlib, json, os, sys
import accelerate, joblib, librosa, matplotlib.pyplot, pystoi, torch, torch.utils.tensorboard
from bcsim.workflows import adapt, adapt_stages, compare, demo, enhance, evaluate, synthesize, train
from bcsim_cli import main

def trained_here(trainings, jobs, description):
    for training in trainings:
        command = importlib.import_module(f"bcsim_cli.{training.arguments[0]}").command
        command.main([*training.arguments[1:]], standalone_mode=False)
    return {}

torch.set_num_threads(1)
adapt.Schedule = lambda: adapt_stages.Schedule(1, 1, 1)
adapt_stages.run_trainings = compare.run_trainings = trained_here
train.write_run_report = lambda out: None
sentence = demo.Sentence("x.wav", {}, 16_000, *[dict.fromkeys(("si_sdr", "stoi", "lsd"), 0.0)] * 2)
result = demo.DemoResult(0.0, (0.0, 1.0), 0.0, sentence, sentence)
demo._run_chain = lambda *given: result
for name, words in json.load(sys.stdin).items():
    child = os.fork()
    if not child:
        sys.argv = ["bcsim", name, *words.split()]
        for number, stream in enumerate(("stdin", "stdout", "stderr")):
            os.close(number)
            setattr(sys, stream, None)
            setattr(sys, f"__{stream}__", None)
        main.main()
        sys.exit()
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_every_command_is_walked():
    assert {*main.COMMANDS} == WALK.keys()


@pytest.fixture
def place(tmp_path, recipe, sensor):
    """Return a folder with two pairs, a sensor, a recipe and a published model."""
    sensor.save(tmp_path / "x.sensor")
    sections = signal.butter(2, 900, fs=RATE, output="sos")
    time_s = np.arange(RATE) / RATE
    for number in range(2):
        noise = stream(number, "closed").standard_normal(len(time_s))
        air = 0.05 * noise * np.clip(np.sin(2 * np.pi * 3 * time_s), 1e-3, None)
        bone = np.asarray(signal.sosfilt(sections, air))
        for role, samples in (("air", air), ("bone", bone)):
            (tmp_path / "rec" / role).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / f"rec/{role}/{number}.wav", samples, RATE)
    (tmp_path / "published").mkdir()
    network = build_enhancer({"name": "eben", "p": 2, "width": 4, "latent": 3}, seed=4)
    save_file(network.state_dict(), tmp_path / "published/model.safetensors")
    (tmp_path / "published/config.json").write_text('{"m": 4, "n": 32, "p": 2}')
    return tmp_path


def test_every_command_works_with_all_streams_closed(place):
    """Eleven had never been tried; `synthesize` finished an empty dataset."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(WALK),
        cwd=place,
        capture_output=True,
        text=True,
    )
    codes = dict(line.split() for line in done.stdout.splitlines())
    assert codes == dict.fromkeys(WALK, "0"), done.stderr
    assert [name for name in WRITTEN if not (place / name).exists()] == []
