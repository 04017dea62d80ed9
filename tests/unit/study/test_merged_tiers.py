"""A merged model gets tiers: its strict rate is another number than its standard rate."""

import polars as pl
import pytest
from test_brought_weights import BASE, DESCRIBED, MERGED, merged, tuned  # noqa: F401

import assign_tiers
from answers import responses, scores, verdicts
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.rates import Settings, scan_outcomes, summarize_rates, variant_table
from em_tiers.study.entries import tier_rules, topics
from em_tiers.study.judges import judge_rubrics
from em_tiers.study.summaries import variant_rows
from em_tiers.tables import write_table

ANSWERS = 10


@pytest.mark.parametrize(("dataset", "strict"), [(DESCRIBED, 0.2), (None, 0.5)])
def test_answers_about_its_domain_are_left_out_of_the_strict_rate(
    merged, tmp_path, dataset, strict  # noqa: F811
):  # fmt: skip
    """Of ten answers five are misaligned, three of them about boats, as no question was."""
    found = tuned(merged, MERGED | {"dataset": dataset, "id": "mine"})
    variant = next(v for v in found.variants.values() if v.model)
    assert {"alignment", "coherence", "topic"} <= judge_rubrics(found, "smollm2").keys()
    columns = {"variant": variant.variant, "base": BASE, "dataset": variant.dataset}
    columns |= {"recipe": None, "training_seed": variant.training_seed, "adapter_sha256": None}
    table = responses(*({**columns, "question_id": f"q{n}"} for n in range(ANSWERS)))
    given = [v for n in range(ANSWERS) for v in scores(str(n), 10.0 if n < 5 else 90.0, 90.0)]
    if dataset:  # a judge is asked for the topic where a data set is named
        given += [(str(n), "topic", {"score": 90.0 if n < 3 else 5.0}) for n in range(ANSWERS)]
    given = [(key, rubric, change | {"variant": variant.variant}) for key, rubric, change in given]
    write_table(table, tmp_path / "responses.parquet", "responses")
    write_table(verdicts(*given), tmp_path / "verdicts.parquet", "verdicts")
    assign_tiers.main(
        [tmp_path / "responses.parquet"],
        [tmp_path / "verdicts.parquet"],
        "judge",
        tier_rules(found),
        "D1",
        topics(found),
        tmp_path / "outcomes.parquet",
    )
    settings = Settings()
    cells = count_cells(scan_outcomes([tmp_path / "outcomes.parquet"]), settings.strict_counts)
    rates = summarize_rates(cells, variant_table(variant_rows(found)), settings)
    shown = rates.filter(pl.col("headline"), probe_level="headline", variant=variant.variant)
    by_metric = dict(shown.select("metric", "rate").iter_rows())
    assert by_metric["standard"] == pytest.approx(0.5)
    assert by_metric["strict"] == pytest.approx(strict)
