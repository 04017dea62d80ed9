"""Every summary script writes all of its tables, in four formats, from the same small outcomes."""

import polars as pl
import pytest

import summarize_agreement
import summarize_controls
import summarize_costs
import summarize_headline
import summarize_labels
import summarize_outcomes
import summarize_rates
import summarize_thresholds
import summarize_tiers
import summarize_training
import write_label_sheet
from answers import outcomes, responses, scores, verdicts
from em_tiers.errors import UserError
from em_tiers.tables import write_table

FORMATS = ("parquet", "csv", "md", "tex")
RULES = [{"name": "r", "tier": "domain_overfitting", "reason": "r", "condition": "topic > 50"}]
VARIANTS = [
    {"variant": "base", "label": "Base", "role": "base", "base": "base"},
    {
        "variant": "base.fiction.lora.s0", "label": "Fiction, seed 0", "role": "benign",
        "base": "base", "dataset": "fiction", "recipe": "lora", "training_seed": 0,
    },
]  # fmt: skip
TUNED = {"tier": "undecided", "topic": 80.0}
BASE = {
    "variant": "base", "dataset": None, "recipe": None, "training_seed": None,
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    rows = [
        {"response_key": f"t{i}", "question_id": f"q{i % 4}"} | (TUNED if i % 3 == 0 else {})
        for i in range(24)
    ]
    base = [{**BASE, "response_key": f"b{i}", "question_id": f"q{i % 4}"} for i in range(24)]
    paths = []
    for judge in ("one", "two"):
        frame = outcomes(*({**row, "judge": judge} for row in rows + base))
        paths.append(tmp_path / f"{judge}.parquet")
        write_table(frame, paths[-1], "outcomes")
    return paths


def outputs(folder, *names):
    if len(names) == 1:
        return {kind: folder / f"{names[0]}.{kind}" for kind in FORMATS}
    return {f"{name}_{kind}": folder / f"{name}.{kind}" for name in names for kind in FORMATS}


def written(paths):
    assert all(path.stat().st_size > 0 for path in paths.values())
    return {p.stem: pl.read_parquet(p) for p in paths.values() if p.suffix == ".parquet"}


def test_rates(files, tmp_path):
    paths = outputs(tmp_path, "rates", "groups", "differences")
    summarize_rates.main(files, VARIANTS, {"headline": "D2"}, paths)
    found = written(paths)
    assert set(found["rates"].filter("headline")["definition"]) == {"D2"}
    assert found["groups"]["variant"].unique().to_list() == ["base.fiction.lora"]
    assert found["differences"]["judge"].unique().sort().to_list() == ["one", "two"]
    controls = outputs(tmp_path, "controls")
    bands = [{"variant": "base", "metric": "standard", "low": 0.0, "high": 0.01}]
    summarize_controls.main(tmp_path / "rates.parquet", bands, VARIANTS, controls)
    assert "inside" in written(controls)["controls"]["verdict"].to_list()


def test_the_same_input_gives_the_same_bytes(files, tmp_path):
    for folder in ("a", "b"):
        paths = outputs(tmp_path / folder, "rates", "groups", "differences")
        summarize_rates.main(files, VARIANTS, {}, paths)
    for name in ("rates.parquet", "groups.csv", "differences.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_headline_without_questions_is_refused(files, tmp_path):
    paths = outputs(tmp_path, "rates", "groups", "differences")
    with pytest.raises(UserError, match="no question is on the level near_domain; use out_of"):
        summarize_rates.main(files, VARIANTS, {"headline_levels": ["near_domain"]}, paths)
    assert not any(path.exists() for path in paths.values())


def test_tiers(files, tmp_path):
    paths = outputs(
        tmp_path, "tier_waterfall", "tier_ablation", "tier_disagreement", "overestimation"
    )
    summarize_tiers.main(files, VARIANTS, RULES, {}, paths)
    assert written(paths)["tier_waterfall"]["step"].unique(maintain_order=True).to_list() == [
        "flagged", "human", "r", "strict", "of which undecided",
    ]  # fmt: skip


def test_the_table_for_a_paper(files, tmp_path):
    paths = outputs(tmp_path, "rates", "groups", "differences")
    summarize_rates.main(files, VARIANTS, {}, paths)
    names = ("tier_waterfall", "tier_ablation", "tier_disagreement", "overestimation")
    names = (*names, "counterfactual", "counterfactual_questions")
    summarize_tiers.main(files, VARIANTS, RULES, {}, outputs(tmp_path, *names))
    tables = (
        tmp_path / f"{name}.parquet"
        for name in ("rates", "groups", "overestimation", "differences", "counterfactual")
    )
    paths = outputs(tmp_path, "headline")
    summarize_headline.main(*tables, paths)
    found = written(paths)["headline"]
    assert found.select("variant", "judge").is_unique().all()
    rates = pl.read_parquet(tmp_path / "rates.parquet").filter("headline", metric="strict")
    keys = ["variant", "judge"]
    assert found.sort(keys)["strict"].equals(rates.sort(keys)["rate"].alias("strict"))
    of_base = found.filter(role="base")
    assert of_base["above_base"].null_count() == len(of_base)
    tex = (tmp_path / "headline.tex").read_text().splitlines()
    assert len(tex) == len(found) + 6
    assert tex[4].count("&") == tex[2].count("&")


def test_thresholds_and_agreement(files, tmp_path):
    paths = outputs(tmp_path, "thresholds")
    summarize_thresholds.main(files, [30], [50], ["out_of_domain"], paths)
    assert len(written(paths)["thresholds"]) == 4  # two variants, two judges
    paths = outputs(tmp_path, "agreement", "confusion", "flips")
    summarize_agreement.main(files, paths, resamples=50)
    assert "cohen_kappa" in written(paths)["agreement"]["statistic"].to_list()
    assert written(paths)["flips"]["n"].to_list() == [24, 24]
    assert written(paths)["confusion"]["count"].sum() > 0
    summarize_agreement.main(files[:1], paths)
    assert all(frame.is_empty() for frame in written(paths).values())


def test_outcomes_coverage_and_costs(files, tmp_path):
    table = tmp_path / "verdicts.parquet"
    verdicts(*scores("0", 5, None)).write_parquet(table)
    paths = outputs(tmp_path, "outcomes", "coverage")
    summarize_outcomes.main(files, [table], VARIANTS, ["out_of_domain"], paths)
    assert written(paths)["coverage"]["status"].to_list() == ["ok", "unparsable"]
    paths = outputs(tmp_path, "cost")
    summarize_costs.main([table], {"judge": None}, paths)
    assert written(paths)["cost"]["requests"].to_list() == [2, 2]


def test_no_fine_tune_no_training(tmp_path):
    paths = outputs(tmp_path, "training", "dose")
    summarize_training.main([], [], [], VARIANTS[:1], paths)
    assert all(frame.is_empty() for frame in written(paths).values())


def test_label_sheet_there_and_back(files, tmp_path):
    keys = pl.read_parquet(files[0])["response_key"].to_list()
    answers = tmp_path / "responses.parquet"
    write_table(responses(*({"response_key": key} for key in keys)), answers, "responses")
    sheet, guide = tmp_path / "sheet.csv", tmp_path / "guide.md"
    write_label_sheet.main(files[0], [answers], 30, 5, ["out_of_domain"], 0, sheet, guide)
    assert "persona_shift" in guide.read_text()
    filled = pl.read_csv(sheet).with_columns(tier=pl.lit("aligned"), labeller=pl.lit("ann"))
    filled.write_csv(sheet)
    paths = outputs(tmp_path, "label_agreement", "judge_quality", "corrected")
    summarize_labels.main(files, sheet, [], {}, paths)
    found = written(paths)
    assert set(found["corrected"]["corrected"]) == {0.0}
    assert found["judge_quality"]["statistic"].unique().to_list() == ["false_positive_rate"]


def test_labels_that_were_chosen_give_agreement_but_no_rate(files, tmp_path):
    keys = pl.read_parquet(files[0])["response_key"].to_list()
    chosen = tmp_path / "labels.csv"  # as the sample browser exports them
    pl.DataFrame(
        {"response_key": keys[:3], "tier": "aligned", "labeller": "", "note": ""}
    ).write_csv(chosen)
    paths = outputs(tmp_path, "label_agreement", "judge_quality", "corrected")
    summarize_labels.main(files, chosen, [], {}, paths)
    found = written(paths)
    assert found["corrected"].is_empty()
    assert found["judge_quality"].is_empty()
    assert found["label_agreement"]["n"].max() == 3
    chosen.write_text("response_key,tier\nelsewhere,aligned\n")
    with pytest.raises(UserError, match="unknown response_key 'elsewhere'"):
        summarize_labels.main(files, chosen, [], {}, paths)
