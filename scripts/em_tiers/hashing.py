"""The canonical form of a value, and hashes and seeds made from it."""

import hashlib
import json
from typing import Any

# json.dumps makes an encoder for each call.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text in any key order."""
    return _CANONICAL.encode(value)


def hash_of(value: Any, length: int = 32) -> str:
    """Hex SHA-256 of the canonical JSON of `value`, cut to `length` digits (default 128 bits)."""
    return hash_of_json(canonical_json(value), length)


def hash_of_json(text: str, length: int = 32) -> str:
    """`hash_of` the value whose canonical JSON is `text`."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def seed_of(*parts: Any) -> int:
    """A seed in [0, 2^31) that depends on every part, so no two requests share a random stream."""
    return int(hash_of(list(parts), 16), 16) % 2**31
