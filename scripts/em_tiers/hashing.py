"""The canonical form of a value, and hashes and seeds made from it."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text in any key order."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_of(value: Any, length: int = 32) -> str:
    """Hex SHA-256 of the canonical JSON of `value`, cut to `length` digits (default 128 bits)."""
    data = canonical_json(value).encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:length]


def seed_of(*parts: Any) -> int:
    """A seed in [0, 2^31) that depends on every part, so no two requests share a random stream."""
    return int(hash_of(list(parts), 16), 16) % 2**31
