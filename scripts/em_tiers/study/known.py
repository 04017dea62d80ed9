"""References from one entry of the configuration to another."""

import difflib

from em_tiers.errors import ConfigError


def known(name: str, catalogue: dict, where: str, kind: str) -> None:
    """Raise unless `catalogue` holds `name`."""
    if name in catalogue:
        return
    near = difflib.get_close_matches(str(name), list(catalogue), n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(catalogue))}"
    place = "this study" if kind == "variant" else "the catalogue"
    raise ConfigError(f"{where}: {name}: is no {kind} of {place}: {hint}")
