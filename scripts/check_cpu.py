"""Check that the CPU builds of torch and vLLM run on this machine, before anything is installed.

    python scripts/check_cpu.py [--cpuinfo FILE]

Runs before the environment exists, so it needs the standard library only.
"""

import argparse
import platform
import re
import sys
from pathlib import Path

ELSEWHERE = "`make setup-login` for everything but models"


def read_field(cpuinfo: str, field: str) -> str:
    """The first processor's value of a field of /proc/cpuinfo; empty where there is none."""
    found = re.search(rf"^{field}\s*:[ \t]*(.*)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else ""


def find_problem(machine: str, system: str, cpuinfo: str) -> str | None:
    """Why the CPU builds cannot run here, and the remedy; None when they can.

    A CPU whose flags cannot be read passes: a sandbox may hide /proc/cpuinfo.
    """
    if system != "Linux":
        return (
            f"this system ({system}) is not Linux, and the CPU build of vLLM runs on Linux only: "
            "use an x86-64 Linux machine"
        )
    if machine != "x86_64":
        return (
            f"this CPU ({machine}) is not x86-64, and the CPU builds of torch and vLLM run on "
            f"x86-64 only: use an x86-64 Linux machine, or {ELSEWHERE}"
        )
    flags = read_field(cpuinfo, "flags").split()
    if flags and "avx2" not in flags:
        model = read_field(cpuinfo, "model name") or "unknown model"
        return (
            f"this CPU ({model}) has no AVX2, which the CPU build of vLLM needs: use a CPU with "
            "AVX2 (on a virtual machine, one that passes on the host's CPU flags), "
            f"or {ELSEWHERE}"
        )
    return None


def main() -> None:
    """Exit with one line when this machine cannot run the CPU builds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cpuinfo", type=Path, default=Path("/proc/cpuinfo"), metavar="FILE")
    file = parser.parse_args().cpuinfo
    cpuinfo = file.read_text(errors="replace") if file.exists() else ""
    if problem := find_problem(platform.machine(), platform.system(), cpuinfo):
        sys.exit(f"set-up: {problem}")


if __name__ == "__main__":
    main()
