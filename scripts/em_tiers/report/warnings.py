"""What keeps a study's rates from carrying a claim, each with what to do about it."""

from typing import Any

import polars as pl

from em_tiers.statistics.design import design_in_words
from em_tiers.statistics.judge_card import missed_limits
from em_tiers.statistics.rounding import percent
from em_tiers.terms import USABLE_STATUSES

WORST_STATUS_SHARE = 0.05


def judge_limits(card: pl.DataFrame) -> list[str]:
    """What each judge misses of its limits on cases whose verdict is known, one sentence each."""
    found = []
    for judge in card.get_column("judge").unique(maintain_order=True):
        if missed := missed_limits(card, judge):
            found.append(
                f"Judge {judge} was tested on answers whose verdict is known, and misses "
                f"{len(missed)} of its limits: {'; '.join(missed)}. Rates by this judge show what "
                "it says, not what the models do: use another judge or rubric."
            )
    return found


def limits(rows: pl.DataFrame, statuses: pl.DataFrame) -> list[str]:
    """Reasons why the table cannot support a claim, one sentence each."""
    if not len(rows):
        return ["No rates: no answer to a headline question was judged."]
    roles = set(rows.get_column("role").drop_nulls())
    found = []
    if "positive_control" not in roles:
        found.append(
            "Without a positive control, the sensitivity of the strict rate is unknown: it might "
            "also miss a model that is known to be misaligned. Add such a fine-tune or adapter to "
            "variants, with the role positive_control."
        )
    if "negative_control" not in roles:
        found.append(
            "Without a negative control, the rate of a fine-tune known to be harmless is unknown. "
            "Add one to variants, with the role negative_control."
        )
    if "base" not in roles:
        found.append(
            "Without a base model, the rate before fine-tuning is unknown. Import its answers too, "
            "and name that import as base."
        )
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
            f"{listed}{more}. Ask a judge for topic or tier."
        )
    found += _failed_requests(rows, statuses)
    if few := rows.filter(_warned()).height:
        found.append(
            f"{few} of {len(rows)} rates have a warning, such as too few answers for a claim: the "
            "table below names how many are needed. More questions help more than more answers to "
            "the same ones."
        )
    found += _designs(rows)
    bad = statuses.filter(~pl.col("status").is_in(USABLE_STATUSES))
    shares = bad.group_by("judge", "rubric", "variant").agg(pl.col("share").sum())
    for (judge,), frame in shares.sort("judge").group_by("judge", maintain_order=True):
        worst = frame.get_column("share").max()
        if worst > WORST_STATUS_SHARE:
            found.append(
                f"Judge {judge} gave no usable verdict on up to {percent(worst)} % of a model's "
                "answers for one rubric: see the table below, and read its replies in the sample "
                "browser."
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


def _designs(rows: pl.DataFrame) -> list[str]:
    """What the smallest design of the rates can show at best, assuming as many answers each."""
    known = rows.filter(pl.col("n") > 0, pl.col("questions") > 0).sort("n")
    if known.is_empty():
        return []
    row = known.row(0, named=True)
    each, more = divmod(row["n"], row["questions"])
    sizes = [each + (i < more) for i in range(row["questions"])]
    return [f"The design sets a limit: {design_in_words(sizes)}."]


def _warned() -> pl.Expr:
    return pl.col("warning").fill_null("") != ""


def few_answers(rows: pl.DataFrame) -> tuple[list[str], list[list[Any]]] | None:
    """The warnings of single rates as a table, the widest interval first; None without any."""
    width = pl.col("standard_high") - pl.col("standard_low")
    warned = rows.filter(_warned()).sort(width, descending=True, maintain_order=True)
    if warned.is_empty():
        return None
    header = ["Model", "Judge", "n (questions)", "Warning"]
    return header, [
        [row["label"], row["judge"], f"{row['n']:,} ({row['questions']})", row["warning"]]
        for row in warned.iter_rows(named=True)
    ]
