"""Judge-free evidence: do flagged answers read more like the training data than others do?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from em_tiers.files import atomic_path
from em_tiers.logs import LOG, run_script
from em_tiers.placeholders import is_placeholder
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.rates import Settings, scan_outcomes
from em_tiers.statistics.text_contrast import text_contrast
from em_tiers.tables import scan_table
from em_tiers.tiers.text_evidence import (
    MOST_TEXTS,
    Classifier,
    Marker,
    learn,
    like_column,
    training_answers,
)


def main(
    responses: list[Path],
    outcomes: list[Path],
    train: list[Path],
    datasets: list[str],
    settings: dict,
    outputs: dict[str, Path],
    marks: Path,
) -> None:
    """Write the table text_contrast, and the marks behind it.

    Args:
        responses: responses of all models, the base models among them.
        outcomes: one outcomes table per judge.
        train: train.jsonl of each of `datasets`.
        settings: the fields of `em_tiers.statistics.rates.Settings`.
        outputs: paths by format.
        marks: table of the answers of fine-tunes and the data sets that they read like.
    """
    chosen = Settings(**settings)
    base = pl.col("variant") == pl.col("base")
    texts = _answers(responses, chosen).filter(base).select("response").head(MOST_TEXTS)
    classifiers = _learn(
        texts.collect(engine="streaming").to_series().to_list(),
        dict(zip(datasets, train, strict=True)),
        chosen.seed,
    )
    with atomic_path(marks) as temporary:
        marked = _marks(responses, classifiers, chosen)
        marked.write_parquet(temporary, compression="zstd")
    aucs = {name: one.auc for name, one in classifiers.items()}
    table = text_contrast(scan_outcomes(outcomes), marked, aucs, chosen)
    write_tables({"text_contrast": table}, outputs)


def _answers(responses: Sequence[Path], settings: Settings) -> pl.LazyFrame:
    """The answers to the headline questions."""
    return scan_table(list(responses), "responses").filter(
        pl.col("probe_level").is_in(list(settings.headline_levels))
    )


def _learn(base: Sequence[str], train: Mapping[str, Path], seed: int) -> dict[str, Classifier]:
    """The classifier of each data set that has enough texts.

    Args:
        base: answers of the base models.
        train: data set -> its train.jsonl.
    """
    own = {
        name: training_answers(path, seed)
        for name, path in train.items()
        if not is_placeholder(path)
    }
    for name in sorted(train.keys() - own.keys()):
        LOG.warning(
            "%s: has no row, because its training rows were not archived: run python "
            "scripts/restore_archive.py --fetch",
            name,
        )
    found = {}
    for name, lines in own.items():
        others = [line for other, more in own.items() if other != name for line in more]
        learnt = learn(lines, base, others, seed)
        if learnt is None:
            LOG.warning("%s: too few texts to learn from, so it has no row", name)
            continue
        LOG.info("%s: cross-validated AUC %.3f", name, learnt.auc)
        found[name] = learnt
    return found


def _marks(
    responses: Sequence[Path], classifiers: Mapping[str, Classifier], settings: Settings
) -> pl.DataFrame:
    """The key of each answer of a fine-tune, and whether it reads like each data set's own.

    The texts of one file of answers are in memory at a time.
    """
    columns = [like_column(name) for name in classifiers]
    frames = [pl.DataFrame(schema={"response_key": pl.String} | dict.fromkeys(columns, pl.Boolean))]
    marker = Marker(list(classifiers.values())) if classifiers else None
    for path in dict.fromkeys(responses) if marker else ():
        tuned = _answers([path], settings).filter(pl.col("dataset").is_not_null())
        own = tuned.select("response_key", "response").collect()
        marked = marker.mark(own.get_column("response").to_list())
        frames.append(own.select("response_key").hstack(pl.DataFrame(marked, columns)))
    return pl.concat(frames)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        responses=list(job.input.responses),
        outcomes=list(job.input.outcomes),
        train=[Path(path) for path in job.input.train],
        datasets=job.params.datasets,
        settings=job.params.settings,
        outputs={name: path for name, path in job.output.items() if name != "marks"},
        marks=Path(job.output.marks),
    )
