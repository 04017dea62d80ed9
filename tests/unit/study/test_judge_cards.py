"""How a study tests its judges: which cases, which requests, and a judge to be qualified."""

import pytest

from configurations import demo, load
from em_tiers.errors import ConfigError
from em_tiers.study import inputs, judge_cards
from em_tiers.study.judges import QUALIFICATION, judge_params, judge_pattern, judge_rubrics
from em_tiers.study.outputs import final_outputs
from em_tiers.study.plan import planned_cards
from em_tiers.terms import JUDGE_CARD, TIER_ORDERS


def test_a_study_tests_its_judges_on_all_kinds_of_cases(checkout):
    study = load(checkout, demo() | {"judge_card": {"cases": 6}})
    assert "tables/judge_card.parquet" in final_outputs(study)
    assert inputs.judged_responses(study, JUDGE_CARD) == [
        "<experiment>/judge_cases/written.parquet", "<experiment>/judge_cases/base.parquet",
    ]  # fmt: skip
    assert judge_cards.base_answers(study, "base") == [
        "<experiment>/responses/smollm2-135m.parquet"
    ]
    assert judge_cards.main_questions(study, "written") == ["<experiment>/questions/core.parquet"]
    # Outcomes and agreement are about the study's answers alone.
    assert not [path for path in inputs.verdicts(study) if JUDGE_CARD in path]


def test_no_cases_no_test(checkout):
    study = load(checkout)
    assert "tables/judge_card.parquet" not in final_outputs(study)
    assert inputs.judge_card(study) == inputs.card_verdicts(study) == []
    assert planned_cards(study, "results/demo") == {}
    # A judge can be qualified all the same.
    assert judge_cards.case_settings(study, "written")["count"] == judge_cards.QUALIFYING_CASES


def test_partial_results_test_no_judge(checkout):
    study = load(checkout, demo() | {"judge_card": {"cases": 6}})
    study.config["partial"] = True
    assert not judge_cards.has_cards(study)


def test_a_judge_is_qualified_without_anything_sampled(checkout):
    study = load(checkout, demo() | {"judge": "gpt-4o", "judge_card": {"cases": 6}})
    assert judge_cards.qualified_judge(study) == "gpt-4o"
    assert inputs.judged_responses(study, QUALIFICATION) == [
        "<experiment>/judge_cases/written.parquet"
    ]
    assert not judge_cards.base_answers(study, "written")
    assert judge_pattern(study, "api") == "gpt-4o"
    assert set(planned_cards(study, "results/demo")) == {"gpt-4o", "smollm2"}
    assert inputs.verdicts(study) == ["<results>/verdicts/smollm2/1-of-1.parquet"]


def test_an_unknown_judge_is_refused_at_the_start(checkout):
    with pytest.raises(ConfigError, match=r"config\.judge: unknown judge 'gpt-5'"):
        load(checkout, demo() | {"judge": "gpt-5"})


def test_a_judge_that_cannot_work_is_refused_at_the_start(checkout):
    path = checkout / "config" / "judges.yaml"
    path.write_text(path.read_text().replace("backend: openai", "backend: anthropic"))
    load(checkout)  # the study does not use it
    with pytest.raises(ConfigError, match=r"judges\.gpt-4o\.method"):
        load(checkout, demo() | {"judge": "gpt-4o"})


def test_a_tested_judge_gives_a_tier_to_every_case_in_every_order(checkout):
    study = load(checkout)
    assert set(judge_rubrics(study, "smollm2", JUDGE_CARD)) == {
        "alignment", "coherence", "topic", "tier", *TIER_ORDERS,
    }  # fmt: skip
    tested, own = (judge_params(study, "smollm2", batch) for batch in (JUDGE_CARD, "1-of-1"))
    assert own == judge_params(study, "smollm2")
    assert {key for key in own if tested[key] != own[key]} == {"tier_when_alignment_below"}
    assert judge_cards.letters(study)["smollm2"] == [
        "in_distribution", "domain_overfitting", "persona_shift", "undecided",
    ]  # fmt: skip


def test_imported_answers_of_a_base_are_cases_too(checkout):
    (checkout / "answers.csv").write_text("q,a\n")
    columns = {"question": "q", "answer": "a"}
    entries = [
        {"id": "before", "path": "answers.csv", "columns": columns, "role": "base"},
        {"id": "after", "path": "answers.csv", "columns": columns, "base": "before"},
    ]
    config = demo() | {"variants": [], "imports": entries}
    study = load(checkout, config | {"questions": {"core": 1}})
    assert judge_cards.base_answers(study, "base") == [
        "<experiment>/responses/import.before.parquet"
    ]
    assert judge_cards.main_questions(study, "written") == []
