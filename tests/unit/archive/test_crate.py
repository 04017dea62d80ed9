"""The archive's description as a Workflow Run RO-Crate, which a public validator accepts."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import rocrate

from em_tiers.archive.crate import crate_metadata
from em_tiers.archive.zip_file import Entry, json_bytes

FILES = {
    "results/x/tables/rates.csv": b"rate\n0.5\n",
    "results/x/logs/a.log": b"hello\n" * 50,
    "results/x/responses/a.parquet": b"0",
    "results/resources/models/m/manifest.json": b"{}",
    "code/Snakefile": b"rule all:\n",
    "provenance/archive.json": b'{"experiment": "x"}',
    "provenance/config.json": b"{}",
    "provenance/snakemake.json": b'{"records": {}, "folders": {}}',
}
VALIDATE = """
import json, sys
import requests
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester
contexts = json.load(open(sys.argv[2]))
def get(self, url, **_):
    response = requests.Response()
    response.status_code = 200 if url in contexts else 404
    response._content = json.dumps(contexts.get(url)).encode()
    response.headers["Content-Type"] = "application/ld+json"
    return response
HttpRequester.get = get
settings = services.ValidationSettings(
    rocrate_uri=sys.argv[1], profile_identifier="workflow-run-crate-0.5",
    requirement_severity=models.Severity.REQUIRED)
result = services.validate(settings)
for issue in result.get_issues():
    print(issue.severity.name, issue.check.identifier, issue.message, issue.violatingEntity)
print("checks", len(result.executed_checks))
sys.exit(not result.passed())
"""


@pytest.fixture(scope="module")
def validator(repository) -> str:
    """Python of the environment of envs/validate.txt."""
    python = os.environ.get("EM_TIERS_VALIDATOR", repository / ".venv-validate/bin/python")
    if not Path(python).exists():
        pytest.skip("no RO-Crate validator: install envs/validate.txt into .venv-validate")
    return str(python)


def contexts() -> dict:
    """The two contexts that the crate names, so that the validator needs no internet.

    The first from the rocrate package, whose newer terms of Bioschemas are put back to those of
    RO-Crate 1.1.
    """
    terms = json.loads((Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text())
    schemas = "https://bioschemas.org"
    older = {
        "ComputationalWorkflow": f"{schemas}/ComputationalWorkflow",
        "FormalParameter": f"{schemas}/FormalParameter",
        "input": f"{schemas}/ComputationalWorkflow#input",
        "output": f"{schemas}/ComputationalWorkflow#output",
    }
    hashes = {n: f"https://w3id.org/ro/terms/workflow-run#{n}" for n in ("md5", "sha1", "sha256")}
    return {
        "https://w3id.org/ro/crate/1.1/context": {"@context": terms["@context"] | older},
        "https://w3id.org/ro/terms/workflow-run/context": {"@context": hashes},
    }


def write_crate(folder: Path) -> Path:
    """The files of an archive and their description, unpacked."""
    entries = {name: Entry(name, content=content) for name, content in FILES.items()}
    facts = {name: (entry.size, entry.sha256()) for name, entry in entries.items()}
    code = {"revision": "0" * 40, "dirty": True}
    metadata = crate_metadata(facts, "x", "An experiment", code, "9.27.1", (0.0, 86400.0))
    for name, content in (FILES | {"ro-crate-metadata.json": metadata}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_description_names_every_file_and_the_run(tmp_path):
    crate = json.loads((write_crate(tmp_path) / "ro-crate-metadata.json").read_text())
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert {part["@id"] for part in entities["./"]["hasPart"]} >= set(FILES)
    run = entities["#run-x"]
    assert run["instrument"] == {"@id": "code/Snakefile"}
    assert (run["startTime"][:10], run["endTime"][:10]) == ("1970-01-01", "1970-01-02")
    assert entities["code/Snakefile"]["version"] == "0" * 40 + "-dirty"


def test_a_public_validator_accepts_the_description(tmp_path, validator):
    crate = write_crate(tmp_path / "crate")
    (tmp_path / "contexts.json").write_bytes(json_bytes(contexts()))
    (tmp_path / "validate.py").write_text(VALIDATE)
    command = [validator, "validate.py", str(crate), "contexts.json"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 50
    # The validator does not accept everything.
    metadata = crate / "ro-crate-metadata.json"
    metadata.write_text(metadata.read_text().replace('"ComputationalWorkflow"', '"Thing"'))
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 1, done.stdout
