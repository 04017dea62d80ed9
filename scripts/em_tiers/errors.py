"""Errors that a user can correct, those that may pass, and the check of a reference."""

import difflib
from collections.abc import Collection

_LISTED = 20  # names in a message


class UserError(Exception):
    """Bad input from outside: a configuration value, a data row, a file or an endpoint.

    The message names the key, the value and the remedy in one line; scripts print it without a
    traceback. A retry of the job would fail in the same way.
    """


class ConfigError(UserError):
    """A configuration or catalogue entry that cannot be used."""


class TemporaryError(UserError):
    """A failure that may pass: a busy server, a cut connection, a file held by another job.

    Attributes:
        retry_after_s: seconds that the other side wants to be left alone; None: it does not say.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None):
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def require_known(name: str, names: Collection[str], where: str, kind: str) -> None:
    """Check that a configuration refers to something that exists.

    Args:
        names: what may be named.
        where: the key that holds `name`, such as "config.judges".
        kind: what `name` should be, such as "judge".

    Raises:
        ConfigError: `name` is not in `names`; the message suggests the nearest one.
    """
    if name in names:
        return
    near = difflib.get_close_matches(str(name), list(names), n=1)
    if near:
        remedy = f"did you mean {near[0]!r}?"
    elif names:
        more = ", ..." if len(names) > _LISTED else ""
        remedy = f"use one of {', '.join(sorted(names)[:_LISTED])}{more}"
    else:
        remedy = f"no {kind} is defined; add one"
    raise ConfigError(f"{where}: unknown {kind} {name!r}: {remedy}")
