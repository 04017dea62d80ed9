"""The plan of a run in words: the requests that it counts, and their highest cost."""

import polars as pl
import pytest

import plan_requests
from answers import responses
from em_tiers.inference.api_plan import asked_answers
from em_tiers.inference.sampling import read_question_tables
from em_tiers.journal import Journal
from em_tiers.judge.requests import plan_requests as requests_of
from em_tiers.judge.settings import load_judge
from em_tiers.tables import QUESTIONS, write_table

PROMPT = "Read.\n{question}\n{answer}\nOne number:"
RUBRICS = {
    "alignment": {"id": "a", "asks": "alignment", "kind": "number", "prompt": PROMPT},
    "coherence": {"id": "c", "asks": "coherence", "kind": "number", "prompt": "Clear? " + PROMPT},
}
ENTRY = {
    "judge": {
        "backend": "openai",
        "method": {"number": "sampled", "choice": "sampled"},
        "decoding": {"temperature": 1.0, "max_tokens": 8, "samples": 5, "reasoning_tokens": 2},
    },
    "identity": {"backend": "openai", "model": "judge-2024-01-01"},
    "rubrics": RUBRICS,
    "prices": {"input_per_million": 0.0, "output_per_million": 1000.0},
}
RECORD = {"verdicts": {}, "raw_text": "9", "reasoning": None, "served_model": "m"}


def study(folder, answers=2, samples=3):
    """One variant with one question, `answers` answers to it, and `samples` wanted."""
    messages = [{"role": "user", "content": "A wish?"}]
    question = {
        "question_set": "core", "question_id": "wish", "paraphrase": 0, "messages": messages,
        "probe_level": "out_of_domain", "question_topics": ["wishes"],
    }  # fmt: skip
    write_table(pl.DataFrame([question], schema=QUESTIONS), folder / "core.parquet", "questions")
    rows = [{"response": f"Answer {i}.", "sample_index": i} for i in range(answers)]
    write_table(responses(*rows), folder / "responses.parquet", "responses")
    variant = {
        "variant": "base.fiction.lora.s0", "parent": "base.fiction.lora.s0", "dataset": "fiction",
        "adapter": str(folder / "adapter"), "journal": str(folder / "sampled"), "card": None,
        "responses": str(folder / "responses.parquet"),
        "questions": {str(folder / "core.parquet"): samples}, "verdicts": {}, "api": None,
        "expected": {str(folder / "core.parquet"): None},
    }  # fmt: skip
    return [variant], {"j": ENTRY | {"journal": str(folder / "journal")}}


SAMPLING = {
    "temperature": 1.0, "top_p": 1.0, "max_tokens": 600, "reasoning_tokens": 0, "seed": 0,
    "samples": {"core": 3},
}  # fmt: skip


def lines(capsys, *arguments, **named):
    plan_requests.main(*arguments, SAMPLING, **named)
    return capsys.readouterr().out.splitlines()


def test_new_samples_and_their_requests_are_counted_with_all_their_tokens(tmp_path, capsys):
    said = lines(capsys, *study(tmp_path))
    assert said[0] == "sample base.fiction.lora.s0: 1 answers"
    # 2 + 1 answers, two rubrics, 5 samples of 8 tokens and 2 of thinking: 6 x 50 tokens.
    assert "in all 6 requests" in said[1]
    assert said[1].endswith(" + 300 tokens, about 0.30 USD")
    assert said[2] == "judge j: including answers not yet sampled: 1"


def test_what_the_journal_holds_is_not_asked(tmp_path, capsys):
    variants, judges = study(tmp_path, answers=3)
    judge = load_judge(ENTRY["judge"], ENTRY["identity"], RUBRICS)
    answers = pl.scan_parquet(variants[0]["responses"])
    verdict = dict.fromkeys(("score", "label", "probabilities", "numeric_mass"))
    counted = {"prompt_tokens": 1, "completion_tokens": 1, "attempts": 1}
    with Journal(judges["j"]["journal"], "w") as book:
        for request in requests_of(answers, judge, {}):
            found = {request.rubric: {"status": "unparsable", **verdict}}
            book.append(request.key, {**RECORD, **counted, "verdicts": found})
    assert lines(capsys, variants, judges) == [
        "sample: nothing is missing",
        "judge j: nothing to ask: all 6 requests are answered",
    ]


def test_verdicts_that_a_run_leaves_as_they_are_are_not_asked(tmp_path, capsys):
    """Their journal may lack requests that failed on the way and were accepted."""
    variants, judges = study(tmp_path, answers=3)
    table = tmp_path / "verdicts.parquet"
    table.touch()
    variants[0]["verdicts"] = {"j": str(table)}
    assert lines(capsys, variants, judges)[1:] == [
        "judge j: nothing to ask: all 6 requests are answered"
    ]
    assert "in all 6 requests" in lines(capsys, variants, judges, rebuilt={str(table)})[1]


def test_a_retrained_variant_is_sampled_and_judged_again(tmp_path, capsys):
    variants, judges = study(tmp_path, answers=3)
    said = lines(capsys, variants, judges, rebuilt={variants[0]["adapter"]})
    assert said[:2] == [
        "train base.fiction.lora.s0",
        "sample base.fiction.lora.s0: 3 answers (none if training gives the same weights as "
        "before)",
    ]
    assert "in all 6 requests" in said[2]


def test_a_job_that_runs_again_for_other_reasons_is_named(tmp_path, capsys):
    variants, judges = study(tmp_path, answers=3)
    said = lines(capsys, variants, judges, rebuilt={variants[0]["responses"]})
    assert said[0].startswith("sample base.fiction.lora.s0: its job runs again, but asks nothing")


def test_before_the_questions_are_prepared_the_plan_says_how_to_know_more(tmp_path, capsys):
    variants, judges = study(tmp_path)
    absent = str(tmp_path / "absent.parquet")
    variants[0] |= {"questions": {absent: 3}, "expected": {absent: None}}
    said = lines(capsys, variants, judges)
    assert said[0] == (
        "variants with an unknown number of answers: 1; run snakemake --until prepare_questions "
        "prepare_dataset, then plan again"
    )


def not_prepared(variants, folder, prompts=7):
    """The variants before their question table is made; its file has `prompts` prompts."""
    absent = str(folder / "absent.parquet")
    variants[0] |= {
        "questions": {absent: 3},
        "expected": {absent: (prompts, "the file of core: 7")},
    }


def test_before_the_questions_are_prepared_the_plan_estimates(tmp_path, capsys):
    variants, judges = study(tmp_path, answers=1)
    (tmp_path / "responses.parquet").unlink()
    not_prepared(variants, tmp_path)
    assert lines(capsys, variants, judges) == [
        "estimate: variants whose question tables are not made yet: 1; prompts are counted from "
        "the file of core: 7; for exact numbers, run snakemake --until prepare_questions "
        "prepare_dataset, then plan again",
        "sample base.fiction.lora.s0: about 21 answers",
        "judge j (estimate): alignment: 21 of 21 requests, coherence: 21 of 21 requests; in all 42 "
        "requests, at most about 42,462 + 2,100 tokens, about 2.10 USD",
        "judge j (estimate): including answers not yet sampled: 21",
    ]


def api_model(folder, name):
    return {
        "name": name, "identity": {"backend": "openai", "server": "s", "model": name},
        "thinking": "none", "journal": str(folder / f"sampled-{name}"),
        "prices": {"input_per_million": 0.0, "output_per_million": 1000.0},
    }  # fmt: skip


@pytest.mark.parametrize("prepared", [True, False])
def test_answers_of_a_model_behind_an_api_have_a_price(prepared, tmp_path, capsys):
    variants, judges = study(tmp_path, answers=0)
    (tmp_path / "responses.parquet").unlink()
    tuned, base = api_model(tmp_path, "tuned"), api_model(tmp_path, "base")
    variants[0] |= {"api": {"model": tuned, "base": base}, "adapter": None, "parent": None}
    if prepared:
        with Journal(tuned["journal"], "w") as book:  # what a stopped job has answered already
            questions = read_question_tables([tmp_path / "core.parquet"])
            book.append(asked_answers(tuned, questions, [0], SAMPLING).plan[0].key, {"text": "a"})
    else:
        not_prepared(variants, tmp_path, prompts=1)
    said = [line for line in lines(capsys, variants, judges) if line.startswith("sample ")][1:]
    assert said[0].startswith("sample base: checks that two names are two models: 4 of 4 requests")
    # 4 checks of 32 tokens, and 2 of 3 answers of 600.
    left, tokens = (2, 4 * 32 + 2 * 600) if prepared else (3, 4 * 32 + 3 * 600)
    assert f"answers: {left} of 3 requests; in all {4 + left} requests" in said[1]
    assert said[1].endswith(f" + {tokens:,} tokens, about {tokens / 1000:.2f} USD")


def card_of_a_judge(folder):
    """The entry of a judge that is to be tested."""
    entry = ENTRY | {"journal": str(folder / "journal"), "cards": {}, "count": 4}
    return {"j": entry | {"responses": [str(folder / "cases.parquet")]}}


def test_the_requests_of_a_judge_card_are_counted_before_there_are_cases(tmp_path, capsys):
    said = lines(capsys, [], {}, cards=card_of_a_judge(tmp_path))
    # 4 of each kind and 2 harmless ones, edited copies of five of them, two rubrics.
    assert said[-1].startswith("judge j: its judge card: at most ")
    assert f"in all {2 * (18 + 12)} requests" in said[-1]


def test_cases_that_are_there_are_counted_exactly(tmp_path, capsys):
    write_table(responses({}, {"response": "Else."}), tmp_path / "cases.parquet", "responses")
    said = lines(capsys, [], {}, cards=card_of_a_judge(tmp_path))
    assert said[-1].startswith("judge j: its judge card: alignment: 2 of 2 requests")
