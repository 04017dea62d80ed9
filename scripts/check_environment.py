"""Check the CPU environment: `pip check` may report the known gaps of envs/ and nothing else."""

import subprocess
import sys
from pathlib import Path

KNOWN_GAPS = Path(__file__).parents[1] / "envs" / "known-gaps.txt"


def read_known_gaps(path: Path = KNOWN_GAPS) -> set[tuple[str, str]]:
    """(distribution, requirement) pairs that may be unmet."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return {tuple(part.strip() for part in line.split(":")) for line in lines if line}


def parse_gap(line: str) -> tuple[str, str]:
    """The (distribution, requirement) that a line of `pip check` reports."""
    name, _, rest = line.partition(" ")
    requirement = rest.partition("require")[2].partition(" ")[2].removeprefix("ment ")
    return name, "".join(c if c.isalnum() or c in "-_." else " " for c in requirement).split()[0]


def main() -> None:
    """Exit with a message when the environment is not the locked one."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"]
    output = subprocess.run(command, capture_output=True, text=True).stdout
    gaps = [line for line in output.splitlines() if " require" in line]
    unknown = [line for line in gaps if parse_gap(line) not in read_known_gaps()]
    if unknown:
        sys.exit("environment: not the locked one: make clean setup\n" + "\n".join(unknown))


if __name__ == "__main__":
    main()
