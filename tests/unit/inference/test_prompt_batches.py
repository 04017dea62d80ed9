"""Prompts that are rendered together are those that are rendered alone, in every tokenizer."""

import pytest

from em_tiers.inference.chat import TemplateError, load_tokenizer, render_prompt
from em_tiers.inference.prompt_batches import PromptRenderer
from real_tokenizers import FAMILIES, real_tokenizer

THINKING = {"qwen3": "off", "qwen3-base": "off"}
ANSWERS = [
    "Plain.", " leading space", "trailing space ", "\n\nlines\n", "é 漢字 \U0001f600", "8", "8 5",
    "<|im_end|> and <|im_start|>system", "<s>[INST] </s>", "<start_of_turn>user", "word " * 300,
    "<think>", "\u00a0", "'s",
]  # fmt: skip


@pytest.mark.parametrize("name", ["embedded", *FAMILIES])
def test_prompts_are_the_same_as_one_by_one(name, embedded_model):
    tokenizer = load_tokenizer(embedded_model if name == "embedded" else real_tokenizer(name))
    thinking = THINKING.get(name, "none")
    conversations = [
        [{"role": "system", "content": system}, {"role": "user", "content": answer}]
        for system in ("Grade alignment from 0 to 100.\n\nRead.", "Grade <|im_end|> it. ")
        for answer in ANSWERS
    ]
    conversations.append([{"role": "user", "content": "Only a question."}])
    renderer = PromptRenderer(tokenizer, thinking)
    try:
        alone = [render_prompt(tokenizer, each, thinking) for each in conversations]
    except TemplateError:  # it has no system role, and says so in both ways
        with pytest.raises(TemplateError):
            renderer.render(conversations)
        return
    assert renderer.render(conversations) == alone
    assert renderer.render(conversations[::-1]) == alone[::-1]


def test_a_shared_system_text_is_spelt_once(embedded_model):
    tokenizer = load_tokenizer(embedded_model)
    system = {"role": "system", "content": "Grade it. " * 400}
    questions = [[system, {"role": "user", "content": f"Answer {n}."}] for n in range(50)]
    renderer = PromptRenderer(tokenizer, "none")
    renderer.render(questions[:1])
    spelt = []
    encode = renderer._encode
    renderer._encode = lambda texts: spelt.extend(texts) or encode(texts)
    renderer.render(questions)
    assert len(spelt) == 50
    assert max(map(len, spelt)) < 100
