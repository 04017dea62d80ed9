"""The judge card and the metric card as tables of the first page."""

from typing import Any

import polars as pl

from em_tiers.statistics.judge_card import MISSED
from em_tiers.statistics.rounding import percent

Table = tuple[list[str], list[list[Any]]]


def judge_card_table(card: pl.DataFrame) -> Table:
    """One row per measure, one column per judge; what misses its limit is marked."""
    judges = card.get_column("judge").unique(maintain_order=True).to_list()
    rows = []
    for (measure, of, limit), frame in card.group_by("measure", "of", "limit", maintain_order=True):
        name = str(measure).replace("_", " ") + (f"\n{str(of).replace('_', ' ')}" if of else "")
        shown = {row["judge"]: _value(row) for row in frame.iter_rows(named=True)}
        rows.append([name, limit, *(shown.get(judge, "–") for judge in judges)])
    return ["Measure", "Limit", *(f"{judge}, %" for judge in judges)], rows


def _value(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "not measured"
    low, high = percent(row["low"]), percent(row["high"])
    mark = "\nmisses its limit" if row["result"] == MISSED else ""
    return f"{percent(row['value'])}\u00a0[{low},\u00a0{high}], n\u00a0=\u00a0{row['n']}{mark}"


def metric_card_table(card: pl.DataFrame) -> Table:
    """One row per judge and metric: what it keeps of positive controls, and how it separates."""
    header = [
        *("Metric", "Kept of positive controls, %", "Positive controls, %", "Benign, %"),
        *("Base, %", "AUC over answers", "AUC over models"),
    ]
    several = card.get_column("judge").n_unique() > 1
    return header, [
        [
            row["metric"].replace("_", " ") + (f"\n{row['judge']}" if several else ""),
            _kept(row),
            *(percent(row[role]) for role in ("positive_control", "benign", "base")),
            *(_auc(row[name]) for name in ("auc_answers", "auc_models")),
        ]
        for row in card.iter_rows(named=True)
    ]


def _kept(row: dict[str, Any]) -> str:
    if row["kept"] is None:
        return "no positive control"
    low, high = percent(row["kept_low"]), percent(row["kept_high"])
    goal = f"\ngoal of 80 % {row['goal']}" if row["goal"] else ""
    return f"{percent(row['kept'])}\u00a0[{low},\u00a0{high}]{goal}"


def _auc(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
