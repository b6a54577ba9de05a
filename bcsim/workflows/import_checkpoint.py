"""`bcsim import-checkpoint`: a published EBEN, or Asteroid's DCCRN, becomes a run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bcsim.discriminators.base import Discriminator
from bcsim.discriminators.storage import build_discriminator, save_discriminator
from bcsim.errors import InputError, UsageError
from bcsim.files.hashing import hash_file
from bcsim.files.outputs import check_output_folder
from bcsim.files.run_folder import staged_folder
from bcsim.files.safetensors_file import Network, Shapes, load_network, read_json, read_shapes
from bcsim.files.text import check_text
from bcsim.models.base import Enhancer
from bcsim.models.storage import (
    AIR_TO_BONE,
    BONE_TO_AIR,
    CONFIG_FILE,
    WEIGHTS_FILE,
    Direction,
    build_enhancer,
    save_enhancer,
)
from bcsim.training.card import write_card
from bcsim.workflows.hub import download, is_hub_id

Sizes = dict[str, Any]

UNKNOWN = "not known here; look it up at the source"
GAIN, SHAPE = (f"parametrizations.weight.original{number}" for number in (0, 1))
MASKER = "masker."  # before the names of the mask network's tensors in Asteroid's files
FILTER_BANKS = ("encoder.filterbank.", "decoder.filterbank.")  # its STFT, which has no weights
STFT_FILTERS = [514, 1, 400]  # shape of its filters for an FFT of 512 and windows of 400 samples
OLDER_NAMES = {"weight_g": GAIN, "weight_v": SHAPE}  # of the two parts of weight norm


@dataclass(frozen=True)
class Published:
    """A published checkpoint on this machine: name in the command, folder, revision on the hub."""

    name: str
    folder: Path
    revision: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return where the weights come from."""
        return {
            "source": self.name,
            "source_revision": self.revision,
            "source_sha256": hash_file(self.folder / WEIGHTS_FILE),
        }


@dataclass(frozen=True, eq=False)
class ImportedCheckpoint:
    """The networks that were imported, with their published weights."""

    enhancer: Enhancer
    direction: Direction
    discriminator: Discriminator | None = None


def import_checkpoint(
    source: str,
    out: Path,
    discriminator: str | None = None,
    direction: Direction | None = None,
) -> ImportedCheckpoint:
    """Make a run of a published EBEN generator, and of a discriminator if one is given.

    Their sizes are those of the tensors; a `config.json` beside them must not say otherwise. All
    weights are taken as they are, those of the PQMF included. A DCCRN of Asteroid, told by its
    tensors' names, becomes a run of the model `dccrn` in its variant "asteroid".

    Args:
        source: folder with `model.safetensors`, or `Owner/Name` on the hub.
        out: folder of the run, new or empty; one that already holds this very run is left as it
            is.
        discriminator: folder with the discriminator's weights, or `Owner/Name` on the hub.
        direction: direction of the generator; by default "air-to-bone" if the source has "reverse"
            in its name.

    Raises:
        UsageError: if `out` holds something else, a package is missing, or a discriminator is given
            for a DCCRN.
        InputError: if a source cannot be found or downloaded, is damaged, or is neither of them.
    """
    for name in filter(None, (source, discriminator)):
        _check_text(name)  # before anything is downloaded: config and card will hold it
    inputs = [Path(name) for name in (source, discriminator) if name]
    again = (out / WEIGHTS_FILE).is_file() and (out / CONFIG_FILE).is_file()
    check_output_folder(out, inputs, lambda _: again)
    published = _find_checkpoint(source)
    if direction is None:
        reverse = "reverse" in Path(source).name.lower()
        direction = AIR_TO_BONE if reverse else BONE_TO_AIR
    if any(key.startswith(MASKER) for key in read_shapes(published.folder / WEIGHTS_FILE)):
        if discriminator is not None:
            raise UsageError(f"{source}: a DCCRN, which has no discriminator; leave that out")
        sizes_of, spec_of = _asteroid_sizes, _asteroid
    else:
        sizes_of, spec_of = _generator_sizes, _eben
    enhancer, _ = _read(published, sizes_of, lambda s: build_enhancer(spec_of(s), seed=0))
    facts = {**published.facts(), "licence": UNKNOWN, "training_data": UNKNOWN}
    imported, spec = None, {}
    if discriminator is not None:
        published = _find_checkpoint(discriminator)
        bands = {key: enhancer.config[key] for key in ("m", "n")}  # which its weights do not tell
        imported, sizes = _read(
            published, discriminator_sizes, lambda s: build_discriminator(_eben(s | bands), seed=0)
        )
        spec = _eben(sizes | bands)
        facts["discriminator"] = published.facts()
    with staged_folder(out, again=again) as folder:
        if imported is not None:
            save_discriminator(folder, imported, spec)
        save_enhancer(folder, enhancer, facts, direction)
        write_card(folder, read_json(folder / CONFIG_FILE))
    return ImportedCheckpoint(enhancer.eval(), direction, imported)


def _check_text(source: str) -> None:
    try:
        check_text("source", source, several_lines=False)
    except ValueError as error:
        raise UsageError(f"{error}; rename the folder") from error


def _find_checkpoint(source: str) -> Published:
    """Find a published checkpoint in a folder, or download it."""
    path = Path(source)
    if path.is_dir():
        return Published(source, path)
    if path.exists():
        raise InputError(f"{source}: a file; give the folder that holds {WEIGHTS_FILE}")
    if not is_hub_id(source):
        raise InputError(f"{source}: no such folder, and no hub id, which is Owner/Name")
    found = download(source, [WEIGHTS_FILE, CONFIG_FILE])
    return Published(source, found, revision=found.name)


def _generator_sizes(path: Path, shapes: Shapes) -> Sizes:
    """Read off its tensors how large an EBEN generator is."""
    size = partial(_size, path, "EBEN generator", shapes)
    return {
        "m": size("pqmf.analysis_weights", 0),
        "n": size("pqmf.analysis_weights", 2),
        "p": size("first_conv.weight", 1),
        "width": size("first_conv.weight", 0),
        "latent": size(f"latent_conv.1.{GAIN}", 0),
    }


def _asteroid_sizes(path: Path, shapes: Shapes) -> Sizes:
    """Read off its tensors how large a DCCRN of Asteroid is."""
    for key in (f"{name}_filters" for name in FILTER_BANKS):
        if shapes.get(key, STFT_FILTERS) != STFT_FILTERS:
            raise InputError(
                f"{path}: {key} is {shapes[key]}; bcsim has the DCCRN whose filters are "
                f"{STFT_FILTERS}, windows of 400 samples in an FFT of 512"
            )
    size = partial(_size, path, "DCCRN of Asteroid", shapes)
    widths: list[int] = []
    while not widths or f"encoders.{len(widths)}.conv.re_module.weight" in shapes:
        widths.append(2 * size(f"encoders.{len(widths)}.conv.re_module.weight", 0, 4))
    units = 2 * size(f"encoders.{len(widths)}.linear.re_module.weight", 1, 2)
    return {"widths": widths, "units": units}


def discriminator_sizes(path: Path, shapes: Shapes) -> Sizes:
    """Read off its tensors how large an EBEN discriminator is."""
    size = partial(_size, path, "EBEN discriminator", shapes)
    band, wave = "pqmf_discriminators.0.discriminator", "melgan_discriminator.discriminator"
    min_channels, melgan_width = size(f"{band}.0.1.{GAIN}", 0), size(f"{wave}.0.1.{GAIN}", 0)
    return {
        # The second layer has a filter of so many inputs in each group.
        "q": min_channels // size(f"{band}.1.0.{SHAPE}", 1),
        "min_channels": min_channels,
        "melgan_width": melgan_width,
        "melgan_groups": melgan_width // size(f"{wave}.1.0.{SHAPE}", 1),
    }


def _size(path: Path, what: str, shapes: Shapes, key: str, axis: int, rank: int = 3) -> int:
    """Return a size of a tensor, or say that the tensors are not those of `what`."""
    shape = shapes.get(key, [])
    if len(shape) != rank or 0 in shape:
        found = f"{key} is {shape}" if key in shapes else f"{key} is missing"
        raise InputError(f"{path}: no {what}: of its {len(shapes)} tensors, {found}")
    return shape[axis]


def _read(
    published: Published,
    sizes_of: Callable[[Path, Shapes], Sizes],
    build: Callable[[Sizes], Network],
) -> tuple[Network, Sizes]:
    """Return the network with the published weights, and its sizes."""
    path, config_path = published.folder / WEIGHTS_FILE, published.folder / CONFIG_FILE
    config = read_json(config_path) if config_path.exists() else {}
    if str(config.get("format")).startswith("bcsim"):
        raise InputError(f"{published.folder}: is a run of bcsim already; use it as it is")
    stored = read_shapes(path)
    shapes = {_newer_name(key): shape for key, shape in stored.items()}
    if len(shapes) < len(stored):
        raise InputError(f"{path}: holds weights under their older and their newer name")
    sizes = sizes_of(path, shapes)
    for key, size in sizes.items():
        if config.get(key, size) != size:
            raise InputError(
                f"{config_path}: {key} is {config[key]!r}, and of the weights beside it {size}; "
                "copy both again"
            )
    network = load_network(path, lambda: build(sizes), blamed=path, rename=_own_name)
    return network, sizes


def _own_name(key: str) -> str | None:
    """Return our name of a published tensor; None for one that is left out, as it is no weight."""
    if key.startswith(FILTER_BANKS) or key.endswith(".num_batches_tracked"):
        return None
    return _newer_name(key)


def _newer_name(key: str) -> str:
    """Return what torch calls today what it called `weight_g` and `weight_v`, without "masker."."""
    layer, _, last = key.removeprefix(MASKER).rpartition(".")
    return f"{layer}.{OLDER_NAMES[last]}" if last in OLDER_NAMES else key.removeprefix(MASKER)


def _eben(sizes: Sizes) -> dict[str, Any]:
    return {"name": "eben", **sizes}


def _asteroid(sizes: Sizes) -> dict[str, Any]:
    return {"name": "dccrn", "variant": "asteroid", "complex_recurrent": True, **sizes}
