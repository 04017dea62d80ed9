"""The spellings in which a secret may come back: as it is, quoted for an address, in Base64."""

import json
from base64 import b64encode
from urllib.parse import quote

LEAST_BASE64 = 8  # bytes: what is shorter may be part of any word in Base64
SHORTEST = 4


def spellings(secret: str) -> list[str]:
    """Spellings of a secret, longest first; none of a secret that may be part of any word.

    In Base64 it may begin at any of three places, such as after "Bearer " or a user's name: each
    spelling is the part that depends on the secret alone.
    """
    if len(secret) < SHORTEST:
        return []
    found = {secret, quote(secret, safe="", errors="surrogateescape"), json.dumps(secret)[1:-1]}
    data = secret.encode("utf-8", "surrogateescape")
    for before in range(3 if len(data) >= LEAST_BASE64 else 0):
        encoded = b64encode(bytes(before) + data).decode()
        own = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        found |= {own, own.translate(str.maketrans("+/", "-_"))}
    return sorted(found, key=len, reverse=True)
