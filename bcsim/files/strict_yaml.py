"""YAML, read more strictly than `yaml.safe_load` reads it."""

from typing import Any

import yaml

from bcsim.files.text import MAX_DEPTH, reason_of, shown

MAX_CHARACTERS = 1 << 18  # of a YAML text
MAX_NODES = 30_000  # of a YAML text, with its aliases written out: each takes 0.1 ms
_TAGS = {"str", "int", "float", "bool", "null", "seq", "map", "merge"}  # what JSON has, too


def parse_yaml(text: str) -> Any:
    """Return what YAML says, more strictly than `yaml.safe_load`.

    Raises:
        ValueError: if it is not YAML, says a key twice, or is deep or large beyond reason.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{len(text)} characters, and {MAX_CHARACTERS} are read at most")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {})
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(reason_of(error)) from error
    except LookupError as error:  # as PyYAML lets it through of `!!bool x`
        raise ValueError("a value is not what its tag says") from error
    except (RecursionError, OverflowError) as error:
        raise ValueError("nested too deep, or a number too large") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, which ends where there are too many nodes, before it has read them all."""

    num_nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES} values; shorten the lists in it")
        return super().compose_node(parent, index)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of nodes from a node down and their depth, or raise if it is not plain.

    `known` holds the results for other nodes by `id`; None while a node is being measured.
    """
    line = node.start_mark.line + 1
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    if tag not in _TAGS:
        raise ValueError(f"line {line}: a {shown(tag)}; write it in quotes")
    if id(node) in known:
        before = known[id(node)]
        if before is None:
            raise ValueError(f"line {line}: an alias stands within what it stands for")
        return before
    known[id(node)] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        seen: set[tuple[str, str]] = set()
        for key, value in node.value:
            inner += [key, value]
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    where = f"line {key.start_mark.line + 1}"
                    raise ValueError(f"{where}: the key {shown(key.value)!r} is there twice")
                seen.add((key.tag, key.value))
    found = [_measure(part, known) for part in inner]
    size = 1 + sum(count for count, _ in found)
    depth = 1 + max((depth for _, depth in found), default=0)
    if depth > MAX_DEPTH or size > MAX_NODES:
        raise ValueError(f"line {line}: deeper than {MAX_DEPTH} levels, or too large")
    known[id(node)] = size, depth
    return size, depth
