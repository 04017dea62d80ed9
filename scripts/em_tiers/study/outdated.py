"""Files of an earlier division into batches, which repeat what other files contain."""

import re
from collections.abc import Iterator
from pathlib import Path

from em_tiers.judge.rounds import note_of
from em_tiers.study.study import Study


def outdated_files(study: Study, experiment: Path, results: Path) -> Iterator[Path]:
    """Tables of batches that the study no longer has, because it is divided in another way.

    A reader of the whole folder would count their rows twice. Their answers and verdicts stay in
    the journals. Files of variants or judges that left the study are not outdated: they repeat
    nothing.

    Args:
        experiment: folder that holds responses/.
        results: folder that holds verdicts/.
    """
    for path in sorted(experiment.glob("responses/*.parquet")):
        group, _, number = path.stem.rpartition(".")
        if number.isdigit() and f"{group}.0" in study.batches and path.stem not in study.batches:
            yield path
    for judge in study.config["judges"]:
        for path in sorted((results / "verdicts" / judge).glob("*.parquet")):
            divided = re.fullmatch(r"\d+-of-\d+", path.stem)
            if divided and path.stem not in study.judging_batches:
                yield path
                if note_of(path).is_file():
                    yield note_of(path)
