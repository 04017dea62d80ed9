"""Archive an experiment: one reproducible zip with all that a reader needs, and its hashes."""

import os
from pathlib import Path
from typing import Any

from em_tiers.archive.contents import (
    code_files,
    output_folders,
    resource_entries,
    result_entries,
    revision_of,
)
from em_tiers.archive.crate import NAME, crate_metadata
from em_tiers.archive.places import Places
from em_tiers.archive.records import read_records
from em_tiers.archive.scrub import check_entries, hide_places, secrets_of
from em_tiers.archive.study_files import study_files
from em_tiers.archive.zip_file import Entry, json_bytes, write_archive
from em_tiers.errors import UserError
from em_tiers.logs import LOG, run_script
from em_tiers.versions import installed_versions


def main(
    archive: Path,
    config: dict[str, Any],
    catalogues: dict[str, dict[str, Any]],
    configfiles: list[str],
    root: Path,
    workdir: Path,
    adapters: bool = False,
    training_text: bool = False,
) -> None:
    """Write the archive of results/EXPERIMENT.

    Args:
        config: the configuration as it took effect; names the experiment.
        catalogues: entries by id of each catalogue, as they took effect.
        configfiles: the configuration files that were read.
        root: the workflow's folder.
        workdir: the folder that holds results/.
        adapters: include adapters.
        training_text: include training rows, where their licences allow it.

    Raises:
        UserError: there is nothing to archive, or a file holds a secret; nothing is written.
    """
    experiment = config["experiment"]
    root, workdir = root.absolute(), workdir.absolute()
    results = list(result_entries(workdir, experiment, adapters, training_text))
    records = read_records(workdir, experiment)
    if not results or not records:
        raise UserError(
            f"archive: results/{experiment} has no finished results: run the experiment first"
        )
    used = {kind: entries for kind, entries in catalogues.items() if kind != "datasets"}
    study = study_files(root, workdir, configfiles, [config, used])
    own = set(study.values())
    code = [name for name in code_files(root) if root / name not in own]
    places = Places(root, workdir, Path.home(), frozenset(code))
    entries = [
        *results,
        *resource_entries(workdir, records, training_text),
        *(_read(f"code/{name}", root / name) for name in code),
        *(_read(f"study/{name}", path) for name, path in study.items()),
    ]
    names = {entry.name for entry in entries}
    folders = output_folders(workdir, records, names)
    left_out = [key for key in records if (workdir / key).is_file() and key not in names]
    left_out += [f"{folder}/" for folder, complete in folders.items() if not complete]
    LOG.info("left out, whole or in part: %s", ", ".join(left_out) or "nothing")
    revision = revision_of(root)
    provenance = {
        "config.json": config,
        "catalogues.json": catalogues,
        "revision.json": revision,
        "versions.json": installed_versions(),
        "snakemake.json": {"records": places.hide_in_record(records), "folders": folders},
        "archive.json": {
            "experiment": experiment,
            "adapters": adapters,
            "training_text": training_text,
            "left_out": left_out,
            "inside_checkout": workdir == root,
        },
    }
    entries = [hide_places(entry, places) for entry in entries]
    entries += [
        Entry(f"provenance/{name}", content=places.hide(json_bytes(value).decode()).encode())
        for name, value in provenance.items()
    ]
    check_entries(entries, Path.home(), secrets_of(os.environ, catalogues))
    files = {entry.name: (entry.size, entry.sha256()) for entry in entries}
    metadata = crate_metadata(
        files,
        experiment,
        config.get("title") or experiment,
        revision,
        installed_versions()["packages"]["snakemake"],
        times_of(records),
    )
    crate = Entry(NAME, content=metadata)
    hashes = {name: digest for name, (_, digest) in files.items()} | {NAME: crate.sha256()}
    write_archive([*entries, crate], hashes, archive)
    LOG.info("%s: %d files, %.1f MB", archive, len(hashes), archive.stat().st_size / 1e6)


def _read(name: str, path: Path) -> Entry:
    """A small file as it is now; it may be edited while the rest is read."""
    return Entry(name, path, path.read_bytes())


def times_of(records: dict[str, dict[str, Any]]) -> tuple[float, float]:
    """When the first recorded job began and the last one ended."""
    starts = [r["starttime"] for r in records.values() if r["starttime"]]
    ends = [r["endtime"] for r in records.values() if r["endtime"]]
    return min(starts, default=0.0), max(ends, default=0.0)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        archive=Path(job.output.archive),
        config=job.params.config,
        catalogues=job.params.catalogues,
        configfiles=list(job.params.configfiles),
        root=Path(__file__).parents[1],
        workdir=Path.cwd(),
        adapters=job.params.get("adapters", False),
        training_text=job.params.get("training_text", False),
    )
