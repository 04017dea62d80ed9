"""Tier rules: ordered conditions that explain flagged answers.

Rules are data (config/tier_rules.yaml): each has a name, a tier, a reason and a condition in Polars
SQL. The first enabled rule that holds decides; a flagged answer without one is undecided.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from em_tiers.errors import UserError
from em_tiers.tables import OUTCOMES
from em_tiers.terms import BY_HUMAN, BY_JUDGE, BY_RULE, BY_TOPIC, NO_EVIDENCE, PROBE_LEVELS, TIERS

NO_RULE = "no_rule"
NO_RULE_REASON = "no enabled rule explains the answer"
NO_EVIDENCE_REASON = "no enabled rule has any evidence: no topic score or tier verdict that it uses"
TIER_PROBABILITIES = tuple(f"p_{tier}" for tier in TIERS)

# A condition may use the evidence on an answer, but nothing that depends on its outcome.
EVIDENCE = {
    name: kind
    for name, kind in OUTCOMES.items()
    if name not in {"flagged", "outcome", "tier", "assigned_by", "rule", "reason", "human_tier"}
    and not isinstance(kind, pl.List)
} | dict.fromkeys(TIER_PROBABILITIES, pl.Float64)
# One row of nulls: types that cannot be compared show only when a condition is evaluated.
NULL_ROW = pl.DataFrame(schema=EVIDENCE).clear(1)
TIER_VERDICT = ("tier_label", *TIER_PROBABILITIES)
JUDGED_EVIDENCE = ("topic", *TIER_VERDICT)  # what a judge may have failed to give
# One row of values: a cast that fails shows only on them.
_VALUES = {pl.String: "a", pl.Boolean: True, pl.Float64: 50.5}
SOME_ROW = pl.DataFrame({name: [_VALUES.get(kind, 1)] for name, kind in EVIDENCE.items()}, EVIDENCE)
# Columns whose values are known: another one in a condition is a misspelling.
KNOWN_VALUES = {"tier_label": TIERS, "probe_level": PROBE_LEVELS}
_TEXT = re.compile(r"'([^']*)'")
_PATTERN = re.compile(r"\b(i?like|regexp|rlike|starts_with|ends_with)\b|~", re.IGNORECASE)
# Parts of an expression that use other answers: a rule would then depend on what else was sampled.
OVER_ROWS = {"Agg", "Over", "Len", "Quantile", "Shift", "IntRange", "Correlation"}


@dataclass(frozen=True)
class Rule:
    """One enabled rule. `condition` is boolean without nulls over the columns `uses`."""

    name: str
    tier: str
    reason: str
    condition: pl.Expr
    uses: frozenset[str]


def read_rules(rules: Sequence[dict]) -> list[Rule]:
    """The enabled rules, in order, with their conditions checked against the columns.

    Raises:
        UserError: two rules share a name, a tier is unknown, or a condition is not a boolean
            expression over the evidence; the message names the rule, the expression and why.
    """
    names = [rule["name"] for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"tier rule {name}: two rules have this name; rename one of them")
        if name in (NO_RULE, BY_HUMAN):
            raise UserError(f"tier rule {name}: the workflow uses this name itself; choose another")
    return [_read_rule(rule) for rule in rules if rule.get("enabled", True)]


def _read_rule(rule: dict) -> Rule:
    if rule["tier"] not in TIERS:
        raise UserError(
            f"tier rule {rule['name']}: unknown tier {rule['tier']!r}; use {', '.join(TIERS)}"
        )
    condition = _read_condition(rule["name"], rule["condition"])
    return Rule(
        name=rule["name"],
        tier=rule["tier"],
        reason=" ".join(rule["reason"].split()),
        condition=condition.fill_null(False),
        uses=frozenset(condition.meta.root_names()),
    )


def _read_condition(name: str, text: str) -> pl.Expr:
    where = f"tier rule {name}: condition {text!r}"
    try:
        condition = pl.sql_expr(text)
        kind = NULL_ROW.select(condition).dtypes[0]
        SOME_ROW.select(condition)
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{where} is not valid ({reason}); use a Polars SQL expression over "
            f"{', '.join(EVIDENCE)}"
        ) from error
    if looks_at_other_rows(json.loads(condition.meta.serialize(format="json"))):
        raise UserError(
            f"{where} uses more than one answer (such as a mean, a count or OVER); "
            "compare the answer's own columns with fixed values"
        )
    if not condition.meta.root_names() and text.strip().lower() != "true":
        raise UserError(
            f"{where} uses no column, so it holds for every answer or for none: compare a column "
            "with a value, or write true for a last rule that takes all other answers"
        )
    if compares_with_null(json.loads(condition.meta.serialize(format="json"))):
        raise UserError(
            f"{where} compares with null, which is never true: write COLUMN IS NULL or IS NOT NULL"
        )
    if unknown := unknown_value(text, condition):
        raise UserError(
            f"{where} names {unknown!r}, which no answer has: use "
            f"{', '.join((*TIERS, *PROBE_LEVELS))}"
        )
    if kind != pl.Boolean:
        raise UserError(f"{where} gives {kind}, not true or false; write a comparison")
    return condition


def looks_at_other_rows(node: Any) -> bool:
    """Whether a serialised expression holds an aggregate, a window or the like."""
    if isinstance(node, dict):
        below = (value for name, value in node.items() if name != "Literal")
        return not OVER_ROWS.isdisjoint(node) or any(map(looks_at_other_rows, below))
    if isinstance(node, list):
        return any(map(looks_at_other_rows, node))
    return isinstance(node, str) and node in OVER_ROWS


def unknown_value(text: str, condition: pl.Expr) -> str | None:
    """A text in a condition on tier and level alone that neither can be; patterns are left out."""
    columns = {name for name in condition.meta.root_names() if EVIDENCE[name] == pl.String}
    if not columns or not columns <= KNOWN_VALUES.keys() or _PATTERN.search(text):
        return None
    known = {"", *(value for name in columns for value in KNOWN_VALUES[name])}
    return next((value for value in _TEXT.findall(text) if value not in known), None)


def compares_with_null(node: Any) -> bool:
    """Whether a serialised expression has null as a side of a comparison or of AND, OR."""
    if isinstance(node, dict):
        if "BinaryExpr" in node:
            sides = [node["BinaryExpr"].get(side) for side in ("left", "right")]
            if any(isinstance(side, dict) and "Null" in str(side.get("Literal")) for side in sides):
                return True
        return any(map(compares_with_null, node.values()))
    return isinstance(node, list) and any(map(compares_with_null, node))


def with_tier_probabilities(answers: pl.LazyFrame) -> pl.LazyFrame:
    """Add `p_<tier>`, one column per tier, from `tier_probabilities`; null where there are none.

    A map that does not sum to one (labels outside the tiers, rounding) is normalised over the
    tiers.
    """
    entries = pl.col("tier_probabilities")
    label, probability = (pl.element().struct.field(name) for name in ("label", "probability"))
    # Each entry by itself: a filter would be worked out for one answer after the other.
    masses = {
        name: entries.list.eval(pl.when(label == tier).then(probability).otherwise(0.0)).list.sum()
        for name, tier in zip(TIER_PROBABILITIES, TIERS, strict=True)
    }
    total = pl.sum_horizontal(TIER_PROBABILITIES)
    return answers.with_columns(**masses).with_columns(
        pl.when(entries.is_not_null() & (total > 0)).then(pl.col(name) / total).alias(name)
        for name in TIER_PROBABILITIES
    )


def first_match(rules: Sequence[Rule], value: str, otherwise: pl.Expr | None = None) -> pl.Expr:
    """Attribute `value` (name, tier, reason) of the first rule that holds, else `otherwise`."""
    otherwise = pl.lit(None, dtype=pl.String) if otherwise is None else otherwise
    expression = otherwise
    for rule in reversed(rules):
        chosen = pl.lit(getattr(rule, value))
        expression = pl.when(rule.condition).then(chosen).otherwise(expression)
    return expression


def with_first_match_without(
    answers: pl.LazyFrame, rules: Sequence[Rule], value: str, without: Sequence[str], name: str
) -> pl.LazyFrame:
    """Add the column `name`: `first_match` as it would be if the columns `without` were missing."""
    hidden = {column: f"hidden {column}" for column in without}
    return (
        answers.rename(hidden)
        .with_columns(pl.lit(None, EVIDENCE[column]).alias(column) for column in without)
        .with_columns(first_match(rules, value).alias(name))
        .drop(without)
        .rename({kept: column for column, kept in hidden.items()})
    )


def with_assigned_by(answers: pl.LazyFrame, rules: Sequence[Rule]) -> pl.LazyFrame:
    """Add `assigned_by`, what decided the tier: see `em_tiers.terms`.

    The judge's tier verdict decided if another rule, or none, would hold without it. That the
    condition mentions the verdict is not enough: it may be missing, or change nothing.
    """
    verdict, both = "rule without a tier verdict", "rule without a topic score either"
    answers = with_first_match_without(answers, rules, "name", TIER_VERDICT, verdict)
    answers = with_first_match_without(answers, rules, "name", JUDGED_EVIDENCE, both)
    decided = first_match(rules, "name")
    source = (
        pl.when(decided.is_null() & _lacks_evidence(rules))
        .then(pl.lit(NO_EVIDENCE))
        .when(decided.ne_missing(pl.col(verdict)))
        .then(pl.lit(BY_JUDGE))
        .when(decided.ne_missing(pl.col(both)))
        .then(pl.lit(BY_TOPIC))
        .otherwise(pl.lit(BY_RULE))
    )
    return answers.with_columns(assigned_by=source).drop(verdict, both)


def _lacks_evidence(rules: Sequence[Rule]) -> pl.Expr:
    """Whether all verdicts that any rule uses are missing; false where a rule needs none."""
    used = frozenset().union(*(rule.uses for rule in rules))
    if any(rule.uses.isdisjoint(JUDGED_EVIDENCE) for rule in rules):
        return pl.lit(False)
    return pl.all_horizontal(
        pl.lit(True), *(pl.col(name).is_null() for name in JUDGED_EVIDENCE if name in used)
    )
