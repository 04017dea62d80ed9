"""The archive described for machines: a Workflow Run RO-Crate.

Profiles: Workflow Run Crate 0.5 and Process Run Crate 0.5 (Leo et al. 2024, PLoS ONE 19,
e0309210), Workflow RO-Crate 1.0, RO-Crate 1.1. The workflow is the Snakefile, the run one
CreateAction with the configuration and the data manifests as objects and the tables, figures and
answers as results.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from em_tiers.archive.zip_file import json_bytes

NAME = "ro-crate-metadata.json"
CRATE_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
BIOSCHEMAS = "https://bioschemas.org/profiles"
WORKFLOW = "code/Snakefile"
LICENCE = "https://spdx.org/licenses/Apache-2.0"
MEDIA_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".md": "text/markdown",
    ".tex": "application/x-tex",
    ".pdf": "application/pdf",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".html": "text/html",
    ".zip": "application/zip",
    ".py": "text/x-python",
    ".yaml": "application/yaml",
}
RESULT_FOLDERS = ("responses", "verdicts", "outcomes", "tables", "figures", "training")


def crate_metadata(
    files: dict[str, tuple[int, str]],
    experiment: str,
    title: str,
    code: dict[str, Any],
    snakemake: str,
    times: tuple[float, float],
) -> bytes:
    """The metadata document.

    Args:
        files: (bytes, SHA-256) of each name in the archive.
        title: of the experiment.
        code: git revision and dirty mark of the workflow.
        snakemake: its version.
        times: when the first job began and the last one ended, in seconds since 1970.
    """
    crate = ROCrate(gen_preview=False, version="1.1")
    root = crate.root_dataset
    start, end = (datetime.fromtimestamp(t, UTC).isoformat(timespec="seconds") for t in times)
    root.properties().pop("datePublished", None)
    # The date of the last result, not of the archive: the same results give the same bytes.
    root["datePublished"] = end
    root["name"] = f"{title} ({experiment})"
    root["description"] = (
        "Results of the em-tiers workflow: configuration, code, answers, verdicts, outcomes, "
        "tables and figures."
    )
    root["license"] = _entity(
        crate, LICENCE, "CreativeWork", name="Apache License 2.0", url=LICENCE,
        description="Of the workflow; models, data and answers have their own licences.",
    )  # fmt: skip
    profiles = [
        _entity(crate, uri, "CreativeWork", name=name, version=uri.rsplit("/", 1)[1])
        for uri, name in CRATE_PROFILES.items()
    ]
    root["conformsTo"] = profiles
    own = {"@id": "https://w3id.org/ro/crate/1.1"}
    crate.metadata["conformsTo"] = [own, {"@id": profiles[-1].id}]
    crate.metadata.extra_contexts.append(TERMS)
    listed = {name: _file_entity(crate, name, *facts) for name, facts in sorted(files.items())}
    root["hasPart"] = list(listed.values())
    workflow = _describe_workflow(crate, listed, code, snakemake)
    root["mainEntity"] = workflow
    root["mentions"] = _entity(
        crate, f"#run-{experiment}", "CreateAction",
        name=f"Run of experiment {experiment}",
        description="All jobs of the experiment, from the first one's start to the last one's end",
        instrument=workflow,
        object=_chosen(listed, ("provenance/config.json",), "/manifest.json"),
        result=[e for name, e in listed.items() if _part(name) in RESULT_FOLDERS],
        startTime=start,
        endTime=end,
        agent=_entity(crate, "#agent", "Person", name="Workflow operator"),
        actionStatus="http://schema.org/CompletedActionStatus",
    )  # fmt: skip
    document = crate.metadata.generate()
    document["@graph"].sort(key=lambda entity: entity["@id"])
    return json_bytes(document)


def _describe_workflow(
    crate: ROCrate, listed: dict[str, ContextEntity], code: dict[str, Any], snakemake: str
) -> ContextEntity:
    workflow = listed[WORKFLOW]
    workflow["name"] = "em-tiers"
    workflow["conformsTo"] = _entity(
        crate, f"{BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE", "CreativeWork",
        name="ComputationalWorkflow", version="1.0-RELEASE",
    )  # fmt: skip
    workflow["programmingLanguage"] = _entity(
        crate, SNAKEMAKE, "ComputerLanguage", name="Snakemake", version=snakemake,
        identifier="https://doi.org/10.1093/bioinformatics/bts480",
        url="https://snakemake.readthedocs.io",
    )  # fmt: skip
    if code["revision"]:
        workflow["version"] = code["revision"] + ("-dirty" if code["dirty"] else "")
    workflow["input"] = _parameter(crate, "configuration", "provenance/config.json", listed)
    workflow["output"] = [
        _parameter(crate, name, path, listed) for name, path in _first_results(listed).items()
    ]
    return workflow


def _first_results(listed: Iterable[str]) -> dict[str, str]:
    """One file for each kind of result, as the example of a workflow output."""
    found: dict[str, str] = {}
    for name in listed:
        if _part(name) in RESULT_FOLDERS:
            found.setdefault(_part(name), name)
    return found


def _parameter(
    crate: ROCrate, name: str, path: str, listed: dict[str, ContextEntity]
) -> ContextEntity:
    parameter = _entity(
        crate, f"#{name}", "FormalParameter", name=name, additionalType="File",
        conformsTo=_entity(
            crate, f"{BIOSCHEMAS}/FormalParameter/1.0-RELEASE",
            "CreativeWork", name="FormalParameter", version="1.0-RELEASE",
        ),
    )  # fmt: skip
    listed[path]["exampleOfWork"] = parameter
    return parameter


def _part(name: str) -> str | None:
    parts = PurePosixPath(name).parts
    return parts[2] if parts[0] == "results" and len(parts) > 3 else None


def _chosen(listed: dict[str, ContextEntity], names: tuple[str, ...], end: str) -> list:
    return [e for name, e in listed.items() if name in names or name.endswith(end)]


def _entity(crate: ROCrate, uri: str, kind: str | list[str], **properties: Any) -> ContextEntity:
    known = crate.dereference(uri)
    if known:
        return known
    entity = ContextEntity(crate, uri, properties={"@type": kind})
    for key, value in properties.items():
        entity[key] = value
    return crate.add(entity)


def _file_entity(crate: ROCrate, name: str, size: int, digest: str) -> ContextEntity:
    properties = {"name": name, "contentSize": str(size), "sha256": digest}
    properties["encodingFormat"] = MEDIA_TYPES.get(PurePosixPath(name).suffix, "text/plain")
    types = ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    return _entity(crate, name, types if name == WORKFLOW else "File", **properties)
