"""Chat messages to token ids, the same way for training, sampling and judging.

The text around the messages comes from the tokenizer's chat template alone. No system prompt is
added here, but many templates bring one of their own where the conversation has none (SmolLM2:
"You are a helpful AI assistant named SmolLM, …"); an explicit system message replaces it.

The contents of a message are text and never control: `<|im_end|>` typed by a user, or written
by a model whose answer is shown to a judge, must not close the turn.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.placeholders import check_complete

Message = dict[str, str]
THINKING = ("none", "off", "on")

# Llama 3 templates print today's date unless one is given, and then every prompt (and so every
# request hash) would change over night. Other templates ignore the variable.
FIXED_DATE = "26 Jul 2024"

_THINK_BLOCK = re.compile(r"\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)


def load_tokenizer(model_dir: Path | str, chat_template: Path | str | None = None) -> Any:
    """The tokenizer of a local model folder, with the chat template of a file if one is named.

    Reads local files only and runs no code from the model folder. Raises UserError when the folder
    holds no tokenizer (or only a restored manifest), or no chat template.
    """
    check_complete(model_dir)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(model_dir), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"model: {model_dir}: the tokenizer cannot be read ({error}): download the model again"
        ) from error
    if chat_template is not None:
        tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
    if not isinstance(tokenizer.chat_template, str):
        raise UserError(
            f"model: {model_dir}: the tokenizer has no single chat template: "
            "name one in the model's catalogue entry (chat_template: path of a Jinja file)"
        )
    return tokenizer


def check_thinking(tokenizer: Any, thinking: str) -> None:
    """Raise UserError where the thinking policy is unknown or the template cannot carry it out."""
    template = tokenizer.chat_template
    if thinking not in THINKING:
        raise UserError(f"thinking: {thinking!r}: use one of {', '.join(THINKING)}")
    if thinking == "off" and "enable_thinking" not in template:
        raise UserError(
            "thinking: off: the chat template has no enable_thinking switch, so thinking cannot be "
            "turned off: use thinking: none for a model that does not think"
        )
    if thinking == "on" and "enable_thinking" not in template and "<think>" not in template:
        raise UserError(
            "thinking: on: the chat template knows no thinking: use thinking: none, or name a "
            "chat_template that has it"
        )


def render_prompt(tokenizer: Any, messages: Sequence[Message], thinking: str) -> list[int]:
    """Token ids of the conversation and of the opening of the assistant's next turn.

    `thinking` sets the template's `enable_thinking` to False ("off") or True ("on"); with "none"
    the template is left to its default. Raises UserError for messages the template refuses.
    """
    guarded, hidden = _hide_special(tokenizer, messages)
    return _encode(tokenizer, _render(tokenizer, guarded, thinking, open_turn=True), hidden)


def render_example(
    tokenizer: Any, prompt: Sequence[Message], answer: str, thinking: str
) -> tuple[list[int], int]:
    """Token ids of prompt and answer, and how many of them are the prompt.

    The prompt's ids are those of `render_prompt`, so a model is trained on the very prompt it is
    sampled with; the rest is tokenised apart, as if it had been generated. The rest is the answer
    and the token that ends the turn; what the template writes after that token (often a newline)
    is cut, because generation never gets there. Raises UserError where the template refuses the
    messages, contradicts the sampling prompt, or leaves out a part of the answer.
    """
    turn = [*prompt, {"role": "assistant", "content": answer}]
    guarded, hidden = _hide_special(tokenizer, turn)
    opening = _render(tokenizer, guarded[:-1], thinking, open_turn=True)
    whole = _render(tokenizer, guarded, thinking, open_turn=False)
    if not whole.startswith(opening):
        raise UserError(
            f"chat template: thinking: {thinking}: a conversation with its answer does not begin "
            "with the prompt that is used for sampling: use another thinking policy, or name a "
            "chat_template whose generation prompt agrees with its assistant turns"
        )
    _check_kept(guarded[-1]["content"], opening, whole[len(opening) :])
    prompt_ids = _encode(tokenizer, opening, hidden)
    ids = _encode(tokenizer, whole[len(opening) :], hidden)
    return prompt_ids + _cut_after_end_token(tokenizer, ids), len(prompt_ids)


def split_thinking(text: str, thinking: str, *, opened: bool = False) -> tuple[str | None, str]:
    """Part a completion into (reasoning or None, answer).

    With "none" the whole text is the answer, tags and all. Else a leading `<think>…</think>` block
    is the reasoning; one without an end was cut off while thinking, so its answer is empty. Pass
    `opened=True` where the prompt itself already opened the block (see `thinking_is_open`): then
    an unclosed text is reasoning even without a tag. An empty block counts as no reasoning.
    """
    if thinking == "none":
        return None, text
    block = _THINK_BLOCK.match(text) if opened or text.lstrip().startswith("<think>") else None
    if block:
        return block[1].strip() or None, text[block.end() :]
    if opened or text.lstrip().startswith("<think>"):
        return text.strip().removeprefix("<think>").strip() or None, ""
    return None, text


def thinking_is_open(tokenizer: Any, prompt_ids: Sequence[int]) -> bool:
    """Whether the prompt ends inside a thinking block that its template opened."""
    return tokenizer.decode(list(prompt_ids)[-8:]).rstrip().endswith("<think>")


class _Hidden:
    """Control tokens that were taken out of messages, and the mark that replaces them."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.tokens: list[str] = []
        self.pattern = re.compile(f"{mark}([0-9]+){mark}")

    def hide(self, match: re.Match[str]) -> str:
        self.tokens.append(match[0])
        return f"{self.mark}{len(self.tokens) - 1}{self.mark}"


def _hide_special(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[Message], _Hidden]:
    """Replace each control token in the messages by a numbered mark.

    The marks go through the template as text does.
    """
    everything = "".join(message["content"] for message in messages)
    hidden = _Hidden(next(chr(c) for c in range(0xE000, 0xF8FF) if chr(c) not in everything))
    control, _ = _control_tokens(tokenizer)
    guarded = [{**m, "content": control.sub(hidden.hide, m["content"])} for m in messages]
    return guarded, hidden


@lru_cache(maxsize=8)  # built once a tokenizer: Gemma's list has 6,000 entries
def _control_tokens(tokenizer: Any) -> tuple[re.Pattern[str], frozenset[int]]:
    """A pattern of every control token's text, and their ids: not only those with a role (eos …).

    `<think>` and the tool tags of Qwen3 are plain added tokens: they are left to work in contents,
    because a reasoning data set writes them there.
    """
    added = tokenizer.added_tokens_decoder.items()
    special = {token.content: number for number, token in added if token.special}
    longest_first = sorted(special, key=len, reverse=True)
    pattern = re.compile("|".join(re.escape(token) for token in longest_first) or r"(?!)")
    return pattern, frozenset(special.values())


def _encode(tokenizer: Any, text: str, hidden: _Hidden) -> list[int]:
    """Token ids of rendered text; hidden control tokens come back as ordinary characters.

    Without any there is one piece, and so exactly what `apply_chat_template` would give.
    """
    ids: list[int] = []
    for number, piece in enumerate(hidden.pattern.split(text)):
        is_mark = number % 2 == 1  # re.split puts the group between the pieces
        plain = hidden.tokens[int(piece)] if is_mark else piece
        ids += tokenizer(plain, add_special_tokens=False, split_special_tokens=is_mark).input_ids
    return ids


def _render(tokenizer: Any, messages: Sequence[Message], thinking: str, open_turn: bool) -> str:
    from jinja2 import TemplateError

    check_thinking(tokenizer, thinking)
    switch = {} if thinking == "none" else {"enable_thinking": thinking == "on"}
    try:
        return tokenizer.apply_chat_template(
            list(messages),
            tokenize=False,
            add_generation_prompt=open_turn,
            date_string=FIXED_DATE,
            **switch,
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise UserError(
            f"chat template: refuses the roles {roles} ({error}): change the messages, or name "
            "another chat_template in the model's catalogue entry"
        ) from error


def _check_kept(answer: str, opening: str, turn: str) -> None:
    """Raise where a template drops text of the answer: many cut thoughts out of every turn.

    White space may change: templates trim, and set thoughts in lines of their own.
    """
    opened = "<think>" if opening.rstrip().endswith("<think>") else ""
    if "".join(answer.split()) not in "".join((opened + turn).split()):
        raise UserError(
            "chat template: leaves out a part of the answer (often the thoughts in <think>), so "
            "it would not be learnt: use cot: drop for the data set, or name a chat_template that "
            "keeps it"
        )


def _cut_after_end_token(tokenizer: Any, ids: list[int]) -> list[int]:
    _, special = _control_tokens(tokenizer)
    end = len(ids)
    while end and ids[end - 1] not in special and not tokenizer.decode(ids[end - 1 :]).strip():
        end -= 1
    if not end or ids[end - 1] not in special:
        raise UserError(
            "chat template: no special token ends the assistant's turn: a model trained with "
            "it would never stop: name a chat_template that closes the turn"
        )
    return ids[:end]
