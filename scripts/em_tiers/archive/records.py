"""Snakemake's records of finished outputs, taken out of `.snakemake` and put back.

Snakemake reruns a job when the params, inputs or code that it recorded for an output differ from
those of today. Without records it would look at file times only, and a changed judge would go
unseen. Each record is one JSON file in `.snakemake/metadata`, named by the base64 of the output's
path (cut into folders named `@...` where the file system forbids longer names).
"""

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Any
from zlib import crc32

from em_tiers.files import read_record

# What Snakemake compares, and when the job ran. Job ids, hashes of a process and conda files stay.
KEPT = (
    "rule",
    "input",
    "log",
    "shellcmd",
    "params",
    "code",
    "record_format_version",
    "container_img_url",
    "software_stack_hash",
    "starttime",
    "endtime",
    "input_checksums",
)


def read_records(workdir: Path, experiment: str) -> dict[str, dict[str, Any]]:
    """Records by output path: of the experiment, and of the resources that it used."""
    found = {}
    folder = workdir / ".snakemake" / "metadata"
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        key = _output_of(path.relative_to(folder))
        if key and key.startswith("results/"):
            record = read_record(path, {})
            found[key] = {name: record.get(name) for name in KEPT}
    own = {key for key in found if key.startswith(f"results/{experiment}/")}
    waiting, used = list(own), set(own)
    while waiting:
        for needed in found[waiting.pop()]["input"] or []:
            if needed in found and needed not in used:
                used.add(needed)
                waiting.append(needed)
    return {key: found[key] for key in sorted(used)}


def write_records(workdir: Path, records: dict[str, dict[str, Any]]) -> None:
    """Write records where Snakemake looks for them."""
    folder = workdir / ".snakemake" / "metadata"
    # Without this folder Snakemake takes the records for those of an old version.
    (workdir / ".snakemake" / "incomplete").mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    longest = os.pathconf(folder, "PC_NAME_MAX")
    for key, record in records.items():
        path = folder / _path_of(key, longest)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {name: record.get(name) for name in KEPT} | {"incomplete": False}
        # Snakemake's report asks for both; by the first it tells which outputs are of one job.
        content["job_hash"] = crc32(f"{record.get('rule')} {record.get('starttime')}".encode())
        content["conda_env"] = None
        path.write_text(json.dumps(content), encoding="utf-8")


def _output_of(path: Path) -> str | None:
    """The output that a record's file stands for; None for any other file."""
    encoded = "".join([part.removeprefix("@") for part in path.parts])
    try:
        return urlsafe_b64decode(encoded).decode()
    except ValueError:
        return None


def _path_of(key: str, longest: int) -> Path:
    encoded = urlsafe_b64encode(key.encode()).decode()
    pieces = [encoded[i : i + longest - 1] for i in range(0, len(encoded), longest - 1)]
    return Path(*(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
