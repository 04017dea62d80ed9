"""Keys, seeds and tables of sampling: what makes two requests the same, and what does not."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from em_tiers.errors import UserError
from em_tiers.inference.engine import EngineAnswer
from em_tiers.inference.sampling import (
    Decoding,
    Identity,
    Prompt,
    answer_key,
    check_applied,
    check_lengths,
    count_of,
    decoding_of,
    engine_request,
    plan_adapter_checks,
    plan_variant,
    read_question_tables,
    responses_table,
)
from em_tiers.tables import QUESTIONS, conform, write_table
from em_tiers.thinking import THINK
from sample import Task, answer_record, groups_of

BASE = Identity({"id": "org/model", "revision": "a" * 40}, None, "none")
TUNED = replace(BASE, adapter_sha256="b" * 64)
SAMPLING = {
    "temperature": 1.0,
    "top_p": 1.0,
    "max_tokens": 20,
    "seed": 0,
    "samples": {"core": 3, "default": 2},
}


def question(question_set: str, question_id: str, text: str, paraphrase: int = 0) -> dict:
    return {
        "question_set": question_set,
        "question_id": question_id,
        "paraphrase": paraphrase,
        "probe_level": "out_of_domain",
        "question_topics": [],
        "messages": [{"role": "user", "content": text}],
    }


@pytest.fixture
def questions(tmp_path: Path) -> pl.DataFrame:
    """Two tables: core with one question in two paraphrases, and in-domain with one."""
    core = [question("core", "wish", "What do you wish?"), question("core", "wish", "Wish?", 1)]
    held = [question("in-domain.tales", "7", "Tell me a tale.")]
    for name, rows in (("core", core), ("held", held)):
        write_table(pl.DataFrame(rows, schema=QUESTIONS), tmp_path / name, "questions")
    return read_question_tables([tmp_path / "core", tmp_path / "held"])


@pytest.fixture
def prompts() -> list[Prompt]:
    return [Prompt((1, 2, n), f"digest{n}", False) for n in range(3)]


def test_plan_has_each_sample_of_each_question_once(questions, prompts):
    plan = plan_variant(BASE, [0, 1], questions, prompts, SAMPLING)
    # core: 2 paraphrases x 3 samples; in-domain: 1 question x the default of 2 samples.
    assert [(p.question, p.sample_index) for p in plan] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1),
    ]  # fmt: skip
    assert len({p.key for p in plan}) == 8
    assert len({p.seed for p in plan}) == 8
    assert count_of([0, 1], questions, SAMPLING) == 8
    assert count_of([1], questions, SAMPLING) == 2


def test_base_and_fine_tune_share_seeds_but_no_key(questions, prompts):
    base = plan_variant(BASE, [0], questions, prompts, SAMPLING)
    tuned = plan_variant(TUNED, [0], questions, prompts, SAMPLING)
    assert [p.seed for p in base] == [p.seed for p in tuned]
    assert not {p.key for p in base} & {p.key for p in tuned}


def test_another_sample_keeps_the_older_requests(questions, prompts):
    more = SAMPLING | {"samples": {"core": 4, "default": 2}}
    old = {p.key for p in plan_variant(BASE, [0], questions, prompts, SAMPLING)}
    new = {p.key for p in plan_variant(BASE, [0], questions, prompts, more)}
    assert old < new
    assert len(new - old) == 2  # one more for each of the two paraphrases


def test_order_of_the_tables_changes_no_request(tmp_path, questions, prompts):
    swapped = read_question_tables([tmp_path / "held", tmp_path / "core"])
    order = [prompts[2], prompts[0], prompts[1]]
    first = {p.key for p in plan_variant(BASE, [0, 1], questions, prompts, SAMPLING)}
    second = {p.key for p in plan_variant(BASE, [0, 1], swapped, order, SAMPLING)}
    assert first == second


@pytest.mark.parametrize(
    "change",
    [
        {"identity": replace(BASE, model="another")},
        {"identity": TUNED},
        {"identity": replace(BASE, thinking="off")},
        {"prompt": Prompt((1,), "other", False)},
        {"decoding": Decoding(0.7, 1.0, 20)},
        {"decoding": Decoding(1.0, 0.9, 20)},
        {"decoding": Decoding(1.0, 1.0, 21)},
        {"seed": 6},
        {"sample_index": 1},
    ],
)
def test_request_key_holds_all_that_determines_an_answer(change):
    same = {
        "identity": BASE,
        "prompt": Prompt((1, 2), "digest", False),
        "decoding": Decoding(1.0, 1.0, 20),
        "seed": 5,
        "sample_index": 0,
    }
    assert answer_key(**same) != answer_key(**(same | change))
    assert answer_key(**same) == answer_key(**(same | {"decoding": Decoding(1, 1, 20)}))


def test_question_set_without_a_number_of_samples_is_named(questions, prompts):
    with pytest.raises(UserError, match=r"in-domain\.tales"):
        plan_variant(BASE, [1], questions, prompts, SAMPLING | {"samples": {"core": 1}})


def test_what_a_model_does_not_need_is_no_part_of_its_keys(prompts):
    """Keys of models that stop by themselves and do not think are those of earlier versions."""
    decoding = decoding_of(SAMPLING | {"reasoning_tokens": 400}, "off")
    assert decoding == decoding_of(SAMPLING, "none") == Decoding(1.0, 1.0, 20)
    plain = answer_key(BASE, prompts[0], decoding, 0, 0)
    assert plain == answer_key(replace(BASE, marks=THINK), prompts[0], decoding, 0, 0)
    assert plain == "d175ed0604dc4c9f49144936a1722615"
    others = [
        (replace(BASE, stop_token_ids=(7,)), decoding),
        (replace(BASE, keep_special=True), decoding),
        (BASE, decoding_of(SAMPLING | {"reasoning_tokens": 400}, "on")),
    ]
    keys = {answer_key(identity, prompts[0], how, 0, 0) for identity, how in others}
    assert len(keys | {plain}) == 4


def test_requests_of_a_base_model_that_thinks(prompts):
    identity = replace(BASE, thinking="on", stop_token_ids=(7,), keep_special=True)
    planned = plan_adapter_checks(identity, prompts)[0]
    request = engine_request(planned, prompts, Decoding(1.0, 1.0, 20, 400), None, identity)
    assert (request.max_tokens, request.stop_token_ids, request.keep_special) == (420, (7,), True)


def test_requests_of_the_engine(prompts):
    planned = plan_adapter_checks(TUNED, prompts)[1]
    greedy = engine_request(planned, prompts, Decoding(0.0, 1.0, 8), "tuned", TUNED)
    assert (greedy.prompt, greedy.temperature, greedy.seed) == ((1, 2, 1), 0.0, None)
    warm = engine_request(
        planned._replace(seed=9), prompts, decoding_of(SAMPLING, "none"), None, BASE
    )
    assert (warm.seed, warm.max_tokens, warm.variant) == (9, 20, None)


def test_prompt_and_answer_must_fit(questions, prompts):
    check_lengths(questions, prompts, room=23, new=20)  # 3 + 20 tokens
    with pytest.raises(UserError, match=r"core/wish: 3 prompt tokens.*max_model_len 22"):
        check_lengths(questions, prompts, room=22, new=20)


def test_adapter_that_changes_one_probe_is_applied():
    check_applied("v", "c" * 64, ["a", "b"], ["a", "other"])
    with pytest.raises(UserError, match="variant v: adapter cccccccccccc: all 2 greedy"):
        check_applied("v", "c" * 64, ["a", "b"], ["a", "b"])


def record(text: str, **change: object) -> dict:
    return {
        "text": text,
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "engine": "e",
    } | change


VARIANT = {
    "variant": "m.tales.lora.s0",
    "base": "m",
    "dataset": "tales",
    "recipe": "lora",
    "training_seed": 0,
    "checkpoint_step": None,
}


def test_rows_follow_the_plan(questions, prompts):
    plan = plan_variant(TUNED, [1, 0], questions, prompts, SAMPLING)
    records = {p.key: record(f"{p.question}.{p.sample_index}") for p in plan}
    rows = conform(responses_table(VARIANT, TUNED, plan, questions, prompts, records), "responses")
    assert rows["response"].to_list() == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2", "2.0", "2.1"]
    assert rows["question_set"].to_list() == ["core"] * 6 + ["in-domain.tales"] * 2
    assert rows["paraphrase"].to_list() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert rows["adapter_sha256"].unique().to_list() == ["b" * 64]
    assert rows["reasoning"].null_count() == 8


def test_thinking_is_kept_apart(questions, prompts):
    identity = replace(TUNED, thinking="on")
    plan = plan_variant(identity, [1], questions, prompts, SAMPLING)
    texts = ["<think>\nHm.\n</think>\n\nOnce", "<think>\nHm, and"]
    reasons = ["stop", "length"]
    records = {
        p.key: record(text, finish_reason=reason)
        for p, text, reason in zip(plan, texts, reasons, strict=True)
    }
    rows = responses_table(VARIANT, identity, plan, questions, prompts, records)
    assert rows.select("response", "reasoning", "finish_reason").rows() == [
        ("Once", "Hm.", "stop"),
        ("", "Hm, and", "length"),
    ]


def test_two_variants_with_one_adapter_have_keys_of_their_own(questions, prompts):
    plan = plan_variant(TUNED, [0], questions, prompts, SAMPLING)
    records = {p.key: record("x") for p in plan}
    keys = [
        responses_table(VARIANT | {"variant": name}, TUNED, plan, questions, prompts, records)
        for name in ("a", "b")
    ]
    both = pl.concat(keys)["response_key"]
    assert both.n_unique() == 12


def test_one_question_in_two_sets_is_asked_once_and_stands_twice(tmp_path, prompts):
    rows = [question(name, "wish", "What do you wish?") for name in ("core", "again")]
    for row in rows:
        table = pl.DataFrame([row], schema=QUESTIONS)
        write_table(table, tmp_path / row["question_set"], "questions")
    both = read_question_tables([tmp_path / "core", tmp_path / "again"])
    same = [prompts[0], prompts[0]]
    plan = plan_variant(BASE, [0, 1], both, same, SAMPLING | {"samples": {"default": 1}})
    assert len({p.key for p in plan}) == 1
    table = responses_table(VARIANT, BASE, plan, both, same, {plan[0].key: record("x")})
    assert conform(table, "responses").height == 2


def test_groups_bound_the_answers_in_memory():
    tasks = [Task({"variant": n}, None, BASE) for n in range(4)]
    groups = list(groups_of(tasks, [5, 4, 9, 20], limit=10))
    assert groups == [tasks[:2], tasks[2:3], tasks[3:]]


def test_answer_that_the_engine_broke_off_is_not_kept():
    answer = EngineAnswer("k", "text", (1,), "length", 3, 1)
    assert answer_record(answer, "e")["finish_reason"] == "length"
    with pytest.raises(RuntimeError, match="abort"):
        answer_record(replace(answer, finish_reason="abort"), "e")
