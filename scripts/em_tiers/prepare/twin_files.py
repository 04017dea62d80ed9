"""Files of one data set that hold the same rows, such as a set in two formats."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from em_tiers.errors import UserError
from em_tiers.hashing import hash_of
from em_tiers.prepare.row_formats import Example

# Share of a file's different rows: parts of one set have few rows in common, copies have all.
_TWINS = 0.5


def check_twin_files(
    files: Sequence[Path], examples: Sequence[Example], ends: Sequence[int]
) -> None:
    """Check that no file repeats the rows of the others.

    Rows are compared by their text without white space at its ends, whatever the file's format.

    Args:
        examples: the rows of all files, in the order of `files`.
        ends: how many of them there are after each file.

    Raises:
        UserError: at least half of one file's different rows are in another.
    """
    if len(files) < 2:
        return
    homes: dict[str, set[int]] = defaultdict(set)  # row -> files that hold it
    number = 0
    for index, example in enumerate(examples):
        while index >= ends[number]:
            number += 1
        homes[_content(example)].add(number)
    rows = Counter(n for found in homes.values() for n in found)
    shared = Counter(n for found in homes.values() if len(found) > 1 for n in found)
    for number, count in sorted(shared.items()):
        if count >= _TWINS * rows[number]:
            others = Counter(n for found in homes.values() if number in found for n in found)
            del others[number]
            other, _ = others.most_common(1)[0]
            one, two = _names(files, number, other)
            raise UserError(
                f"{one}: {count} of its {rows[number]} different rows are also in {two}"
                f"{' and other files' if len(others) > 1 else ''}, and would be trained on twice: "
                "name the files to use under source.files, or one file under source.path"
            )


def _content(example: Example) -> str:
    messages = example.prompt + example.completion
    return hash_of([(m["role"], m["content"].strip()) for m in messages])


def _names(files: Sequence[Path], *numbers: int) -> list[str]:
    """The names of some files below the folder that holds all files."""
    folder = os.path.commonpath([path.parent for path in files])
    return [files[number].relative_to(folder).as_posix() for number in numbers]
