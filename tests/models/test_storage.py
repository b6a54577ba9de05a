import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from bcsim.errors import InputError, UsageError
from bcsim.files import safetensors_file
from bcsim.files.hashing import hash_file
from bcsim.models.eben import EBENGenerator
from bcsim.models.storage import build_enhancer, direction_of, load_enhancer, save_enhancer
from bcsim.rng import stream

SPEC = {"name": "eben", "width": 2, "latent": 2}


@pytest.fixture
def folder(tmp_path):
    save_enhancer(tmp_path, build_enhancer(SPEC, seed=1), {"steps": 3})
    return tmp_path


def rewrite(folder, change, keep_hash=False):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    if not keep_hash:
        config["weights_sha256"] = hash_file(folder / "model.safetensors")
    path.write_text(json.dumps(config))


def test_saving_twice_writes_the_same_bytes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    save_enhancer(other, load_enhancer(folder), {"steps": 3})
    for name in ("model.safetensors", "config.json"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


def test_weights_of_another_model_are_refused_with_the_differences(folder):
    rewrite(folder, lambda config: config["model"].update(width=3))
    with pytest.raises(InputError, match=r"decoder_blocks.*is \[.*\], not \[.*\]; and \d+ more"):
        load_enhancer(folder)


def test_missing_and_unknown_weights_are_named(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["stranger"] = weights.pop("first_conv.weight")
    save_file(weights, path)
    rewrite(folder, lambda config: None)
    with pytest.raises(InputError, match=r"first_conv.weight is missing; stranger is unknown"):
        load_enhancer(folder)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["first_conv.weight"][0, 0, 0] = float("nan")
    save_file(weights, path)
    rewrite(folder, lambda config: None)
    with pytest.raises(InputError, match=r"first_conv.weight holds values that are not finite"):
        load_enhancer(folder)
    model = EBENGenerator(width=2, latent=2)
    torch.nn.init.constant_(model.last_conv.weight, float("inf"))
    with pytest.raises(ValueError, match=r"last_conv.weight holds weights that are not finite"):
        save_enhancer(folder, model, {})


def test_every_flipped_bit_of_the_weights_is_detected(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for position in stream(1, "flips").integers(len(whole), size=50):
        torn = bytearray(whole)
        torn[position] ^= 1 << int(position % 8)
        path.write_bytes(torn)
        with pytest.raises(InputError):
            load_enhancer(folder)


@pytest.mark.parametrize("length", [0, 4, 8, 100, 10_000])
def test_a_truncated_file_is_detected(folder, length):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_enhancer(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["model"].update(sample_rate=1000),
        lambda config: config.update(sample_rate=8000),
        lambda config: config.update(num_parameters=1),
        lambda config: config.update(channels=["bone", "air"]),
        lambda config: config.update(latency_samples=-1),
    ],
)
def test_a_config_that_contradicts_its_network_is_refused(folder, change):
    """At another rate the weights fit as well, and the speech comes out at the wrong speed."""
    rewrite(folder, change)
    with pytest.raises(InputError, match=r"config\.json: .* is .*, that of the network is "):
        load_enhancer(folder)


def test_facts_that_an_earlier_version_did_not_record_are_not_missed(folder):
    rewrite(folder, lambda config: config.pop("latency_samples"))
    assert load_enhancer(folder).sample_rate == 16_000


def test_a_schema_that_is_no_number_is_refused(folder):
    rewrite(folder, lambda config: config.update(schema=True))
    with pytest.raises(InputError, match="schema True, this version of bcsim reads 1"):
        load_enhancer(folder)


def test_a_newer_schema_is_refused(folder):
    rewrite(folder, lambda config: config.update(schema=2))
    with pytest.raises(InputError, match="schema 2, this version of bcsim reads 1"):
        load_enhancer(folder)


def test_a_model_turns_bone_into_air_unless_it_says_otherwise(folder):
    assert direction_of(folder) == "bone-to-air"
    rewrite(folder, lambda config: config.pop("direction"))  # as written by earlier versions
    assert direction_of(folder) == "bone-to-air"
    with pytest.raises(InputError, match=r"turns bone into air; give .* the direction air-to-bone"):
        load_enhancer(folder, "air-to-bone")
    save_enhancer(folder, build_enhancer(SPEC, seed=1), {}, "air-to-bone")
    assert direction_of(folder) == "air-to-bone"
    assert json.loads((folder / "config.json").read_text())["channels"] == ["air"]
    with pytest.raises(InputError, match="turns air into bone; give"):
        load_enhancer(folder, "bone-to-air")


def test_an_unknown_direction_is_refused(folder):
    rewrite(folder, lambda config: config.update(direction="up"))
    with pytest.raises(InputError, match="direction is 'up'; it wants bone-to-air or air-to-bone"):
        load_enhancer(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "other"}', "[" * 100_000])
def test_what_is_no_config_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json: not"):
        load_enhancer(folder)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=f"{missing}: no such file"):
        load_enhancer(folder)


@pytest.mark.parametrize("size", [10**4, 10**9, 10**20])
def test_a_config_that_asks_for_all_memory_is_refused_before_it_gets_any(folder, size):
    rewrite(folder, lambda config: config["model"].update(width=size))
    with pytest.raises(InputError):
        load_enhancer(folder)


def test_a_pickle_in_place_of_weights_is_not_run(folder, tmp_path):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return (canary.touch, ())

    path = folder / "model.safetensors"
    torch.save({"first_conv.weight": Payload()}, path)
    with pytest.raises(InputError, match=r"a zip, as torch\.save .*reads safetensors only"):
        load_enhancer(folder)
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InputError, match=r"a pickle; bcsim reads safetensors only"):
        load_enhancer(folder)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x93NUMPY\x01\x00" + bytes(100), "a numpy array"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x1f\x8b\x08" + bytes(100), "gzip"),
        ((2**30).to_bytes(8, "little") + b"{}" + bytes(100), "not a whole safetensors file"),
        ((2**62).to_bytes(8, "little") + b"{}", "not a whole safetensors file"),
    ],
)
def test_other_files_in_place_of_weights_are_called_what_they_are(folder, content, kind):
    (folder / "model.safetensors").write_bytes(content)
    rewrite(folder, lambda config: None)
    with pytest.raises(InputError, match=rf"model\.safetensors: {kind}.*; bcsim reads safetensors"):
        load_enhancer(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": True}, "width is True; it wants a number"),
        ({"width": 2.5}, "width: input should be a valid integer, .*not 2.5"),
        ({"width": "2" * 10**5}, "width: unable to parse input string as an integer, .*not .2222"),
        ({"width": [[2]] * 10**4}, "width: input should be a valid integer, not \\[\\[2"),
        ({"initial_gain": 10**400}, "initial_gain is 1000"),
        ({"sample_rate": 10}, "sample_rate is 10; it wants 1000 to 384000 Hz"),
        ({"sample_rate": 10**8}, "sample_rate is 100000000; it wants"),
        ({"name": ["eben"] * 10**4}, "a model is a mapping with a name"),
        ({"name": "e" * 10**5}, "unknown model 'ee"),
    ],
)
def test_a_config_of_other_types_is_refused_in_a_short_line(folder, change, message):
    rewrite(folder, lambda config: config["model"].update(change))
    with pytest.raises(InputError, match=message) as caught:
        load_enhancer(folder)
    assert len(str(caught.value)) < 200 + len(str(folder))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": "bcsim-enhancer", "format": "bcsim-enhancer"}', "key 'format' is there twice"),
        ('{"format": ' * 100, "not JSON"),
        (" " * (2**20 + 1), "larger than 1048576 bytes"),
        ('{"format": "bcsim-enhancer", "schema": 1, "model": {}}', "'weights_sha256' is missing"),
        ('{"schema": NaN}', "NaN is not a finite number"),
    ],
)
def test_a_config_that_bcsim_did_not_write_is_refused(folder, content, message):
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_enhancer(folder)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "ebem"}, "unknown model 'ebem'; did you mean 'eben'"),
        ({"name": "eben", "widht": 2}, "model 'eben': .*'widht'"),
        ({"name": "eben", "p": 9}, "model 'eben': .*wants 1 to m = 4"),
        ({}, "with a name"),
    ],
)
def test_a_spec_that_names_no_model_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        build_enhancer(spec, seed=0)


@pytest.mark.parametrize(
    ("change", "facts", "message"),
    [
        (lambda m: m.register_buffer("extra", torch.zeros(1)), {}, "extra is unknown"),
        (lambda m: m.register_buffer("n", torch.tensor(1)), {}, "n holds no floating-point"),
        (lambda m: None, {"data": "x" * (1 << 20)}, "larger than 1048576 bytes"),
        (lambda m: None, {"score": float("nan")}, "not JSON compliant"),
    ],
)
def test_a_model_that_could_not_be_read_again_replaces_none(folder, change, facts, message):
    """Weights were written before it showed that their config could not be."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = EBENGenerator(width=2, latent=2)
    change(model)
    with pytest.raises(ValueError, match=message):
        save_enhancer(folder, model, facts)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_of_more_tensors_than_are_read_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_file, "MAX_HEADER_BYTES", 1000)
    with pytest.raises(InputError, match="1000 are read at most"):
        save_enhancer(tmp_path, EBENGenerator(width=2, latent=2), {})
    assert not [*tmp_path.iterdir()]


def test_facts_as_people_write_them_are_read_back(tmp_path):
    text = "a\u00a0: 'b' # \u2028\x85\u200b-\N{GRINNING FACE}"
    save_enhancer(tmp_path, EBENGenerator(width=2, latent=2), {text: text})
    assert safetensors_file.read_json(tmp_path / "config.json")["facts"] == {text: text}
