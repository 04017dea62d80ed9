"""Versions of the installed software, for the archive and the method page."""

import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import Any


def installed_versions() -> dict[str, Any]:
    """Python, the system, and every installed distribution by its name in lower case."""
    # A distribution parses its metadata again at each access.
    about = (distribution.metadata for distribution in distributions())
    found = {each["Name"].lower(): each["Version"] for each in about if each["Name"]}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": dict(sorted(found.items())),
    }


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of those named distributions that are installed."""
    found = {"Python": platform.python_version()}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
