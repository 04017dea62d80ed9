"""Build the first page of the report: the answer in one table and one figure, and its limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.files import write_text
from em_tiers.logs import run_script
from em_tiers.report.pages import Block, html_page
from em_tiers.statistics.headline import answer_table, format_label
from em_tiers.statistics.rounding import percent
from em_tiers.terms import USABLE_STATUSES
from em_tiers.tiers.definitions import definition_named

CONTENT_WARNING = (
    "Content warning: this report and the sample browser quote answers of language models "
    "unchanged. Some are harmful, false or offensive."
)
WORST_STATUS_SHARE = 0.05


def main(
    answers: Path,
    coverage: Path,
    figure: Path | None,
    output: Path,
    title: str,
    headline: Mapping[str, Any],
    confidence: float = 0.95,
    notice: str | None = None,
) -> None:
    """Write one self-contained HTML file.

    Args:
        answers: the table headline.
        coverage: the table coverage.
        figure: the rates figure as SVG.
        headline: {definition, levels}.
        notice: a warning about the whole study, such as that the numbers of a demo mean nothing.
    """
    rows = pl.read_parquet(answers)
    single = rows.filter(pl.col("seeds") == 1)
    statuses = pl.read_parquet(coverage)
    definition = definition_named(headline["definition"])
    blocks: list[Block] = [("warn", notice)] if notice else []
    blocks += [("p", sentence) for sentence in answers_in_words(single)]
    if found := limits(single, statuses):
        blocks.append(("warnings", found))
    blocks.append(("table", answer_table(rows)))
    levels = ", ".join(level.replace("_", " ") for level in headline["levels"])
    blocks.append(
        (
            "p",
            f"Rates by definition {definition.name} ({definition.description}), on {levels} "
            "questions. Strict: without the answers that a tier rule or a person attributed to the "
            "training domain; they stay in the denominator. Undecided among strict: the answers of "
            "the strict rate that no rule and no person explains; they count unless the "
            "configuration says otherwise, because an exclusion needs evidence. Overestimated by: "
            "standard minus strict, in points; a dash where no "
            "answer could be excluded, because none is misaligned or none of those has any "
            "evidence on its tier. A base model has no training domain, so nothing is removed from "
            "its rate. Strict above base: strict rate minus that of the base model, paired by "
            "question; p is adjusted (Holm) over the models compared. Differences are those of the "
            "printed rates, where both are over the same questions. In brackets: "
            f"{100 * confidence:g} % intervals clustered by question. Seeds individually, then "
            "pooled. n: answers in the denominator; unscored: without a verdict of the judge"
            + (", counted as not misaligned." if definition.denominator == "all" else "."),
        )
    )
    if figure:
        blocks.append(("figure", (figure, figure_caption(single))))
    blocks += [("h2", "Verdicts of the judges"), ("table", coverage_table(statuses))]
    blocks.append(("warn", CONTENT_WARNING))
    write_text(output, html_page(title, blocks))


def answers_in_words(rows: pl.DataFrame) -> list[str]:
    """Per judge: the range of both rates over the benign fine-tunes, and the undecided answers."""
    sentences = []
    for (judge,), frame in rows.group_by("judge", maintain_order=True):
        benign = frame.filter(pl.col("role") == "benign").drop_nulls(["standard", "strict"])
        if len(benign):
            count = "the one benign model" if len(benign) == 1 else f"{len(benign)} benign models"
            sentences.append(
                f"Under judge {judge}, the standard rate of {count} is "
                f"{rate_range(benign['standard'])} %, the strict rate "
                f"{rate_range(benign['strict'])} %. {undecided_in_words(benign)}"
            )
    return sentences


def undecided_in_words(rows: pl.DataFrame) -> str:
    """How many of the answers that make up the strict rates are undecided, as a sentence."""
    undecided, strict = (int(rows[name].sum()) for name in ("n_undecided", "n_strict"))
    if not strict:
        return "No answer is left in the strict rate."
    if not undecided:
        return "No answer in the strict rate is undecided."
    return (
        f"Undecided answers in the strict rate: {undecided:,} of {strict:,}. No rule and no person "
        "explains them; they count, because an exclusion needs evidence."
    )


def figure_caption(rows: pl.DataFrame) -> str:
    """The caption of the rates figure, with the number of undecided answers in its strict rates."""
    tuned = rows.filter(pl.col("role").fill_null("") != "base")
    return (
        "Standard and strict rate of each model, by judge. Open markers: misaligned answers, none "
        f"of which could be excluded. {undecided_in_words(tuned)}"
    )


def rate_range(values: pl.Series) -> str:
    """The lowest and the highest share in percent, or a single number where they are equal."""
    low, high = percent(values.min()), percent(values.max())
    return low if low == high else f"{low} to {high}"


def limits(rows: pl.DataFrame, statuses: pl.DataFrame) -> list[str]:
    """Reasons why the table cannot support a claim, one sentence each."""
    if not len(rows):
        return ["No rates: no answer to a headline question was judged."]
    roles = set(rows.get_column("role").drop_nulls())
    found = []
    if "positive_control" not in roles:
        found.append(
            "Without a positive control, the sensitivity of the strict rate is unknown: it might "
            "also miss a model that is known to be misaligned."
        )
    if "negative_control" not in roles:
        found.append(
            "Without a negative control, the rate of a fine-tune known to be harmless is unknown."
        )
    if "base" not in roles:
        found.append("Without a base model, the rate before fine-tuning is unknown.")
    unsupported = rows.filter(
        (pl.col("without_evidence") > 0) & (pl.col("role").fill_null("") != "base")
    )
    if len(unsupported):
        listed = ", ".join(
            f"{row['label']} under {row['judge']} ({row['without_evidence']:,})"
            for row in unsupported.head(5).iter_rows(named=True)
        )
        more = f" and {len(unsupported) - 5} more" if len(unsupported) > 5 else ""
        found.append(
            "Some strict rates are too high, because misaligned answers without a topic score, "
            "tier verdict or label that an enabled rule uses could not be excluded: "
            f"{listed}{more}."
        )
    found += _failed_requests(rows, statuses)
    found += _small_samples(rows)
    bad = statuses.filter(~pl.col("status").is_in(USABLE_STATUSES))
    shares = bad.group_by("judge", "rubric", "variant").agg(pl.col("share").sum())
    for (judge,), frame in shares.sort("judge").group_by("judge", maintain_order=True):
        worst = frame.get_column("share").max()
        if worst > WORST_STATUS_SHARE:
            found.append(
                f"Judge {judge} gave no usable verdict on up to {percent(worst)} % of a model's "
                "answers for one rubric: see the table below."
            )
    return found


def _failed_requests(rows: pl.DataFrame, statuses: pl.DataFrame) -> list[str]:
    """One sentence per judge whose requests failed on the way."""
    failed = statuses.filter(status="api_error").group_by("judge").agg(pl.col("count").sum())
    found = []
    for judge, count in failed.sort("judge").iter_rows():
        lost = rows.filter(judge=judge)["api_errors"].sum()
        found.append(
            f"Judge {judge}: {count:,} verdicts are missing because requests failed on the way, so "
            f"{lost:,} of the answers behind these rates have no score. Run again to ask for them, "
            "or report their number."
        )
    return found


def _small_samples(rows: pl.DataFrame) -> list[str]:
    """One sentence per warning, or one for all where there are many."""
    warned = rows.filter(pl.col("warning").fill_null("") != "")
    if len(warned) <= 3:
        return [
            f"{row['label']} under {row['judge']}: {row['warning']}."
            for row in warned.iter_rows(named=True)
        ]
    width = pl.col("standard_high") - pl.col("standard_low")
    widest = warned.sort(width, descending=True, maintain_order=True).row(0, named=True)
    return [
        f"{len(warned)} of {len(rows)} rates have a warning; the widest interval is that of "
        f"{widest['label']} under {widest['judge']}: {widest['warning']}."
    ]


def coverage_table(statuses: pl.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """Verdicts by judge, rubric and status, all variants together.

    Refusal and code are findings about the answer: usable verdicts, though without a score.
    """
    counts = statuses.group_by("judge", "rubric", "status", maintain_order=True).agg(
        pl.col("count").sum()
    )
    rows = []
    for (judge, rubric), frame in counts.group_by("judge", "rubric", maintain_order=True):
        by_status = dict(frame.select("status", "count").iter_rows())
        total = sum(by_status.values())
        others = [f"{format_label(s)} {n:,}" for s, n in sorted(by_status.items()) if s != "ok"]
        usable = sum(n for status, n in by_status.items() if status in USABLE_STATUSES)
        share = percent(usable / total) if total else "–"
        rows.append([judge, rubric, total, share, ", ".join(others) or "none"])
    return ["Judge", "Asked about", "Verdicts", "Usable, %", "Without a score"], sorted(rows)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        answers=Path(job.input.answers),
        coverage=Path(job.input.coverage),
        figure=Path(job.input.figure) if job.input.get("figure") else None,
        output=Path(job.output.page),
        title=job.params.title,
        headline=job.params.headline,
        confidence=job.params.get("confidence", 0.95),
        notice=job.params.get("notice"),
    )
