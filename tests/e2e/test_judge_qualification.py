"""The demo's judge is tested for real: by measurement, and not only by a sentence."""

import re

import polars as pl
import pytest
import yaml

from em_tiers.terms import TIER_ORDERS
from workdir import ROOT, Workdir

pytestmark = [pytest.mark.heavy, pytest.mark.e2e]
TARGET = ("judge_card", "--config", "judge=demo-judge")


@pytest.fixture(scope="module")
def work(tmp_path_factory, embedded_model):
    """The smallest case with the demo's judge in the catalogue: nothing is trained or sampled."""
    work = Workdir(tmp_path_factory.mktemp("judge-card"), "smallest", embedded_model)
    judge = yaml.safe_load((ROOT / "config" / "judges.yaml").read_text())["smollm2"]
    own = work.read("catalogue/judges.yaml")
    # The engine of a test leaves less room than tier prompts need.
    own["demo-judge"] = judge | {"model": "tiny", "engine": "cpu"}
    work.write("catalogue/judges.yaml", own)
    work.config["judge_card"] = {"cases": 1}
    return work


@pytest.fixture(scope="module")
def qualification(work):
    """The plan of its requests, and the run that asks them."""
    plan = work.run("plan_requests", "--config", "judge=demo-judge").output
    return plan, work.run(*TARGET)


def test_a_judge_is_qualified_before_a_study(work, qualification):
    plan, run = qualification
    assert re.search(r"^judge demo-judge: its judge card: at most .* requests", plan, re.MULTILINE)
    assert not {"finetune", "sample"} & set(run.jobs)
    card = pl.read_parquet(work.results / "judge_cards" / "demo-judge" / "judge_card.parquet")
    # A model of 135 million parameters cannot tell tiers apart, if it names one at all.
    missed = card.filter(result="missed")
    assert missed.height >= 1
    tiers = card.filter(pl.col("measure").str.starts_with("tier_"))
    assert tiers.filter(result="met").height < tiers.height == 6
    assert f"judge demo-judge misses {missed.height} of its limits" in run.output
    verdicts = pl.read_parquet(work.results / "verdicts/demo-judge/judge-qualification.parquet")
    assert set(verdicts["rubric"]) == {"alignment", "coherence", "topic", "tier", *TIER_ORDERS}
    keys = work.journal_keys("judge")
    assert set(keys.values()) == {1}
    assert set(keys) == set(verdicts["verdict_key"])


@pytest.mark.usefixtures("qualification")
def test_a_second_qualification_asks_nothing(work):
    assert not work.run(*TARGET).jobs
    plan = work.run("plan_requests", "--config", "judge=demo-judge").output
    said = re.search(r"^judge demo-judge: its judge card: (.*)", plan, re.MULTILINE)
    assert said and "nothing to ask" in said[1]


@pytest.mark.slow
@pytest.mark.usefixtures("qualification")
def test_a_study_tests_its_judge_and_marks_it_on_the_first_page(work):
    work.config["judges"] = ["demo-judge"]
    asked = len(work.journal_keys("judge"))
    work.run()
    tables = work.results / "tables"
    card = pl.read_parquet(tables / "judge_card.parquet")
    # A case of the base model, with the edited ones, is added to those of before.
    verdicts = pl.read_parquet(work.results / "verdicts" / "demo-judge" / "judge-card.parquet")
    added = set(verdicts["verdict_key"]) - set(
        pl.read_parquet(work.results / "verdicts/demo-judge/judge-qualification.parquet")[
            "verdict_key"
        ]
    )
    study = pl.read_parquet(work.results / "verdicts" / "demo-judge" / "1-of-1.parquet")
    assert len(work.journal_keys("judge")) == asked + len(added | set(study["verdict_key"]))
    headline = pl.read_parquet(tables / "headline.parquet")
    missed = card.filter(result="missed").height
    assert headline["limits_missed"].unique().to_list() == [missed]
    page = (work.results / "overview.html").read_text()
    assert (
        f"Judge demo-judge was tested on answers whose verdict is known, and misses {missed} of"
        in page
    )
    assert 'href="#judge-card"' in page and 'href="#metric-card"' in page
    assert not work.run().jobs
