"""Weights of networks in safetensors files, beside JSON configs that say how to build them.

Both may come from strangers. Nothing in them is run; a header tells the shapes of all tensors, so
that they can be compared with the network's before memory is taken.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

import bcsim
from bcsim.errors import InputError, UsageError, fit_line
from bcsim.files.atomic import to_json, write_bytes
from bcsim.files.hashing import hash_file
from bcsim.files.opening import open_regular
from bcsim.files.text import SAFETENSORS_ONLY, kind_of, parse_json, read_bytes, reason_of, shown

_MAX_CONFIG_BYTES = 2**20
MAX_HEADER_BYTES = 2**21  # of a hundred bytes a tensor
_MAX_TOLD = 160  # characters of what a network says
_NUM_DIFFERENCES_TOLD = 3
_COUNTER = "num_batches_tracked"  # whole numbers, which change nothing of what a network computes

Shapes = Mapping[str, list[int]]
Network = TypeVar("Network", bound=nn.Module)


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a network that are saved: all but the batches that a norm counted."""
    state = network.state_dict()
    return {key: value for key, value in state.items() if not key.endswith(_COUNTER)}


def pack_weights(weights: Mapping[str, Tensor]) -> bytes:
    """Return the content of a safetensors file that `load_network` reads.

    Raises:
        ValueError: if a weight is not a finite number.
        InputError: if one is a whole number, or there are too many for the header.
    """
    weights = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    not_finite = sorted(key for key, value in weights.items() if not value.isfinite().all())
    if not_finite:
        raise ValueError(f"{not_finite[0]} holds weights that are not finite; they are not saved")
    whole = [key for key, value in weights.items() if not value.is_floating_point()]
    if whole:
        told = f"{whole[0]} holds no floating-point numbers"
        raise InputError(f"{told}, and no reader takes it; make it no part of the state")
    content = save(weights)
    check_header_size(content)
    return content


def check_header_size(content: bytes) -> None:
    """Raise an InputError if a safetensors file to be written has a header beyond reason."""
    size = int.from_bytes(content[:8], "little")
    if size > MAX_HEADER_BYTES:
        raise InputError(
            f"the weights need a header of {size} bytes, and {MAX_HEADER_BYTES} are read at most; "
            "make the network of fewer tensors"
        )


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shapes of a file's tensors; an InputError says that it is no whole safetensors."""
    check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: list(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: {_what_instead(path, error)}") from error


def check_header(path: Path) -> None:
    """Raise an InputError if a safetensors file is not there, or its header is beyond reason.

    A header of a million tensors without values is read for minutes, and takes gigabytes.
    """
    with open_regular(path, "the folder that holds it") as file:
        start, num_bytes = file.read(9), os.fstat(file.fileno()).st_size
    size = int.from_bytes(start[:8], "little")
    if start[8:] == b"{" and MAX_HEADER_BYTES < size < num_bytes:
        raise InputError(
            f"{path}: a header of {size} bytes; at most {MAX_HEADER_BYTES} are read, some 20,000 "
            "tensors"
        )


def _read_weights(
    path: Path, sha256: str | None, rename: Callable[[str], str | None]
) -> dict[str, Tensor]:
    """Read the finite tensors of a file with the SHA-256, if one is given, by their new names."""
    try:
        if sha256 is not None and hash_file(path) != sha256:
            raise InputError(
                f"{path}: not the weights that the config beside it belongs to, or damaged; "
                "copy both again, or finish the run with --resume"
            )
        with safe_open(path, framework="pt") as file:
            named = [(rename(key), key) for key in file.keys()]  # noqa: SIM118
            weights = {name: file.get_tensor(key) for name, key in named if name is not None}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: {_what_instead(path, error)}") from error
    for key, tensor in weights.items():
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise InputError(f"{path}: {shown(key)} holds values that are not finite numbers")
    return weights


def _what_instead(path: Path, error: Exception) -> str:
    """Say what is there in place of safetensors."""
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(512))
    except OSError:
        kind = None
    return f"{kind or f'not a whole safetensors file ({reason_of(error)})'}; {SAFETENSORS_ONLY}"


def load_network(
    path: Path,
    build: Callable[[], Network],
    blamed: Path,
    sha256: str | None = None,
    rename: Callable[[str], str | None] = str,
) -> Network:
    """Build a network and give it the weights of a file, if they are its own.

    Args:
        path: safetensors file.
        build: makes the network; called once without memory for its weights, and once with.
        blamed: file to name where the network cannot be made.
        sha256: SHA-256 of the file that its config gives, or None where it gives none.
        rename: returns the network's name of a tensor from the file's, None for one to be left out.

    Raises:
        InputError: if the file is missing, damaged, or holds other weights than the network has;
            the first differences are listed.
    """
    shapes = {rename(key): shape for key, shape in read_shapes(path).items()}
    stored = {key: shape for key, shape in shapes.items() if key is not None}
    check_network(path, build, blamed, stored)
    weights = _read_weights(path, sha256, rename)
    network = build()
    check_values(path, weights_of(network), weights)
    network.load_state_dict({**network.state_dict(), **weights})  # counters begin anew
    return network


def check_network(path: Path, build: Callable[[], nn.Module], blamed: Path, stored: Shapes) -> None:
    """Check that a network can be made, and has tensors of the shapes in a file.

    Args:
        path: safetensors file, which need not be there.
        build: makes the network; called without memory for its weights.
        blamed: file to name where the network cannot be made.
        stored: shapes of the tensors by the network's names.

    Raises:
        InputError: if it cannot be made, or has other tensors; the first differences are listed.
    """
    try:
        with torch.device("meta"), _NoNorms():  # a config may ask for more than the machine has
            expected = shapes_of(weights_of(build()))
    except UsageError as error:
        raise InputError(f"{blamed}: {fit_line(str(error), _MAX_TOLD)}") from error
    check_shapes(path, expected, stored)


class _NoNorms(TorchFunctionMode):
    """Leave out the norms of normalised weights, of which only the shapes are wanted.

    For tensors without memory PyTorch computes them by its compiler, whose import takes seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.norm_except_dim:
            weight, _, dim = args
            return weight.new_empty([n if k == dim else 1 for k, n in enumerate(weight.shape)])
        if func is normalize:
            return args[0]
        return func(*args, **(kwargs or {}))


def check_shapes(path: Path, expected: Shapes, stored: Shapes) -> None:
    """Raise an InputError unless the tensors of a file have the network's names and shapes."""
    differences = state_differences(expected, stored)
    if differences:
        raise InputError(f"{path}: other weights than the model has: {differences}")


def check_values(path: Path, expected: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Raise an InputError unless a file's tensors, of the same names, have the network's types.

    Others would be rounded in silence.
    """
    for name, tensor in expected.items():
        if stored[name].dtype != tensor.dtype:
            raise InputError(
                f"{path}: other weights than the model has: {name} is {stored[name].dtype}, not "
                f"{tensor.dtype}"
            )


def state_differences(expected: Shapes, stored: Shapes) -> str:
    """Say in one line how tensors differ by name and shape, or nothing if they do not.

    Example:
        >>> state_differences({"a": [1], "b": [2]}, {"b": [3], "c": [4]})
        'a is missing; b is [3], not [2]; c is unknown'
    """
    said = []
    for key in sorted(expected.keys() | stored.keys()):
        if key not in stored:
            said.append(f"{key} is missing")
        elif key not in expected:
            said.append(f"{shown(key)} is unknown")
        elif list(expected[key]) != list(stored[key]):
            said.append(f"{key} is {shown(list(stored[key]))}, not {list(expected[key])}")
    told = said[:_NUM_DIFFERENCES_TOLD]
    if len(said) > len(told):
        told.append(f"and {len(said) - len(told)} more")
    return "; ".join(told)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Return the shape of every tensor."""
    return {key: list(tensor.shape) for key, tensor in tensors.items()}


def read_json(path: Path) -> dict[str, Any]:
    """Read a config; an InputError says that it is missing, too large or no JSON object."""
    what = "a model, a folder that `bcsim train` wrote"
    return parse_config(read_bytes(path, _MAX_CONFIG_BYTES, what), path)


def parse_config(content: bytes, path: Path) -> dict[str, Any]:
    """Return what a config says that is, or is to be, in a file; see `read_json`."""
    if len(content) > _MAX_CONFIG_BYTES:
        raise InputError(f"{path}: larger than {_MAX_CONFIG_BYTES} bytes; this is no model config")
    try:
        config = parse_json(content)
    except ValueError as error:
        what = kind_of(content) or f"not JSON ({reason_of(error)})"
        raise InputError(f"{path}: {what}; this is no model config") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: not a JSON object; this is no model config")
    return config


@dataclass(frozen=True)
class NetworkFiles(Generic[Network]):
    """The two files of a kind of networks: weights, and a config that says what they are of.

    Args:
        kind: kind of the networks, such as "enhancer".
        key: name in the config of what `build` takes.
        weights_name: name of the safetensors file.
        config_name: name of the JSON file.
        build: makes a network of what the config holds under `key`.
        check: raises an InputError for what is wrong with a config, of that path, besides; it may
            fill in what older versions did not write.
        schema: number of the config's format.
    """

    kind: str
    key: str
    weights_name: str
    config_name: str
    build: Callable[[Mapping[str, Any]], Network]
    check: Callable[[dict[str, Any], Path], None] = lambda config, path: None
    schema: int = 1

    def save(
        self,
        folder: Path,
        network: nn.Module,
        spec: Mapping[str, Any],
        told: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a network, each file whole or not at all, once both were found to be readable.

        Args:
            folder: folder of the files.
            network: network to save.
            spec: what `build` makes such a network of.
            told: what the config says of the network besides.
            facts: further content of the config, under "facts"; None for none.

        Raises:
            ValueError: if a weight is not a finite number.
            InputError: if the config could not be read again, or makes another network.
            EnvironmentFault: if the disk is full or forbidden.
        """
        content = pack_weights(weights_of(network))
        config = {
            "format": f"bcsim-{self.kind}",
            "schema": self.schema,
            self.key: dict(spec),
            **(told or {}),
            "weights_sha256": hashlib.sha256(content).hexdigest(),
            "bcsim_version": bcsim.__version__,
        }
        if facts is not None:
            config["facts"] = dict(facts)
        weights_path, config_path = folder / self.weights_name, folder / self.config_name
        text = to_json(config).encode("utf-8")
        back = self._checked(parse_config(text, config_path), config_path)
        stored = shapes_of(weights_of(network))
        check_network(weights_path, lambda: self.build(back[self.key]), config_path, stored)
        write_bytes(weights_path, content)
        write_bytes(config_path, text)

    def read_config(self, folder: Path) -> dict[str, Any]:
        """Return the config, in which `key` is a mapping and "weights_sha256" a string.

        Raises:
            InputError: if the config is missing or damaged, or of another kind or schema.
        """
        path = folder / self.config_name
        return self._checked(read_json(path), path)

    def load(self, folder: Path, config: Mapping[str, Any] | None = None) -> Network:
        """Read a network that `save` wrote, on the CPU.

        Args:
            folder: folder of the files.
            config: what `read_config` returned; None to read it.

        Raises:
            InputError: if a file is missing, damaged, newer than this version, or holds other
                weights than the network has; the first differences are listed.
        """
        config = self.read_config(folder) if config is None else config
        return load_network(
            folder / self.weights_name,
            lambda: self.build(config[self.key]),
            blamed=folder / self.config_name,
            sha256=config["weights_sha256"],
        )

    def _checked(self, config: dict[str, Any], path: Path) -> dict[str, Any]:
        if config.get("format") != f"bcsim-{self.kind}":
            raise InputError(f"{path}: not the config of a bcsim {self.kind}")
        if type(config.get("schema")) is not int or config["schema"] != self.schema:
            raise InputError(
                f"{path}: schema {shown(config.get('schema'))}, this version of bcsim reads "
                f"{self.schema}; use the version that wrote it"
            )
        is_whole = isinstance(config.get("weights_sha256"), str)
        if not (isinstance(config.get(self.key), dict) and is_whole):
            raise InputError(f"{path}: {self.key!r} or 'weights_sha256' is missing")
        self.check(config, path)
        return config
