"""Check an archive: `python scripts/verify_archive.py results/EXPERIMENT.archive.zip ...`.

Names each file that is missing, altered or extra; exit status 1 if there is any.
"""

import argparse
import sys
from pathlib import Path

from em_tiers.archive.verify import verify_archive
from em_tiers.errors import UserError


def main(archives: list[Path]) -> int:
    """Print what each archive is; returns the exit status."""
    status = 0
    for path in archives:
        try:
            check = verify_archive(path)
        except UserError as error:
            print(error, file=sys.stderr)
            status = 1
            continue
        for line in check.lines():
            print(f"{path}: {line}")
        if check.sound:
            print(f"{path}: sound, {check.files} files, content {check.content}")
        else:
            status = 1
    return status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    sys.exit(main(**vars(parser.parse_args())))
