"""`bcsim import-checkpoint`: a published EBEN becomes a run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcsim.discriminators.base import Discriminator
from bcsim.discriminators.storage import build_discriminator, save_discriminator
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import write_text
from bcsim.files.hashing import hash_file
from bcsim.files.run_folder import check_disjoint, is_free, staged_folder
from bcsim.files.safetensors_file import Network, load_network, read_json, read_shapes
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
from bcsim.workflows.hub import download, is_hub_id

Sizes = dict[str, int]

CARD_FILE = "README.md"
UNKNOWN = "not known here; look it up at the source"
GAIN, SHAPE = (f"parametrizations.weight.original{number}" for number in (0, 1))
OLDER_NAMES = {"weight_g": GAIN, "weight_v": SHAPE}  # of the two parts of weight norm


@dataclass(frozen=True)
class Published:
    """A published checkpoint on this machine.

    Args:
        name: as it was asked for.
        folder: where it lies.
        revision: of a download, or None.
    """

    name: str
    folder: Path
    revision: str | None = None

    @property
    def weights_file(self) -> Path:
        """The file of the weights."""
        return self.folder / WEIGHTS_FILE

    def facts(self) -> dict[str, Any]:
        """Return where the weights come from."""
        return {
            "source": self.name,
            "source_revision": self.revision,
            "source_sha256": hash_file(self.weights_file),
        }


@dataclass(frozen=True, eq=False)
class ImportResult:
    """What was imported.

    Args:
        out: folder of the run.
        enhancer: with the published weights.
        direction: what it turns into what.
        discriminator: with the published weights, if there is one.
    """

    out: Path
    enhancer: Enhancer
    direction: Direction
    discriminator: Discriminator | None = None


def import_checkpoint(
    source: str,
    out: Path,
    discriminator: str | None = None,
    direction: Direction | None = None,
) -> ImportResult:
    """Make a run of a published EBEN generator, and of a discriminator if one is given.

    Their sizes are those of the tensors; a `config.json` beside them must not say otherwise. All
    weights are taken as they are, those of the PQMF included.

    Args:
        source: folder with `model.safetensors`, or `Owner/Name` on the hub.
        out: folder of the run, new or empty.
        discriminator: folder with the discriminator's weights, or `Owner/Name` on the hub.
        direction: of the generator; by default "air-to-bone" if the source has "reverse" in its
            name.

    Raises:
        UsageError: if `out` holds something, or a package is missing.
        InputError: if a source cannot be found or downloaded, is damaged, or is no EBEN.
    """
    if not is_free(out):
        raise UsageError(f"{out}: is there already, and not empty; choose another output folder")
    published = find_checkpoint(source)
    check_disjoint(published.folder, out)
    if direction is None:
        reverse = "reverse" in Path(source).name.lower()
        direction = AIR_TO_BONE if reverse else BONE_TO_AIR
    enhancer, _ = _read(published, generator_sizes, lambda s: build_enhancer(_eben(s), seed=0))
    facts = {**published.facts(), "licence": UNKNOWN, "training_data": UNKNOWN}
    imported, spec = None, {}
    if discriminator is not None:
        published = find_checkpoint(discriminator)
        bands = {key: enhancer.config[key] for key in ("m", "n")}  # which its weights do not tell
        imported, sizes = _read(
            published,
            discriminator_sizes,
            lambda s: build_discriminator(_eben(s | bands), seed=0),
        )
        spec = _eben(sizes | bands)
        facts["discriminator"] = published.facts()
    with staged_folder(out) as folder:
        if imported is not None:
            save_discriminator(folder, imported, spec)
        save_enhancer(folder, enhancer, facts, direction)
        write_text(folder / CARD_FILE, _card(enhancer, facts, direction))
    return ImportResult(out, enhancer.eval(), direction, imported)


def find_checkpoint(source: str) -> Published:
    """Find a published checkpoint, or download it.

    Raises:
        UsageError: if the package that downloads is missing.
        InputError: if there is no such folder, and no such thing to download.
    """
    path = Path(source)
    if path.is_dir():
        return Published(source, path)
    if path.exists():
        raise InputError(f"{source}: a file; give the folder that holds {WEIGHTS_FILE}")
    if not is_hub_id(source):
        raise InputError(f"{source}: no such folder, and no hub id, which is Owner/Name")
    found = download(source, [WEIGHTS_FILE, CONFIG_FILE])
    return Published(source, found, revision=found.name)


def generator_sizes(path: Path, shapes: Mapping[str, list[int]]) -> Sizes:
    """Read off its tensors how large an EBEN generator is."""
    size = _Reader(path, "EBEN generator", shapes)
    return {
        "m": size("pqmf.analysis_weights", 0),
        "n": size("pqmf.analysis_weights", 2),
        "p": size("first_conv.weight", 1),
        "width": size("first_conv.weight", 0),
        "latent": size(f"latent_conv.1.{GAIN}", 0),
    }


def discriminator_sizes(path: Path, shapes: Mapping[str, list[int]]) -> Sizes:
    """Read off its tensors how large an EBEN discriminator is."""
    size = _Reader(path, "EBEN discriminator", shapes)
    band, wave = (
        f"{name}.discriminator" for name in ("pqmf_discriminators.0", "melgan_discriminator")
    )
    min_channels, melgan_width = size(f"{band}.0.1.{GAIN}", 0), size(f"{wave}.0.1.{GAIN}", 0)
    return {
        # The second layer has a filter of so many inputs in each group.
        "q": min_channels // size(f"{band}.1.0.{SHAPE}", 1),
        "min_channels": min_channels,
        "melgan_width": melgan_width,
        "melgan_groups": melgan_width // size(f"{wave}.1.0.{SHAPE}", 1),
    }


class _Reader:
    """Gives sizes of tensors, or says what the tensors are not."""

    def __init__(self, path: Path, what: str, shapes: Mapping[str, list[int]]) -> None:
        self.path, self.what, self.shapes = path, what, shapes

    def __call__(self, key: str, axis: int) -> int:
        shape = self.shapes.get(key, [])
        if len(shape) != 3 or 0 in shape:
            found = f"{key} is {shape}" if key in self.shapes else f"{key} is missing"
            raise InputError(
                f"{self.path}: no {self.what}: of its {len(self.shapes)} tensors, {found}"
            )
        return shape[axis]


def _read(
    published: Published,
    sizes_of: Callable[[Path, Mapping[str, list[int]]], Sizes],
    build: Callable[[Sizes], Network],
) -> tuple[Network, Sizes]:
    """Return the network with the published weights, and its sizes."""
    path, config = published.weights_file, _published_config(published.folder / CONFIG_FILE)
    stored = read_shapes(path)
    shapes = {_newer_name(key): shape for key, shape in stored.items()}
    if len(shapes) < len(stored):
        raise InputError(f"{path}: holds weights under their older and their newer name")
    sizes = sizes_of(path, shapes)
    for key, size in sizes.items():
        if config.get(key, size) != size:
            raise InputError(
                f"{published.folder / CONFIG_FILE}: {key} is {config[key]!r}, and of the weights "
                f"beside it {size}; copy both again"
            )
    network = load_network(path, lambda: build(sizes), blamed=path, rename=_newer_name)
    return network, sizes


def _newer_name(key: str) -> str:
    """Return what torch calls today what it called `weight_g` and `weight_v`."""
    layer, _, last = key.rpartition(".")
    return f"{layer}.{OLDER_NAMES[last]}" if last in OLDER_NAMES else key


def _published_config(path: Path) -> dict[str, Any]:
    """Return what a config says; nothing, where there is none."""
    config = read_json(path) if path.exists() else {}
    if str(config.get("format")).startswith("bcsim"):
        raise InputError(f"{path.parent}: is a run of bcsim already; use it as it is")
    return config


def _eben(sizes: Sizes) -> dict[str, Any]:
    return {"name": "eben", **sizes}


def _card(enhancer: Enhancer, facts: Mapping[str, Any], direction: Direction) -> str:
    """Return the model card."""
    use = "Use: `bcsim enhance --model . --in bone.wav --out speech.wav`"
    turns = "the signal of a body-conduction sensor into speech as a microphone would have heard it"
    if direction == AIR_TO_BONE:
        use = "Use: in a recipe, `{name: neural_response, model: path/to/this/folder}`"
        turns = "speech at a microphone into the signal of a body-conduction sensor"
    sizes = ", ".join(f"{key} {enhancer.config[key]}" for key in ("m", "n", "p"))
    latency_ms = 1000 * enhancer.latency_samples / enhancer.sample_rate
    revision = f", revision {facts['source_revision']}" if facts["source_revision"] else ""
    return "\n".join(
        [
            f"# EBEN, imported from {facts['source']}",
            "",
            f"Turns {turns}.",
            "",
            f"- {enhancer.sample_rate} Hz; {sizes}; {enhancer.num_parameters:,} parameters; looks "
            f"{latency_ms:.1f} ms ahead.",
            f"- Source: {facts['source']}{revision}, SHA-256 of its weights "
            f"{facts['source_sha256']}.",
            "- Licence, training data and what it is good for: to be looked up at the source.",
            "",
            use,
            "",
        ]
    )
