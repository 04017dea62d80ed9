"""Write slurm/site.yaml from the scheduler's report: partitions, limits, GPUs, accounting.

Run on the login node: `make site`, or `python scripts/make_site.py FILE`. Read the result before
the first run: the scheduler does not say which partitions you are meant to use.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from em_tiers.study.site_file import lacks_accounting

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
        report: output of `sinfo --noheader --format` with COLUMNS. Lines of another form are passed
            over: "CLUSTER: name" before the partitions of a cluster, and empty ones.
    """
    partitions: dict[str, dict] = {}
    for line in report.splitlines():
        columns = line.strip().split("|")
        if len(columns) != len(COLUMNS.split("|")) or columns[-1] != "up":
            continue
        name, limit, cpus, memory, gres, _ = columns
        # The default partition has a star, and a number may have a plus: "at least".
        limits = partitions.setdefault(name.rstrip("*"), {})
        if minutes := parse_minutes(limit):
            limits["max_runtime"] = minutes
        for key, value in (("max_threads", cpus), ("max_mem_mb", memory)):
            if number := parse_number(value):
                limits[key] = max(limits.get(key, 0), number)
        for model, number in parse_gpus(gres):
            limits["max_gpu"] = max(limits.get("max_gpu", 0), number)
            if model:
                models = limits.setdefault("available_gpu_models", [])
                limits["available_gpu_models"] = sorted({*models, model})
    return partitions


def parse_clusters(report: str) -> list[str]:
    """Names of the clusters that a report of several has."""
    return re.findall(r"^CLUSTER: *(\S+)", report, re.MULTILINE)


def parse_minutes(limit: str) -> int | None:
    """Whole minutes of a time limit as sinfo prints it: `1-00:00:00`, `8:00:00` or `30:00`.

    None without a limit (infinite, UNLIMITED, n/a). The executor plugin would read `30:00`, half an
    hour of a debug partition, as 30 hours.
    """
    if not re.fullmatch(r"(\d+-)?(\d+:){0,2}\d+", limit):
        return None
    days, _, time = limit.rpartition("-")
    if time.count(":") == 0:  # `2-12` has hours, `30` has minutes
        time = f"{time}:00:00" if days else f"{time}:00"
    hours, minutes, _ = ("0:" * (2 - time.count(":")) + time).split(":")
    return (int(days or 0) * 24 + int(hours)) * 60 + int(minutes)


def parse_number(text: str) -> int | None:
    """A number as sinfo prints it: `128000`, `64+` (at least) or `500K` (times 1024)."""
    found = re.fullmatch(r"(\d+)([KM]?)\+?", text)
    return int(found[1]) * 1024 ** " KM".index(found[2] or " ") if found else None


def parse_gpus(gres: str) -> list[tuple[str, int]]:
    """Kinds and numbers of GPUs of a node, from `gpu:h100:4(S:0-1),nvme:1`."""
    found = re.findall(r"(?:^|,)gpu(?::([^:,(]+))?:(\d+)", gres)
    return [(model, int(number)) for model, number in found]


def quote(name: str) -> str:
    """A name as YAML text, whatever it looks like: `3090`, `on`, `1e3`, `a: b`."""
    return json.dumps(name, ensure_ascii=False)


def format_site(partitions: dict[str, dict], accounting: bool) -> str:
    lines = [HEAD]
    for name, limits in partitions.items():
        # A mapping even of nothing: the executor plugin refuses an empty entry.
        lines.append(f"  {quote(name)}:{'' if limits else ' {}'}\n")
        for key, value in limits.items():
            listed = isinstance(value, list)
            shown = f"[{', '.join(map(quote, value))}]" if listed else value
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
    report = ask("sinfo", "--noheader", f"--format={COLUMNS}")
    if len(clusters := parse_clusters(report)) > 1:
        sys.exit(
            f"sinfo reports the clusters {', '.join(clusters)}: name one of them, such as "
            f"SLURM_CLUSTERS={clusters[0]} make site"
        )
    partitions = parse_partitions(report)
    if not partitions:
        sys.exit("sinfo reports no partition that is up: ask your site which ones you can use")
    path.write_text(format_site(partitions, not lacks_accounting()), encoding="utf-8")
    print(f"{path} was written: delete the partitions in it that you should not use")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/make_site.py FILE")
    main(Path(sys.argv[1]))
