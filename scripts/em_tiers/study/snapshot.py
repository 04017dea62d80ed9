"""What a run is: its study and the hashes of its code, as they were when it started.

A cluster job parses the Snakefile when it starts, which may be hours after it was submitted. It
therefore loads the study that the main process wrote, instead of files that may have been edited
since, and refuses to run edited code.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from em_tiers.errors import ConfigError
from em_tiers.files import sha256_of_file, write_text
from em_tiers.study.study import Study
from em_tiers.study.variants import Variant

# The key of Snakemake's configuration that holds the path of a snapshot.
KEY = "study_snapshot"
_CODE = ("Snakefile", "rules/*.smk", "scripts/**/*.py")
_PLACES = ("root", "workdir")  # each process has its own
_PATIENCE_S = 60  # in which a shared file system shows a new file
_LISTED = 3  # edited files in a message


def write_snapshot(study: Study, folder: Path | str) -> str:
    """Write the study and the hashes of its code to FOLDER/HASH.json.

    HASH is that of the content: the same study and code are one file, and a file that is there is
    never changed, because jobs of an earlier run may still wait to read it.

    Returns:
        The path of the snapshot.

    Raises:
        ConfigError: the study holds something that JSON cannot hold.
    """
    content = {"study": _as_json(study), "code": code_hashes(study.root)}
    try:
        # Not sorted: variants and batches keep the order of the configuration.
        text = json.dumps(content, ensure_ascii=False)
    except TypeError as error:
        raise ConfigError(
            f"config: a value cannot be written as JSON ({error}): put dates in quotes"
        ) from None
    if json.loads(text) != content:
        raise ConfigError("config: a key is not text: put keys that are numbers in quotes")
    path = Path(folder) / f"{_hash(text)}.json"
    if not path.is_file() or _hash(path.read_text(encoding="utf-8")) != path.stem:
        write_text(path, text)
    return str(path)


def load_for_job(
    config: Mapping[str, Any], root: Path, workdir: Path, patience_s: float = _PATIENCE_S
) -> Study:
    """The study of the run that submitted this job.

    Args:
        config: as Snakemake read it.
        patience_s: how long to wait for a file that the file system does not show yet, in seconds.

    Raises:
        ConfigError: the job was given no snapshot, the snapshot is missing or damaged, or the
            workflow's code is not that of the run.
    """
    if KEY not in config:
        raise ConfigError(
            f"config.{KEY}: missing: this job was submitted without the study of its run: "
            "start the run again, without --no-hooks"
        )
    content = _read(Path(config[KEY]), patience_s)
    if changed := _changed(content["code"], root):
        raise ConfigError(
            f"The workflow's code was edited after this run started ({changed}): start the run "
            "again once its jobs have ended, or restore the code"
        )
    return _as_study(content["study"], root, workdir)


def load_snapshot(path: str, root: Path, workdir: Path) -> Study:
    """The study in a snapshot, whatever the code is now.

    Raises:
        ConfigError: the snapshot is missing or damaged.
    """
    return _as_study(_read(Path(path))["study"], root, workdir)


def edited_code(path: str, root: Path) -> str:
    """Files of the workflow's code that are not those of a snapshot, in words; empty if none."""
    return _changed(_read(Path(path))["code"], root)


def code_hashes(root: Path) -> dict[str, str]:
    """SHA-256 of each file of the workflow's code, by its path below `root`."""
    files = sorted({path for pattern in _CODE for path in root.glob(pattern) if path.is_file()})
    return {path.relative_to(root).as_posix(): sha256_of_file(path) for path in files}


def _changed(before: Mapping[str, str], root: Path) -> str:
    after = code_hashes(root)
    names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(path: Path, patience_s: float = 0) -> dict[str, Any]:
    last = time.monotonic() + patience_s
    while not path.is_file() and time.monotonic() < last:
        time.sleep(1)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"config.{KEY}: {path} cannot be read ({error}): start the run again"
        ) from None
    if _hash(text) != path.stem:
        raise ConfigError(f"config.{KEY}: {path} is damaged: start the run again, which repairs it")
    return json.loads(text)


def _as_json(study: Study) -> dict[str, Any]:
    names = [field.name for field in fields(study) if field.name not in _PLACES]
    return {name: getattr(study, name) for name in names} | {
        "variants": [asdict(variant) for variant in study.variants.values()],
        "batches": {name: [v.variant for v in study.batches[name]] for name in study.batches},
    }


def _as_study(content: dict[str, Any], root: Path, workdir: Path) -> Study:
    variants = {entry["variant"]: Variant(**entry) for entry in content["variants"]}
    batches = {name: [variants[v] for v in members] for name, members in content["batches"].items()}
    return Study(root=root, workdir=workdir, **content | {"variants": variants, "batches": batches})
