"""The address of an endpoint: checked before a run, and again where requests are sent."""

import ipaddress
import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from em_tiers.errors import UserError

# What a query may hold: it is written into logs, records and archives, so it must not be a key.
QUERY = ("api-version",)
# Beginnings of keys of the usual providers.
_KEYS = ("sk-", "sk_", "hf_", "gsk_", "key-", "AKIA", "AIza")
_SHORTEST_KEY = 16  # characters
# Names of letters, digits, hyphens and underscores between single points, or an IPv6 address.
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|[0-9a-f:.%]+", re.ASCII)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that nothing sent to it can be read on a network."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_base_url(url: str) -> SplitResult:
    """The parts of a base_url that requests can be sent to.

    Raises:
        UserError: it is not an http(s) address with a host and a valid port, or holds a key.
    """
    shown = url.partition("?")[0].rpartition("@")[2]  # without what may be a key
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UserError(f"base_url: {shown!r}: {error}: write http(s)://HOST:PORT/PATH") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UserError(f"base_url: {shown!r}: must be http(s)://HOST:PORT/PATH")
    if not _HOST.fullmatch(parts.hostname):
        raise UserError(f"base_url: {shown!r}: {parts.hostname!r} is not a host: correct it")
    if parts.username or parts.password:
        raise UserError(
            f"base_url: the address of {parts.hostname} holds a user or password: use key_env"
        )
    unknown = [name for name, _ in parse_qsl(parts.query, True) if name not in QUERY]
    if unknown:
        raise UserError(
            f"base_url: the query for {parts.hostname} holds {unknown[0]!r}, but may hold "
            f"{', '.join(QUERY)} only: use key_env for a key"
        )
    if parts.fragment:
        raise UserError(f"base_url: {shown!r}: ends in a fragment: remove the part from # on")
    if parts.path.rstrip("/").endswith("/completions"):
        raise UserError(
            f"base_url: {shown!r}: ends in the address of one request: write it up to and with /v1"
        )
    words = parts.path.split("/")
    if any(len(word) >= _SHORTEST_KEY and word.startswith(_KEYS) for word in words):
        raise UserError(f"base_url: the path on {parts.hostname} holds a key: use key_env")
    return parts
