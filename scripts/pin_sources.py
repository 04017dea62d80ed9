"""Resolve revisions that a study leaves open to the commits that the hub has now: `make pin`.

They are written to pins.yaml in the working folder, which every later run reads.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml

from em_tiers.download.http import PATIENT, Patience
from em_tiers.download.hub import latest_commit
from em_tiers.errors import ConfigError, UserError
from em_tiers.files import write_text
from em_tiers.study.load import load_study
from em_tiers.study.pins import FILE, open_sources, read_pins
from em_tiers.study.schema import load_yaml

ROOT = Path(__file__).resolve().parents[1]
HEADER = "# Commits of repositories that the catalogue leaves open. Written by make pin.\n"


def main(config: Path, root: Path, workdir: Path, patience: Patience = PATIENT) -> list[str]:
    """Write pins.yaml for a configuration; returns a line in words for each repository.

    Raises:
        UserError: the configuration is wrong, or the hub does not give a commit.
    """
    study = load_study(load_yaml(config), root, workdir, [str(config)], pinned=False)
    pins, lines = read_pins(workdir), []
    for kind, name in dict.fromkeys((kind, name) for kind, name, _ in open_sources(study)):
        commit = latest_commit(name, kind.removesuffix("s"), patience)
        before = pins[kind].get(name, {}).get("revision")
        if before == commit:
            lines.append(f"{name}: unchanged, {commit}")
            continue
        pins[kind][name] = {"revision": commit, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        lines.append(f"{name}: {f'{before} is now ' if before else ''}{commit}")
    if lines:
        kept = {kind: dict(sorted(found.items())) for kind, found in pins.items() if found}
        write_text(workdir / FILE, HEADER + yaml.safe_dump(kept))
    return lines or ["every source of this study has a revision: nothing to pin"]


if __name__ == "__main__":
    try:
        print("\n".join(main(Path(sys.argv[1]), ROOT, Path.cwd())))
    except (ConfigError, UserError) as error:
        sys.exit(str(error))
