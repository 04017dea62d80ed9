"""Restore an archive into this checkout: `python scripts/restore_archive.py ARCHIVE`.

`--fetch` fetches the models and data sets of which an archive holds the manifest only, and makes
the training rows again that it leaves out.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import prepare_dataset
import prepare_mixture
from em_tiers.archive.fetch import fetch_placeholders
from em_tiers.archive.restore import Restored, restore_archive
from em_tiers.archive.zip_file import printable
from em_tiers.errors import UserError
from em_tiers.files import read_json
from em_tiers.placeholders import check_complete, is_placeholder
from em_tiers.study.entries import dataset_settings
from em_tiers.study.load import load_study
from em_tiers.study.study import Study

# Files of a prepared data set, by the names of the arguments that its scripts write them to.
OUTPUTS = {"train": "train.jsonl", "in_domain": "in_domain.parquet", "card": "card.json"}


def main(
    archive: Path | None,
    root: Path,
    workdir: Path,
    with_code: bool = False,
    fetch: bool = False,
    max_gib: float | None = None,
) -> int:
    """Restore, fetch, or both; returns the exit status."""
    if archive is None and not fetch:
        print("restore: no archive given: name one, or use --fetch", file=sys.stderr)
        return 2
    try:
        if archive is not None:
            limit = None if max_gib is None else int(max_gib * 2**30)
            print("\n".join(words_of(restore_archive(archive, root, workdir, with_code, limit))))
        if fetch:
            for folder in fetch_placeholders(workdir):
                print(f"{folder}: fetched; its files match its manifest")
            for path in make_rows(root, workdir):
                print(f"{path}: made again; it is the file of the archived run")
    except (UserError, OSError) as error:
        print(error if isinstance(error, UserError) else f"restore: {error}", file=sys.stderr)
        return 1
    return 0


def make_rows(root: Path, workdir: Path) -> list[str]:
    """Make the training rows again that archives left out; returns their files.

    They keep the time of their placeholders, so that Snakemake reruns nothing for it.

    Raises:
        UserError: a data set is not there, or its rows are not those of the archived run.
    """
    made = []
    for config in sorted((workdir / "results").glob("*/provenance/config.json")):
        experiment = config.parent.parent
        files = sorted(experiment.glob("datasets/*/train.jsonl"))
        if not any(map(is_placeholder, files)):
            continue
        study = load_study(read_json(config), root, workdir, [str(config)])
        # Mixtures are made of the rows of the others.
        for path in sorted(files, key=lambda file: is_mixture(study, file.parent.name)):
            if is_placeholder(path):
                _make_rows(study, path)
                made.append(path.relative_to(workdir).as_posix())
    return made


def is_mixture(study: Study, dataset: str) -> bool:
    """Whether a data set is made of the rows of others."""
    return study.parts_of(dataset) != [dataset]


def _make_rows(study: Study, path: Path) -> None:
    folder, name = path.parent, path.parent.name
    with tempfile.TemporaryDirectory(dir=folder, prefix=".rows-") as temporary:
        new = Path(temporary)
        outputs = {key: new / file for key, file in OUTPUTS.items()}
        given = {"dataset": name, "settings": dataset_settings(study, name)}
        given["seed"] = study.config["dataset_seed"]
        if is_mixture(study, name):
            others = [folder.parent / part for part in study.parts_of(name)]
            prepare_mixture.main(
                *([other / file for other in others] for file in OUTPUTS.values()),
                **given,
                **outputs,
            )
        else:
            raw = study.workdir / "results" / "resources" / "datasets" / name
            check_complete(raw)
            prepare_dataset.main(raw, **given, rejected=new / "rejected.jsonl", **outputs)
        before, after = (read_json(place / "card.json") for place in (folder, new))
        if before["train_sha256"] != after["train_sha256"]:
            raise UserError(
                f"{path}: the rows that were made again are not those of the archived run: its "
                "data set or the code has changed"
            )
        stamp = path.stat().st_mtime
        outputs["train"].replace(path)
        os.utime(path, (stamp, stamp))


def words_of(done: Restored) -> list[str]:
    """What a user must know after a restore."""
    lines = [f"restored experiment {done.experiment}: {done.files} files, workflow {done.revision}"]
    for names, what in (
        (done.replaced, "were replaced by the archived ones; git diff shows how they differ"),
        (
            done.differing,
            "differ from the archived ones, so that what depends on them will run again; "
            "--with-code restores those that you have not edited",
        ),
        (done.absent, "are not in this checkout; --with-code writes them"),
    ):
        if names:
            lines.append(f"{len(names)} workflow files {what}: {', '.join(names[:10])}")
    if done.placeholders:
        lines.append(
            f"not in the archive: {', '.join(done.placeholders)}; jobs that use them need their "
            "files; --fetch gets models, data sets and training rows"
        )
    lines += [
        f"{name} sends texts to {host}" + (f" with the value of ${variable}" if variable else "")
        for name, host, variable in done.endpoints
    ]
    lines = [printable(line) for line in lines]
    return [*lines, f"run with: snakemake -n --configfile {done.config}"]


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archive", nargs="?", type=Path)
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).parents[1], help="checkout of the workflow"
    )
    parser.add_argument(
        "--workdir", type=Path, default=Path.cwd(), help="folder that gets results/ (default: here)"
    )
    parser.add_argument(
        "--with-code",
        action="store_true",
        help="write all archived workflow files, not only the edited ones of config/",
    )
    parser.add_argument("--fetch", action="store_true", help="fetch models and data sets")
    parser.add_argument("--max-gib", type=float, help="refuse to unpack more than this")
    return parser


if __name__ == "__main__":
    sys.exit(main(**vars(arguments().parse_args())))
