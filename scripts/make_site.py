"""Write slurm/site.yaml from the scheduler's report: partitions, limits, GPUs, accounting.

Run on the login node: `make site`, or `python scripts/make_site.py FILE`. Read the result before
the first run: the scheduler does not say which partitions you are meant to use.
"""

import re
import subprocess
import sys
from pathlib import Path

# Partition, time limit, CPUs, memory in MB and GPUs of a node, state: one line per kind of node.
COLUMNS = "%P|%l|%c|%m|%G|%a"
HEAD = """\
# Written by `make site`; slurm/site.example.yaml shows the other settings.
# Delete partitions that you should not use: debugging, other groups, preemptible ones.
partitions:
"""


def parse_partitions(report: str) -> dict[str, dict]:
    """Limits of the largest node of each partition that is up, keyed by partition.

    Args:
        report: output of `sinfo --noheader --format` with COLUMNS.
    """
    partitions: dict[str, dict] = {}
    for line in report.splitlines():
        name, limit, cpus, memory, gres, state = line.strip().split("|")
        if state != "up":
            continue
        # The default partition has a star, and a number may have a plus: "at least".
        limits = partitions.setdefault(name.rstrip("*"), {})
        if limit not in ("infinite", "n/a"):
            limits["max_runtime"] = parse_minutes(limit)
        for key, value in (("max_threads", cpus), ("max_mem_mb", memory)):
            limits[key] = max(limits.get(key, 0), int(value.rstrip("+")))
        for model, number in parse_gpus(gres):
            limits["max_gpu"] = max(limits.get("max_gpu", 0), number)
            if model:
                models = limits.setdefault("available_gpu_models", [])
                limits["available_gpu_models"] = sorted({*models, model})
    return partitions


def parse_minutes(limit: str) -> int:
    """Whole minutes of a time limit as sinfo prints it: `1-00:00:00`, `8:00:00` or `30:00`.

    The executor plugin would read `30:00`, half an hour of a debug partition, as 30 hours.
    """
    days, _, time = limit.rpartition("-")
    hours, minutes, _ = ("0:" * (2 - time.count(":")) + time).split(":")
    return (int(days or 0) * 24 + int(hours)) * 60 + int(minutes)


def parse_gpus(gres: str) -> list[tuple[str, int]]:
    """Kinds and numbers of GPUs of a node, from `gpu:h100:4(S:0-1),nvme:1`."""
    found = re.findall(r"(?:^|,)gpu(?::([^:,(]+))?:(\d+)", gres)
    return [(model, int(number)) for model, number in found]


def format_site(partitions: dict[str, dict], accounting: bool) -> str:
    lines = [HEAD]
    for name, limits in partitions.items():
        lines.append(f"  {name}:\n")
        for key, value in limits.items():
            shown = f"[{', '.join(value)}]" if isinstance(value, list) else value
            lines.append(f"    {key}: {shown}\n")
    if not accounting:
        lines.append("\nprofile:\n  # This site keeps no accounting, so sacct returns nothing.\n")
        lines.append("  slurm-status-command: squeue\n  slurm-efficiency-report: false\n")
    return "".join(lines)


def ask(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        sys.exit(f"{command[0]} was not found: run this on the cluster's login node")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(command)}: {error.stderr.strip()}")


def main(path: Path) -> None:
    if path.exists():
        sys.exit(f"{path} exists: edit it, or move it away to write a new one")
    partitions = parse_partitions(ask("sinfo", "--noheader", f"--format={COLUMNS}"))
    if not partitions:
        sys.exit("sinfo reports no partition that is up: ask your site which ones you can use")
    # Without accounting older versions say accounting_storage/none, newer ones (null).
    accounting = "accounting_storage/slurmdbd" in ask("scontrol", "show", "config")
    path.write_text(format_site(partitions, accounting), encoding="utf-8")
    print(f"{path} was written: delete the partitions in it that you should not use")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/make_site.py FILE")
    main(Path(sys.argv[1]))
