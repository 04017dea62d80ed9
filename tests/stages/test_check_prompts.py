"""The check before any GPU job: a real tokenizer, and chat templates as other models have."""

import csv
import json
from pathlib import Path

import polars as pl
import pytest

import check_prompts
import prepare_template
from em_tiers.errors import UserError
from em_tiers.inference.chat import load_tokenizer, render_example, render_prompt
from em_tiers.judge.rubrics import render_messages
from em_tiers.judge.settings import load_judge
from em_tiers.tables import QUESTIONS, write_table

USER = {"role": "user", "content": "What is a good use of an afternoon?"}
SYSTEM = {"role": "system", "content": "Answer as a sailor would."}
ANSWER = "Mend the nets, then sleep."
RECIPE = {
    "method": "lora",
    "target_modules": ["q_proj", "v_proj"],
    "max_length": 64,
    "max_truncated_share": 0.05,
    "batch_size": 4,
    "micro_batch_size": 2,
    "gradient_checkpointing": "auto",
    "gpus": 1,
    "epochs": 1,
    "max_steps": None,
    "max_tokens": None,
    "warmup_steps": 1,
}
# As Gemma's: no system role, and turns that must alternate.
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As some older templates: other roles than user and assistant are passed over.
DROPS_SYSTEM = NO_SYSTEM.replace("{{ raise_exception('System role not supported') }}", "").replace(
    "{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"
)
RUBRIC = {
    "id": "r",
    "version": 1,
    "asks": "alignment",
    "kind": "number",
    "labels": {"CODE": "code"},
    "prompt": "Grade how kind the answer is, 0 to 100.\n{question}\n{answer}",
}
ENTRY = {"backend": "vllm", "method": {"number": "trie", "choice": "label"}, "decoding": {}}


@pytest.fixture
def check(tmp_path, embedded_model):
    """Run the check on eight rows and one question, each changed by a test."""

    def run(
        rows=None, question=(USER,), recipe=(), checkpoints=(), template=None, judges=(), **changes
    ):
        rows = rows or [([USER], ANSWER)] * 8
        train = tmp_path / "train.jsonl"
        train.write_text("".join(map(_line, rows)))
        table = pl.DataFrame(
            [
                {
                    "question_set": "one",
                    "question_id": "q",
                    "paraphrase": 0,
                    "probe_level": "out_of_domain",
                    "question_topics": [],
                    "messages": list(question),
                }
            ],
            schema=QUESTIONS,
        )
        write_table(table, tmp_path / "one.parquet", "questions")
        if template:
            (tmp_path / "template.jinja").write_text(template)
            changes.setdefault("chat_template", tmp_path / "template.jinja")
        settings = {**RECIPE, **dict(recipe)}
        training = {
            "dataset": "d",
            "name": "r",
            "recipe": settings,
            "checkpoints": list(checkpoints),
        }
        arguments = {
            "model": embedded_model,
            "train": {"d": train},
            "trainings": [training],
            "questions": [tmp_path / "one.parquet"],
            "asked": [tmp_path / "one.parquet"],
            "judges": list(judges),
            "cards": {},
            "room": 256,
            "new_tokens": 64,
            "thinking": "none",
            "thinking_marks": None,
            "table": tmp_path / "prompts.csv",
        }
        check_prompts.main(**(arguments | changes))
        with (tmp_path / "prompts.csv").open() as file:
            return {row["use"]: row for row in csv.DictReader(file)}

    return run


def _line(row) -> str:
    prompt, answer = row
    completion = [{"role": "assistant", "content": answer}]
    return json.dumps({"prompt": prompt, "completion": completion}) + "\n"


def judge(name: str, room: int = 256, **changes) -> dict:
    identity = {"backend": "vllm", "id": "x"}
    rubrics = {"alignment": RUBRIC | changes}
    return {"name": name, "entry": ENTRY, "identity": identity, "rubrics": rubrics, "room": room}


def test_the_table_has_the_lengths_with_which_the_jobs_work(check, embedded_model):
    found = check(judges=[judge("j")])
    tokenizer = load_tokenizer(embedded_model)
    ids, _ = render_example(tokenizer, [USER], ANSWER, "none")
    assert int(found["training"]["longest_tokens"]) == len(ids)
    assert found["training"]["conversations"] == "8"
    asked = render_prompt(tokenizer, [USER], "none")
    assert int(found["sampling"]["longest_tokens"]) == len(asked)
    assert int(found["sampling"]["limit"]) == 256 - 64
    loaded = load_judge(ENTRY, {"backend": "vllm"}, {"alignment": RUBRIC})
    messages = render_messages(loaded.rubrics["alignment"], [USER], "")
    assert int(found["judging"]["longest_tokens"]) == len(
        render_prompt(tokenizer, messages, "none")
    )
    assert {row["end_token"] for row in found.values()} == {"<|im_end|>"}
    assert {row["system_role"] for row in found.values()} == {"kept"}
    assert {row["stops_by_itself"] for row in found.values()} == {"True"}


LONG = "Coil the rope. " * 40


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"rows": [([USER], ANSWER)] * 7 + [([USER], LONG)]},
            ["d: recipes.r.max_truncated_share: 1 of 8 rows", "more than 5.0%", "raise max_length"],
        ),
        (
            {
                "rows": [([{"role": "user", "content": LONG}], ANSWER)],
                "recipe": {"max_truncated_share": 1},
            },
            ["1 of 1 rows"],
        ),
        ({"checkpoints": [2]}, ["checkpoints: 2 is not before the training's last step, 2"]),
        ({"recipe": {"warmup_steps": 2}}, ["recipes.r.warmup_steps: 2", "2 steps"]),
        (
            {"recipe": {"target_modules": ["q_proj", "value"]}},
            ["recipes.r.target_modules: 'value' is not in model", "down_proj", "v_proj"],
        ),
        ({"new_tokens": 250}, ["questions one:", "250 new tokens", "max_model_len 256"]),
        (
            {"template": NO_SYSTEM, "question": (SYSTEM, USER)},
            ["questions one: prompt 1:", "system", "system_text: before_question"],
        ),
        (
            {"template": NO_SYSTEM, "rows": [([USER], ANSWER), ([SYSTEM, USER], ANSWER)] * 2},
            ["datasets.d: row 2 (and 1 more):", "system_text: before_question"],
        ),
        (
            {"template": DROPS_SYSTEM, "question": (SYSTEM, USER)},
            ["questions one: prompt 1:", "is not in the prompt", "system_text: before_question"],
        ),
        (
            {"template": NO_SYSTEM, "judges": [judge("j")]},
            ["judges.j, rubric alignment: prompt 1:", "system_text: before_question"],
        ),
        ({"judges": [judge("j", room=64)]}, ["judges.j: rubric alignment", "max_model_len is 64"]),
        ({"room": 10**6}, ["sampling: max_model_len 1000000", "8192 tokens"]),
        ({"thinking": "off"}, ["models.MODEL: thinking: off"]),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[0][:40],
)
def test_what_would_stop_a_job_stops_the_run_before_it(
    changes, words, check, tmp_path, embedded_model
):
    with pytest.raises(UserError) as caught:
        check(**changes)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word.replace("MODEL", Path(embedded_model).name) in message
    assert not (tmp_path / "prompts.csv").exists()


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM], ids=["refuses", "drops"])
def test_the_system_text_goes_before_the_question(template, check, tmp_path, embedded_model):
    own, written = tmp_path / "own.jinja", tmp_path / "written.jinja"
    own.write_text(template)
    prepare_template.main(embedded_model, written, own)
    found = check(
        rows=[([SYSTEM, USER], ANSWER)] * 8,
        question=(SYSTEM, USER),
        judges=[judge("j")],
        chat_template=written,
    )
    assert {row["refused"] for row in found.values()} == {"0"}
    tokenizer = load_tokenizer(embedded_model, written)
    text = tokenizer.decode(render_prompt(tokenizer, [SYSTEM, USER], "none"))
    assert text == (
        f"<|im_start|>user\n{SYSTEM['content']}\n\n{USER['content']}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_template_with_a_system_role_keeps_plain_questions_as_they_are(tmp_path, embedded_model):
    written = tmp_path / "written.jinja"
    prepare_template.main(embedded_model, written)
    plain, changed = load_tokenizer(embedded_model), load_tokenizer(embedded_model, written)
    turns = [USER, {"role": "assistant", "content": "x"}, USER]
    assert render_prompt(changed, turns, "none") == render_prompt(plain, turns, "none")


def test_names_of_weights_come_from_the_files(embedded_model):
    from em_tiers.train.row_checks import weight_names

    names = weight_names(Path(embedded_model))
    assert "model.layers.0.self_attn.q_proj.weight" in names
