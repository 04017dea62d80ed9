"""Restore an archive into this checkout: `python scripts/restore_archive.py ARCHIVE`.

`--fetch` fetches the models and data sets of which an archive holds the manifest only.
"""

import argparse
import sys
from pathlib import Path

from em_tiers.archive.restore import Restored, fetch_placeholders, restore_archive
from em_tiers.archive.zip_file import printable
from em_tiers.errors import UserError


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
    except (UserError, OSError) as error:
        print(error if isinstance(error, UserError) else f"restore: {error}", file=sys.stderr)
        return 1
    return 0


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
            f"manifest only: {', '.join(done.placeholders)}; jobs that use them need their files; "
            "--fetch gets models and data sets"
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
