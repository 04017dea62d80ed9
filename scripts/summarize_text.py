"""Judge-free evidence: do flagged answers read more like the training data than others do?"""

from pathlib import Path

import polars as pl

from em_tiers.files import atomic_path
from em_tiers.logs import LOG, run_script
from em_tiers.placeholders import is_placeholder
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.rates import Settings, scan_outcomes
from em_tiers.statistics.removals import MARKS
from em_tiers.statistics.text_contrast import text_contrast
from em_tiers.tables import scan_table
from em_tiers.tiers.text_evidence import mark_texts, training_answers


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
    answers = (
        scan_table(list(responses), "responses")
        .filter(pl.col("probe_level").is_in(list(chosen.headline_levels)))
        .select("response_key", "variant", "base", "dataset", "response")
        .collect(engine="streaming")
    )
    base = answers.filter(pl.col("variant") == pl.col("base"))["response"].to_list()
    tuned = answers.filter(pl.col("dataset").is_not_null())
    frames, aucs = [], {}
    own = {
        name: training_answers(path, chosen.seed)
        for name, path in zip(datasets, train, strict=True)
        if not is_placeholder(path)
    }
    for name in sorted(set(datasets) - own.keys()):
        LOG.warning(
            "%s: has no row, because its training rows were not archived: run python "
            "scripts/restore_archive.py --fetch",
            name,
        )
    texts = tuned["response"].to_list()
    for name, lines in own.items():
        others = [line for other, more in own.items() if other != name for line in more]
        found = mark_texts(lines, base, texts, others, chosen.seed) if texts else None
        if found is None:
            LOG.warning("%s: too few texts to learn from, so it has no row", name)
            continue
        aucs[name] = found.auc
        LOG.info("%s: cross-validated AUC %.3f", name, found.auc)
        frames.append(
            tuned.select("response_key", like=pl.lit(name), marked=pl.Series(found.marked))
        )
    marked = pl.concat(frames) if frames else pl.DataFrame(schema=MARKS)
    with atomic_path(marks) as temporary:
        marked.write_parquet(temporary, compression="zstd")
    table = text_contrast(scan_outcomes(outcomes), marked, aucs, chosen)
    write_tables({"text_contrast": table}, outputs)


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
