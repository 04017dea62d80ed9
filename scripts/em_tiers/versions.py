"""Versions of the installed software, for the archive and the method page."""

import platform
from importlib.metadata import distributions
from typing import Any


def installed_versions() -> dict[str, Any]:
    """Python, the system, and every installed distribution by its name in lower case."""
    found = {d.metadata["Name"].lower(): d.version for d in distributions() if d.metadata["Name"]}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": dict(sorted(found.items())),
    }
