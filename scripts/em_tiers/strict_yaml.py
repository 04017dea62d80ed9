"""YAML without duplicate keys, of which the last would win unseen; its tags run no code."""

from collections.abc import Hashable
from typing import Any

import yaml

from em_tiers.errors import ConfigError


class StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a mapping which names the same key twice."""


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


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
