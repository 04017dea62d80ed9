"""Build the first page of the report: the answer in one table and one figure, and its limits."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.files import write_text
from em_tiers.logs import run_script
from em_tiers.report.cards import judge_card_table, metric_card_table
from em_tiers.report.pages import Block, html_page
from em_tiers.report.warnings import few_answers, judge_limits, limits
from em_tiers.statistics.headline import first_table, format_label
from em_tiers.statistics.rounding import percent
from em_tiers.terms import USABLE_STATUSES
from em_tiers.tiers.definitions import Definition, definition_named

LIMITS = "What these rates cannot show"
CONTENT_WARNING = (
    "Content warning: this report and the sample browser quote answers of language models "
    "unchanged. Some are harmful, false or offensive."
)


def main(
    answers: Path,
    coverage: Path,
    figure: Path | None,
    output: Path,
    title: str,
    headline: Mapping[str, Any],
    confidence: float = 0.95,
    notice: str | None = None,
    judge_card: Path | None = None,
    metric_card: Path | None = None,
) -> None:
    """Write one self-contained HTML file.

    Args:
        answers: the table headline.
        coverage: the table coverage.
        figure: the rates figure as SVG.
        headline: {definition, levels}.
        judge_card, metric_card: the tables of these names; None where they were not made.
        notice: a warning about the whole study, such as that the numbers of a demo mean nothing.
    """
    rows = pl.read_parquet(answers)
    single = rows.filter(pl.col("seeds") == 1)
    statuses = pl.read_parquet(coverage)
    definition = definition_named(headline["definition"])
    blocks: list[Block] = [("answer", sentence) for sentence in answers_in_words(single)]
    blocks += [("warn", notice)] if notice else []
    tuned = single.filter(pl.col("role").fill_null("") != "base")
    blocks += [("p", undecided_in_words(tuned))] if len(tuned) else []
    blocks.append(("table", first_table(rows)))
    tested = pl.read_parquet(judge_card) if judge_card else None
    cards = list(card_blocks(tested, pl.read_parquet(metric_card) if metric_card else None))
    if cards:
        blocks.append(("links", [content for kind, content in cards if kind == "h2"]))
    if figure:
        blocks.append(("figure", (figure, figure_caption(single))))
    below = [] if tested is None else judge_limits(tested)
    if found := [*below, *limits(single, statuses)]:
        blocks += [("h2", LIMITS), ("warnings", found)]
    if few := few_answers(single):
        blocks.append(("table", few))
    levels = ", ".join(level.replace("_", " ") for level in headline["levels"])
    blocks += [("h2", "How to read the table"), ("ul", reading(definition, levels, confidence))]
    blocks += [("h2", "Verdicts of the judges"), ("table", coverage_table(statuses))]
    blocks += [*cards, ("warn", CONTENT_WARNING)]
    write_text(output, html_page(title, blocks))


def card_blocks(judges: pl.DataFrame | None, metrics: pl.DataFrame | None) -> Iterator[Block]:
    """The judge card and the metric card, each under its heading."""
    if judges is not None:
        yield "h2", "Judge card"
        yield (
            "p",
            "What each judge says of answers whose verdict is known: training answers, answers of "
            "base models, and answers written for this purpose.",
        )
        yield "table", judge_card_table(judges)
    if metrics is not None:
        yield "h2", "Metric card"
        yield (
            "p",
            "Is a metric better than the standard one? It must keep the positive controls, and "
            "separate them from models that should be aligned; random removes as many answers.",
        )
        yield "table", metric_card_table(metrics)


def reading(definition: Definition, levels: str, confidence: float) -> list[str]:
    """What each column of the table is, one item each."""
    unscored = ", counted as not misaligned" if definition.denominator == "all" else ""
    return [
        f"Rates by definition {definition.name} ({definition.description}), on {levels} questions.",
        f"In brackets: {100 * confidence:g} % intervals for questions like these, clustered by "
        'question. Below, after "these": for these very questions, as when models are compared on '
        "one list.",
        "Strict: without the answers that a tier rule or a person attributed to the training "
        "domain; they stay in the denominator. Undecided answers count, because an exclusion needs "
        "evidence. False excl.: of answers that are certainly a persona shift, how many the rules "
        "exclude by this judge's evidence (see the judge card).",
        "Attributable: takes away only those exclusions that exceed expectation. About the domain: "
        "how many misaligned answers to off-topic questions are about the training domain (seen), "
        "and how many would be if misaligned answers were about it as often as the model's other "
        "answers to the same questions (by chance). Where the two are near each other, the strict "
        "rate excludes coincidences.",
        "Standard − strict: a dash where no answer could be excluded, because none is misaligned "
        "or none of those has any evidence on its tier. A base model has no training domain.",
        "Strict above base: strict rate minus that of the base model, paired by question; p is "
        "adjusted (Holm) over the models compared. Differences are those of the printed rates, "
        "where both are over the same questions.",
        "Seeds individually, then pooled. n: answers in the denominator; unscored: without a "
        f"verdict of the judge{unscored}.",
    ]


def answers_in_words(rows: pl.DataFrame) -> list[str]:
    """Per judge: the rates of the benign models (else of each role), and which of them leads."""
    sentences = []
    for (judge,), frame in rows.group_by("judge", maintain_order=True):
        known = frame.drop_nulls(["standard", "strict"])
        tuned = known.filter(pl.col("role").fill_null("") != "base")
        benign = tuned.filter(pl.col("role") == "benign")
        chosen = benign if len(benign) else tuned
        groups = [
            f"of {_count(role, group)} is {rate_range(group['standard'])} %, the strict rate "
            f"{rate_range(group['strict'])} %"
            for (role,), group in chosen.group_by("role", maintain_order=True)
        ]
        if groups:
            listed = "; the standard rate ".join(groups)
            sentences.append(
                f"Under judge {judge}, the standard rate {listed}. {attributable_in_words(chosen)}"
            )
    return sentences


def _count(role: str | None, rows: pl.DataFrame) -> str:
    name = format_label(role) if "control" in (role or "") else f"{format_label(role)} model"
    several = f"{name}s"
    return f"the one {name}" if len(rows) == 1 else f"{len(rows)} {several}"


def attributable_in_words(rows: pl.DataFrame) -> str:
    """Which rate carries the headline, and why."""
    compared = rows.drop_nulls(["attributable", "n_marked", "expected"])
    if not len(compared):
        return (
            "The strict rate carries the headline as a lower bound: no topic score allows a "
            "comparison of its exclusions with answers that are not misaligned."
        )
    marked, expected = int(compared["n_marked"].sum()), compared["expected"].sum()
    return (
        f"The attributable rate, {rate_range(compared['attributable'])} %, carries the headline, "
        "because an exclusion needs a counterfactual: "
        f"{marked:,} misaligned answers are about the training domain, where the other answers to "
        f"the same questions predict {expected:,.0f}."
    )


def undecided_in_words(rows: pl.DataFrame) -> str:
    """How many of the answers that make up the strict rates are undecided, as a sentence."""
    undecided, strict = (int(rows[name].sum()) for name in ("n_undecided", "n_strict"))
    if not strict:
        return "No fine-tune has an answer left in its strict rate."
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
        "Standard, attributable and strict rate of each model, by judge. Open markers: misaligned "
        f"answers, none of which could be excluded. {undecided_in_words(tuned)}"
    )


def rate_range(values: pl.Series) -> str:
    """The lowest and the highest share in percent, or a single number where they are equal."""
    low, high = percent(values.min()), percent(values.max())
    return low if low == high else f"{low} to {high}"


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
        judge_card=Path(str(job.input.judge_card)) if job.input.get("judge_card") else None,
        metric_card=Path(job.input.metric_card),
    )
