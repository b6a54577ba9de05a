"""`bcsim show models`: the networks there are, at the sizes of their recipes."""

import inspect
from typing import Any

import torch

from bcsim.files.safetensors_file import read_json
from bcsim.models import MODELS
from bcsim.models.base import Enhancer
from bcsim.models.cost import look_ahead_ms, multiply_adds_per_s
from bcsim.models.storage import CONFIG_FILE, build_enhancer
from bcsim.recipe import from_mapping, read_yaml
from bcsim.training.config import TrainingConfig
from bcsim.training.networks import build_model
from bcsim.workflows.enhancers import bundled_enhancers, load_enhancer
from bcsim.workflows.presets import bundled_recipes

Facts = dict[str, Any]


def models_reference(name: str | None = None) -> Facts:
    """Return the facts of registered models.

    Args:
        name: name of one model; None for all.

    Returns:
        `models`, a list of `name`, `summary` (first sentence of the docstring) and `sizes`, one a
        bundled recipe of the model, the largest first: `recipe` (None where no recipe has the
        model: its default size), and what `size_facts` returns.

    Raises:
        UsageError: if there is no such model.
    """
    names = [*MODELS] if name is None else [name]
    chosen = {name: MODELS[name] for name in names}
    sizes: dict[str, list[Facts]] = {name: [] for name in names}
    for recipe, path in bundled_recipes("training").items():
        config = from_mapping(TrainingConfig, read_yaml(path), path.name)
        if config.model["name"] in sizes:
            with torch.device("meta"):
                model = build_model(config)
            sizes[config.model["name"]].append({"recipe": recipe, **size_facts(model)})
    for name, found in sizes.items():
        if not found:
            with torch.device("meta"):
                found.append({"recipe": None, **size_facts(build_enhancer({"name": name}, 0))})
        found.sort(key=lambda facts: (-facts["num_parameters"], facts["recipe"] or ""))
    return {
        "models": [
            {"name": name, "summary": _summary(cls), "sizes": sizes[name]}
            for name, cls in chosen.items()
        ],
        "bundled": [facts for facts in bundled_facts() if facts["model"] in names],
    }


def bundled_facts() -> list[Facts]:
    """Return the facts of the trained enhancers that come with bcsim, as in `models_reference`."""
    found = []
    for name, folder in bundled_enhancers().items():
        enhancer = load_enhancer(folder)  # a name may be that of a folder here as well
        config = read_json(folder / CONFIG_FILE)
        trained_on = config["facts"].get("trained_on", "")
        model = config["model"]["name"]
        found.append(
            {"name": name, "model": model, "trained_on": trained_on, **size_facts(enhancer)}
        )
    return found


def size_facts(model: Enhancer) -> Facts:
    """Return what a network of one size costs, and how far it looks ahead.

    Args:
        model: network, on any device.

    Returns:
        `num_parameters`; `multiply_adds_per_s`; `look_ahead_ms`, None for the whole recording;
        `causal`; `channels`, a list; `sample_rate` in Hz.
    """
    return {
        "num_parameters": model.num_parameters,
        "multiply_adds_per_s": multiply_adds_per_s(model),
        "look_ahead_ms": look_ahead_ms(model),
        "causal": model.causal,
        "channels": list(model.channels),
        "sample_rate": model.sample_rate,
    }


def _summary(cls: type[Enhancer]) -> str:
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
