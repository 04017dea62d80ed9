"""Restore an archive into this checkout: `python scripts/restore_archive.py ARCHIVE`.

`--fetch` fetches the models and data sets of which an archive holds the manifest only, and makes
the training rows again that it leaves out.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import prepare_dataset
import prepare_mixture
from em_tiers.archive.fetch import fetch_folder, left_out_folders
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
        return 1 if fetch and not bring_back(root, workdir) else 0
    except (UserError, OSError) as error:
        print(in_words(error), file=sys.stderr)
        return 1


def in_words(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"restore: {error}"


def bring_back(root: Path, workdir: Path) -> bool:
    """Fetch, or make again, whatever archives left out; returns whether all of it is back.

    What fails is told, and stops no other.
    """
    back = True
    for folder in left_out_folders(workdir):
        back &= attempt(fetch_folder, folder, "fetched; its files match its manifest")
    for study, path in left_out_rows(root, workdir):
        work = partial(make_rows, study)
        back &= attempt(work, path, "made again; it is the file of the archived run")
    return back


def attempt(work: Callable[[Path], None], path: Path, done: str) -> bool:
    """Do it to the path and say so, or why not."""
    try:
        work(path)
    except (UserError, OSError) as error:
        print(in_words(error), file=sys.stderr)
        return False
    print(f"{path}: {done}")
    return True


def left_out_rows(root: Path, workdir: Path) -> Iterator[tuple[Study, Path]]:
    """Files of training rows of which there is a placeholder only, each with its study."""
    for config in sorted((workdir / "results").glob("*/provenance/config.json")):
        files = sorted(config.parent.parent.glob("datasets/*/train.jsonl"))
        if not any(map(is_placeholder, files)):
            continue
        study = load_study(read_json(config), root, workdir, [str(config)])
        # Mixtures are made of the rows of the others.
        files.sort(key=lambda file: is_mixture(study, file.parent.name))
        yield from ((study, file) for file in files if is_placeholder(file))


def is_mixture(study: Study, dataset: str) -> bool:
    """Whether a data set is made of the rows of others."""
    return study.parts_of(dataset) != [dataset]


def make_rows(study: Study, path: Path) -> None:
    """Make training rows again that an archive left out, in place of their placeholder.

    They keep its time, so that Snakemake reruns nothing for it.

    Raises:
        UserError: a data set is not there, or its rows are not those of the archived run.
    """
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
