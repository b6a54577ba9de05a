"""Published EBENs become runs, weight by weight; everything else is refused in one line."""

import importlib
import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from bcsim.audio.read import read_audio
from bcsim.audio.write import write_audio
from bcsim.discriminators.eben import EBENMultiBand
from bcsim.discriminators.storage import load_discriminator
from bcsim.errors import InputError, UsageError
from bcsim.models.eben import EBENGenerator
from bcsim.models.storage import (
    Direction,
    build_enhancer,
    direction_of,
    load_enhancer,
    save_enhancer,
)
from bcsim.rng import stream
from bcsim.workflows.enhance import enhance
from bcsim.workflows.import_checkpoint import discriminator_sizes, import_checkpoint

SIZES: dict[str, Any] = {"p": 2, "width": 4, "latent": 3}
DCCRN = {"widths": [4, 8], "units": 4, "variant": "asteroid", "complex_recurrent": True}
FILTERS = ("analysis", "synthesis")


def publish(folder, weights, config):
    folder.mkdir(parents=True)
    save_file(dict(weights), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def drawn_weights(shapes, seed, given):
    """Make weights as ../shared/golden/README.md says."""
    weights = {}
    for index, key in enumerate(sorted(shapes)):
        drawn = np.random.default_rng([seed, index]).standard_normal(shapes[key])
        scale = 1.0 if key.endswith("original1") else 0.1
        drawn = given.get(key, scale * drawn + key.endswith("original0"))
        weights[key] = torch.tensor(drawn, dtype=torch.float32)
    return weights


@pytest.fixture
def generator(tmp_path):
    """A folder as it is published, of a small EBEN whose PQMF is a little off."""
    network = build_enhancer({"name": "eben", **SIZES}, seed=4)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    weights["pqmf.analysis_weights"] *= 1.01
    return publish(tmp_path / "EBEN_small", weights, {"m": 4, "n": 32, "p": 2})


@pytest.fixture
def dccrn(tmp_path):
    """A small DCCRN as Asteroid's weights are once they are saved as safetensors."""
    network = build_enhancer({"name": "dccrn", **DCCRN}, seed=4)
    weights = {f"masker.{key}": value.clone() for key, value in network.state_dict().items()}
    for name in ("encoder", "decoder"):
        weights[f"{name}.filterbank._filters"] = torch.zeros(514, 1, 400)
        weights[f"{name}.filterbank.torch_window"] = torch.zeros(400)
    return publish(tmp_path / "DCCRNet_small", weights, {})


@pytest.fixture
def discriminator(tmp_path):
    shapes = EBENMultiBand(min_channels=4, melgan_width=4).state_dict()
    weights = drawn_weights({key: value.shape for key, value in shapes.items()}, 7, {})
    return publish(tmp_path / "Discriminator", weights, {"q": 4, "min_channels": 4})


def rewrite(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.shared
def test_published_weights_give_the_published_speech(shared, tmp_path):
    golden = np.load(shared / "golden/eben_p1.npz")
    pqmf = {f"pqmf.{name}_weights": golden[f"pqmf_{name}_weights"] for name in FILTERS}
    shapes = json.loads(str(golden["generator_shapes"]))
    weights = drawn_weights(shapes, int(golden["seed"]), pqmf)
    source = publish(tmp_path / "public", weights, {"m": 4, "n": 32, "p": 1})
    run = tmp_path / "run"
    import_checkpoint(str(source), run)
    cut = torch.tensor(golden["input"])[: int(golden["valid_length"])]
    with torch.no_grad():
        speech = load_enhancer(run)(cut[None, None])[0, 0]
    np.testing.assert_allclose(speech, golden["speech"], rtol=1e-4, atol=1e-5)
    enhanced, _ = enhance_file(run, cut.numpy(), tmp_path)
    np.testing.assert_allclose(enhanced, golden["speech"], atol=1e-4)  # 16 bits, twice


@pytest.mark.shared
def test_discriminators_have_the_published_names(shared, discriminator):
    golden = np.load(shared / "golden/eben_p1.npz")
    published = json.loads(str(golden["discriminator_shapes"]))
    assert load_file(discriminator / "model.safetensors").keys() == published.keys()
    assert len(published) == 93
    sizes = discriminator_sizes(discriminator, published)
    assert sizes == {"q": 4, "min_channels": 24, "melgan_width": 16, "melgan_groups": 4}


def enhance_file(run, samples, folder):
    write_audio(folder / "bone.wav", samples.astype(np.float64), 16_000)
    enhance(run, folder / "bone.wav", folder / "speech.wav", device="cpu")
    return read_audio(folder / "speech.wav")


def test_every_weight_arrives_as_it_was_published(generator, discriminator, tmp_path):
    run = tmp_path / "run"
    result = import_checkpoint(str(generator), run, str(discriminator))
    published = load_file(generator / "model.safetensors")
    network = load_enhancer(run)
    assert network.config == {**EBENGenerator(**SIZES).config}
    assert all(torch.equal(network.state_dict()[key], published[key]) for key in published)
    judge = load_discriminator(run).state_dict()
    published = load_file(discriminator / "model.safetensors")
    assert judge.keys() == published.keys()
    assert all(torch.equal(judge[key], published[key]) for key in published)
    assert result.discriminator is not None
    facts = json.loads((run / "config.json").read_text())["facts"]
    assert facts["source"] == str(generator)
    assert facts["discriminator"]["source"] == str(discriminator)
    assert facts["source_sha256"] in (run / "README.md").read_text()


def test_an_imported_run_enhances(generator, tmp_path, speech):
    import_checkpoint(str(generator), tmp_path / "run")
    bone = speech[0].numpy()
    enhanced, rate = enhance_file(tmp_path / "run", bone, tmp_path)
    assert (len(enhanced), rate) == (len(bone), 16_000)
    network = load_enhancer(tmp_path / "run")
    with torch.no_grad():
        expected = network(speech[:1, None].float())[0, 0].numpy()
    np.testing.assert_allclose(enhanced, expected, atol=1e-4)  # 16 bits, twice


def test_the_older_names_of_weight_norm_are_translated(generator, tmp_path):
    newer = load_file(generator / "model.safetensors")
    older = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in newer.items()
    }
    assert older.keys() != newer.keys()
    save_file(older, generator / "model.safetensors")
    import_checkpoint(str(generator), tmp_path / "run")
    weights = load_enhancer(tmp_path / "run").state_dict()
    assert all(torch.equal(weights[key], newer[key]) for key in newer)


def test_a_checkpoint_without_a_config_is_as_large_as_its_tensors(generator, tmp_path):
    (generator / "config.json").unlink()
    import_checkpoint(str(generator), tmp_path / "run")
    assert load_enhancer(tmp_path / "run").config["p"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("last_conv.weight"), "last_conv.weight is missing"),
        (lambda w: w.update(stranger=torch.zeros(1)), "stranger is unknown"),
        (lambda w: w.pop("first_conv.weight"), "no EBEN generator: .*first_conv.weight is missing"),
        (
            lambda w: w.update({"first_conv.weight": torch.zeros(4, 9, 3)}),
            r"config.json: p is 2, and of the weights beside it 9",
        ),
        (
            lambda w: w.update({"latent_conv.1.weight_g": torch.ones(3, 1, 1)}),
            "older and their newer name",
        ),
        (
            lambda w: w["last_conv.weight"].fill_(float("nan")),
            "last_conv.weight holds values that are not finite",
        ),
        (
            lambda w: w.update({"last_conv.weight": torch.zeros(4, 4, 3, dtype=torch.int32)}),
            "last_conv.weight holds values that are not finite",
        ),
    ],
)
def test_other_weights_than_an_eben_has_are_named(generator, tmp_path, change, message):
    rewrite(generator, change)
    with pytest.raises(InputError, match=message) as refused:
        import_checkpoint(str(generator), tmp_path / "run")
    assert str(generator) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_discriminator_is_no_generator_and_the_other_way_round(
    generator, discriminator, tmp_path
):
    with pytest.raises(InputError, match="no EBEN generator: of its 93 tensors"):
        import_checkpoint(str(discriminator), tmp_path / "run")
    with pytest.raises(InputError, match="no EBEN discriminator: of its 92 tensors"):
        import_checkpoint(str(generator), tmp_path / "run", str(generator))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_truncated_file_is_detected(generator, tmp_path, length):
    path = generator / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"model\.safetensors: not a whole safetensors file"):
        import_checkpoint(str(generator), tmp_path / "run")


def test_flipped_bits_are_detected_or_do_no_harm(generator, tmp_path):
    """Nothing says what the published bits are; but no flip may end in anything but one line."""
    path = generator / "model.safetensors"
    whole, refusals = path.read_bytes(), []
    for number, position in enumerate(stream(1, "flips").integers(8000, size=30)):
        torn = bytearray(whole)
        torn[position] ^= 1 << int(position % 8)
        path.write_bytes(torn)
        try:
            import_checkpoint(str(generator), tmp_path / f"run{number}")
        except InputError as error:
            refusals.append(str(error))
    assert refusals
    assert not any("\n" in refusal for refusal in refusals)


def test_a_pickle_is_not_run(generator, tmp_path):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return (canary.touch, ())

    torch.save({"first_conv.weight": Payload()}, generator / "model.safetensors")
    with pytest.raises(InputError, match=r"a zip, as torch\.save .*reads safetensors only"):
        import_checkpoint(str(generator), tmp_path / "run")
    assert not canary.exists()


def test_sources_that_are_none_are_refused(generator, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InputError, match="a file; give the folder"):
        import_checkpoint(str(generator / "model.safetensors"), run)
    with pytest.raises(InputError, match="no such folder, and no hub id"):
        import_checkpoint("../nowhere/at/all", run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"model\.safetensors: no such file"):
        import_checkpoint(str(tmp_path / "empty"), run)
    (generator / "config.json").write_text("[")
    with pytest.raises(InputError, match=r"config\.json: not JSON"):
        import_checkpoint(str(generator), run)
    save_enhancer(tmp_path / "ours", EBENGenerator(**SIZES), {})
    with pytest.raises(InputError, match="is a run of bcsim already"):
        import_checkpoint(str(tmp_path / "ours"), run)


def test_nothing_that_is_there_is_overwritten(generator, tmp_path):
    before = (generator / "model.safetensors").read_bytes()
    for out in (generator, generator / "run"):
        with pytest.raises(UsageError, match=r"not empty|must not contain each other"):
            import_checkpoint(str(generator), out)
    assert sorted(path.name for path in generator.iterdir()) == ["config.json", "model.safetensors"]
    assert (generator / "model.safetensors").read_bytes() == before


@pytest.fixture
def hub(monkeypatch):
    """Stand in for the package that downloads."""

    def install(download):
        class HfHubHTTPError(OSError):
            pass

        errors = SimpleNamespace(HfHubHTTPError=HfHubHTTPError)
        package = SimpleNamespace(snapshot_download=download, errors=errors)
        monkeypatch.setitem(sys.modules, "huggingface_hub", package)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)

    return install


def test_a_hub_id_is_downloaded_and_its_name_tells_the_direction(generator, hub, tmp_path):
    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(generator)

    hub(download)
    cases: list[tuple[str, Direction | None, Direction]] = [
        ("Owner/EBEN_throat", None, "bone-to-air"),
        ("Owner/EBEN_reverse_throat", None, "air-to-bone"),
        ("Owner/EBEN_reverse_throat", "bone-to-air", "bone-to-air"),
    ]
    for name, given, direction in cases:
        run = tmp_path / f"{len(asked)}"
        import_checkpoint(name, run, direction=given)
        assert direction_of(run) == direction
        assert asked[-1] == (name, ["model.safetensors", "config.json"])
        facts = json.loads((run / "config.json").read_text())["facts"]
        assert (facts["source"], facts["source_revision"]) == (name, generator.name)


def test_a_download_that_fails_is_one_line(hub, tmp_path):
    def download(name, allow_patterns):
        raise OSError("Repository not found.\nRequest id: 1\n" + 1000 * "x")

    hub(download)
    with pytest.raises(InputError, match="Owner/Nmae: no such folder, and it cannot be") as error:
        import_checkpoint("Owner/Nmae", tmp_path / "run")
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("check the name and the network, or give a folder")


def test_without_the_package_the_line_that_installs_it_is_shown(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'bcsim\[hub\]'"):
        import_checkpoint("Owner/Name", tmp_path / "run")


def test_asteroids_dccrn_becomes_a_run_with_its_weights(dccrn, tmp_path):
    published = load_file(dccrn / "model.safetensors")
    command = importlib.import_module("bcsim_cli.import_checkpoint").command
    arguments = [str(dccrn), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "DCCRN (widths [4, 8], units 4;" in done.output
    network = load_enhancer(tmp_path / "run")
    assert network.config["variant"] == "asteroid"
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, published[f"masker.{key}"]), key


def test_a_dccrn_of_other_windows_or_with_a_discriminator_is_refused(
    dccrn, discriminator, tmp_path
):
    with pytest.raises(UsageError, match="a DCCRN, which has no discriminator"):
        import_checkpoint(str(dccrn), tmp_path / "run", str(discriminator))
    key = "encoder.filterbank._filters"
    rewrite(dccrn, lambda weights: weights.update({key: torch.zeros(514, 1, 512)}))
    with pytest.raises(InputError, match=r"_filters is \[514, 1, 512\]; bcsim has the DCCRN"):
        import_checkpoint(str(dccrn), tmp_path / "run")


def test_the_command_says_what_was_imported(generator, tmp_path):
    command = importlib.import_module("bcsim_cli.import_checkpoint").command
    out = tmp_path / "run"
    arguments = [str(generator), "--out", str(out), "--direction", "air-to-bone"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "m 4, n 32, p 2" in done.output
    assert "air-to-bone" in done.output
    with pytest.raises(InputError, match="turns air into bone"):
        enhance(out, generator, tmp_path / "speech")
    assert "neural_response" in (out / "README.md").read_text()
