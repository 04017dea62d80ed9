"""What each judge says of answers whose verdict is known: its card and its confusion matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from em_tiers.logs import LOG, run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.judge_card import card_tables, missed_limits


def main(
    cases: Sequence[Path],
    truths: Sequence[Path],
    verdicts: Mapping[str, Path],
    letters: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
    outputs: Mapping[str, Path],
) -> None:
    """Write the tables judge_card and judge_card_confusion.

    Args:
        cases, truths, verdicts, letters, settings: see `judge_card.card_tables`.
        outputs: paths by `<table>_<format>`.
    """
    frames = card_tables(cases, truths, verdicts, letters, settings)
    for judge in verdicts:
        missed = missed_limits(frames["judge_card"], judge)
        LOG.info("judge %s misses: %s", judge, "; ".join(missed) or "nothing")
    write_tables(frames, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        cases=list(job.input.cases),
        truths=list(job.input.truths),
        verdicts=dict(zip(job.params.judges, job.input.verdicts, strict=True)),
        letters=job.params.letters,
        settings=job.params.settings,
        outputs=dict(job.output.items()),
    )
