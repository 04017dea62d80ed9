"""Commits of hub repositories that the catalogue leaves open, in a file of the user's.

`make pin` writes `pins.yaml` beside results/, as {models: {OWNER/NAME: {revision, date}}, datasets:
...}. A revision of null in a catalogue or a block takes the commit from there.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from em_tiers.errors import ConfigError
from em_tiers.study.schema import load_yaml
from em_tiers.study.source_checks import sources_in_use
from em_tiers.study.study import Study

FILE = "pins.yaml"
KINDS = ("models", "datasets")


def read_pins(workdir: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The pins of a working folder by kind and repository; empty without a file.

    Raises:
        ConfigError: the file holds something else.
    """
    path = workdir / FILE
    if not path.is_file():
        return {kind: {} for kind in KINDS}
    found = load_yaml(path)
    if not isinstance(found, dict) or set(found) - set(KINDS):
        raise ConfigError(f"{path}: not a file of pins: remove it, and run make pin again")
    for kind, pins in found.items():
        for name, pin in (pins or {}).items():
            revision = pin.get("revision") if isinstance(pin, dict) else None
            if not re.fullmatch("[0-9a-f]{40}", str(revision)):
                raise ConfigError(
                    f"{path}: {kind}.{name}.revision: {revision!r} is not a full commit of 40 "
                    "hexadecimal digits: correct it, or run make pin again"
                )
    return {kind: found.get(kind) or {} for kind in KINDS}


def open_sources(study: Study) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(kind, repository, source) of each hub source in use without a revision."""
    used = [(name, source) for name, _, source in sources_in_use(study)]
    used += [("models", b["adapter"]) for b in study.config["variants"] if b["adapter"]]
    for catalogue, source in used:
        if source["type"] == "hub" and not source["revision"]:
            yield "models" if catalogue == "models" else "datasets", source["id"], source


def apply_pins(study: Study) -> None:
    """Take open revisions from the working folder's pins.

    Raises:
        ConfigError: the file of pins cannot be used.
    """
    pins = read_pins(study.workdir)
    for kind, name, source in open_sources(study):
        if name in pins[kind]:
            source["revision"] = pins[kind][name]["revision"]
