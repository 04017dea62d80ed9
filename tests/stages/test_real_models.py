"""Sampling and training with real tokenizers, templates and architectures, and tiny weights."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import test_finetune

import finetune
import sample
from em_tiers.errors import UserError
from em_tiers.inference.chat import load_tokenizer
from em_tiers.tables import QUESTIONS, read_table, write_table
from em_tiers.train.encoded_rows import IGNORED, encode_rows, read_training_rows
from em_tiers.train.trainer import attention_of
from real_tokenizers import saying, tiny_model

pytestmark = pytest.mark.heavy

ENGINE = {"device": "cpu", "max_model_len": 256, "max_num_seqs": 8, "kv_cache_gib": 0.5}
VARIANT = {
    "variant": "tiny", "base": "tiny", "dataset": None, "recipe": None, "training_seed": None,
    "checkpoint_step": None, "adapter": None, "questions": [0],
}  # fmt: skip
# A template that opens the thoughts in the prompt, as those of reasoning models do.
OPENING = (
    "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def sampled(folder: Path, model: Path, thinking: str = "none", **sampling) -> pl.DataFrame:
    """One model's forty answers to one question."""
    question = {
        "question_set": "core", "question_id": "river", "paraphrase": 0, "question_topics": [],
        "probe_level": "out_of_domain", "messages": [{"role": "user", "content": "Name a river."}],
    }  # fmt: skip
    write_table(pl.DataFrame([question], schema=QUESTIONS), folder / "core.parquet", "questions")
    template = folder / "template.jinja"
    sample.main(
        model=model,
        adapters=[],
        questions=[folder / "core.parquet"],
        variants=[VARIANT],
        sampling={"temperature": 1.0, "top_p": 1.0, "max_tokens": 24, "seed": 0, **sampling}
        | {"samples": {"core": 40}},
        thinking=thinking,
        engine=ENGINE,
        model_identity={"id": "tiny", "revision": "1"},
        journal=folder / "journal",
        writer="tiny",
        output=folder / "responses.parquet",
        chat_template=template if template.is_file() else None,
    )
    return read_table(folder / "responses.parquet", "responses")


def test_a_base_model_stops_where_training_ends_a_turn(tmp_path):
    """Its own end token is <|endoftext|>; without a stop token each answer would fill its limit."""
    model = saying(tiny_model("qwen2.5-base", tmp_path / "model"), "A", "<|im_end|>")
    answers = sampled(tmp_path, model)
    assert set(answers["finish_reason"]) == {"stop"}
    assert answers["response"].str.contains("^A*$").all()


def test_thoughts_and_answers_have_limits_of_their_own(tmp_path):
    model = saying(tiny_model("qwen3", tmp_path / "model"), "A", "</think>", "<|im_end|>")
    (tmp_path / "template.jinja").write_text(OPENING)
    answers = sampled(tmp_path, model, "on", max_tokens=1, reasoning_tokens=1)
    cut = answers.filter(pl.col("response") == "", pl.col("finish_reason") == "length")
    said = answers.filter(pl.col("response") == "A")
    assert cut.height
    assert said.height
    assert set(answers["response"]) <= {"", "A", "</think>"}
    assert cut["reasoning"].drop_nulls().str.len_chars().max() <= 1
    assert answers["completion_tokens"].max() <= 2


def test_a_model_with_the_switch_is_not_sampled_as_if_it_had_none(tmp_path):
    with pytest.raises(
        UserError, match=r'thinking: none: .*enable_thinking.*write thinking: "off"'
    ):
        sampled(tmp_path, tiny_model("qwen3", tmp_path / "model"))


@pytest.mark.parametrize(
    ("family", "thinking", "end"),
    [
        ("qwen3-base", "off", "<|im_end|>"),
        ("mistral-v3", "none", "</s>"),
        ("gemma2", "none", "<end_of_turn>"),
    ],
)
def test_a_real_architecture_is_trained_to_end_its_turns(tmp_path, family, thinking, end):
    model = tiny_model(family, tmp_path / "model")
    train = test_finetune.write_rows(tmp_path / "train.jsonl")
    call = test_finetune.arguments(model, train, tmp_path, max_steps=1)
    finetune.main(**call | {"thinking": thinking})
    tokenizer = load_tokenizer(model)
    encoded = encode_rows(tokenizer, read_training_rows(train), thinking, 128)
    labels = [label for label in encoded.labels[0].tolist() if label != IGNORED]
    assert tokenizer.decode(labels).replace(" ", "").startswith("Ahoy!A")
    assert tokenizer.convert_ids_to_tokens(labels[-1]) == end
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 1
    assert attention_of(str(model)) == ("eager" if family == "gemma2" else None)


def test_gemma_2_is_trained_with_the_cap_that_it_is_sampled_with(tmp_path):
    """The fused attention leaves the soft cap out; its logits differ from those of eager."""
    import torch
    from transformers import AutoModelForCausalLM

    model = tiny_model("gemma2", tmp_path / "model", attn_logit_softcapping=0.01, head_dim=16)
    outputs = []
    for attention in (attention_of(str(model)), "eager", "sdpa"):
        loaded = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float32, attn_implementation=attention
        )
        with torch.no_grad():
            for name, weights in loaded.named_parameters():
                if "q_proj" in name or "k_proj" in name:
                    weights.mul_(50)
            outputs.append(loaded(torch.arange(5, 40)[None]).logits)
    trained, eager, fused = outputs
    assert torch.equal(trained, eager)
    assert not torch.allclose(trained, fused, atol=1e-4)
    shutil.rmtree(model)
