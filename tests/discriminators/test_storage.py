"""Discriminators in files: what was saved comes back, everything else is refused in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bcsim.discriminators.storage import (
    build_discriminator,
    load_discriminator,
    save_discriminator,
)
from bcsim.errors import InputError, UsageError
from bcsim.files.hashing import hash_file

SPEC = {"name": "melgan", "num_scales": 1, "width": 4, "groups": [2, 2, 2, 2]}


@pytest.fixture
def folder(tmp_path):
    save_discriminator(tmp_path, build_discriminator(SPEC, seed=1), SPEC)
    return tmp_path


def rewrite(folder, change):
    path = folder / "discriminator.json"
    config = json.loads(path.read_text())
    change(config)
    config["weights_sha256"] = hash_file(folder / "discriminator.safetensors")
    path.write_text(json.dumps(config))


@torch.no_grad()
def test_what_was_saved_comes_back(folder):
    speech = torch.linspace(-1, 1, 5000)[None, None]
    saved, loaded = build_discriminator(SPEC, seed=1), load_discriminator(folder)
    for before, after in zip(saved(speech)[0], loaded(speech)[0], strict=True):
        assert torch.equal(before, after)


def test_fresh_weights_depend_on_the_seed_alone():
    before = torch.get_rng_state()
    one, same, other = (
        torch.cat([w.flatten() for w in build_discriminator(SPEC, seed).parameters()])
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["discriminator"].update(width=8), r"is \[.*\], not \[.*\]; and \d+ more"),
        (lambda c: c["discriminator"].update(name="melgam"), "did you mean 'melgan'"),
        (
            lambda c: c["discriminator"].update(width=10**9),
            "discriminator 'melgan': ",
        ),
        (lambda c: c.update(discriminator=3), "'discriminator' or 'weights_sha256' is missing"),
        (lambda c: c.update(schema=2), "schema 2, this version of bcsim reads 1"),
        (lambda c: c.update(format="bcsim-enhancer"), "not the config of a bcsim discriminator"),
    ],
)
def test_another_config_is_refused(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(InputError, match=message) as refused:
        load_discriminator(folder)
    assert "\n" not in str(refused.value)


def test_damage_is_detected(folder):
    path = folder / "discriminator.safetensors"
    whole = path.read_bytes()
    for length in (0, 9, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="not a whole safetensors file"):
            load_discriminator(folder)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="not the weights that the config beside it belongs to"):
        load_discriminator(folder)
    path.unlink()
    with pytest.raises(InputError, match=r"discriminator\.safetensors: no such file"):
        load_discriminator(folder)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(folder):
    weights = load_file(folder / "discriminator.safetensors")
    key = next(iter(weights))
    weights[key].fill_(float("inf"))
    save_file(weights, folder / "discriminator.safetensors")
    rewrite(folder, lambda config: None)
    with pytest.raises(InputError, match="holds values that are not finite"):
        load_discriminator(folder)
    network = build_discriminator(SPEC, seed=1)
    torch.nn.init.constant_(next(network.parameters()), float("nan"))
    with pytest.raises(ValueError, match="not finite; they are not saved"):
        save_discriminator(folder, network, SPEC)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "melgam"}, "unknown discriminator 'melgam'; did you mean 'melgan'"),
        ({"name": "melgan", "widht": 2}, "discriminator 'melgan': .*'widht'"),
        ({"width": 2}, "with a name"),
    ],
)
def test_a_spec_that_names_no_discriminator_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        build_discriminator(spec, seed=0)


def test_a_discriminator_that_could_not_be_read_again_replaces_none(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    network = build_discriminator(SPEC, seed=1)
    for spec, message in (
        ({**SPEC, "width": 8}, r"is \[.*\], not \[.*\]"),
        ({"name": "melgam"}, "did you mean 'melgan'"),
        ({**SPEC, "groups": [2] * 300}, "300 entries"),
    ):
        with pytest.raises(InputError, match=message):
            save_discriminator(folder, network, spec)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
