"""YAML without duplicate keys, of which the last would win unseen; its tags run no code."""

import io
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from em_tiers.errors import ConfigError

# Brackets in a file, and characters in a line, up to which libyaml is safe.
_MOST_NESTED = 2000


class StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a mapping which names the same key twice."""


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """The same with libyaml's parser, ten times faster. It crashes on deep nesting."""


def load_strict(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ConfigError: a key twice, or one that cannot be a key.
        yaml.YAMLError, UnicodeDecodeError, RecursionError, OSError: the file cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    longest = max(map(len, text.splitlines()), default=0)
    deep = text.count("[") + text.count("{") > _MOST_NESTED or longest > _MOST_NESTED
    stream = io.StringIO(text)
    stream.name = str(path)  # for messages
    return yaml.load(stream, Loader=StrictLoader if deep else _FastLoader)


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        where = f"{key_node.start_mark.name}:{key_node.start_mark.line + 1}"
        if not isinstance(key, Hashable):
            raise ConfigError(f"{where}: {str(key)[:80]} is not a key: write a word and a colon")
        if key in seen:
            raise ConfigError(f"{where}: duplicate key {key!r}: keep one of them")
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


for _loader in (StrictLoader, _FastLoader):
    _loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
