"""Chat messages to token ids, the same way for training, sampling and judging.

The text around the messages comes from the tokenizer's chat template alone. No system prompt is
added here, but many templates bring one of their own where the conversation has none (SmolLM2:
"You are a helpful AI assistant named SmolLM, …"); an explicit system message replaces it.

The contents of a message are text and never control: `<|im_end|>` typed by a user, or written
by a model whose answer is shown to a judge, must not close the turn.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.placeholders import check_complete
from em_tiers.thinking import (
    KNOWN_MARKS,
    THINK,
    THINKING,
    Marks,
    check_policy,
    marks_in_template,
    split_thinking,
    thinking_switch,
)

Message = dict[str, str]

# Many templates print today's date, and then every prompt (and so every request hash) would change
# over night. Llama 3 takes it from `date_string`; Mistral, Granite and gpt-oss ask the clock.
FIXED_DAY = datetime(2024, 7, 26)
FIXED_DATE = FIXED_DAY.strftime("%d %b %Y")


class TemplateError(UserError):
    """Messages that a chat template cannot carry. `problem` is one word of PROBLEMS."""

    def __init__(self, problem: str, message: str):
        super().__init__(f"chat template: {message}")
        self.problem = problem


PROBLEMS = {
    "refused": "the template refuses the messages, often a system message",
    "message_dropped": "the text of a message is not in the prompt",
    "prompt_differs": "the prompt of training is not the prompt of sampling",
    "answer_dropped": "a part of the answer would not be learnt",
    "no_end_token": "no special token ends the assistant's turn",
}


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


def check_thinking(tokenizer: Any, thinking: str, marks: Marks | None = None) -> None:
    """Raise UserError where the thinking policy is unknown or does not fit the template.

    marks: those that the model's entry names.
    """
    check_policy(tokenizer.chat_template, thinking, marks)
    if thinking == "none" and (seen := _marks_in_prompt(tokenizer)):
        raise UserError(
            f"thinking: none: the chat template makes the model think (its prompt holds {seen!r}), "
            'and the thoughts would count as the answer: write thinking: "on"'
        )


_PROBE = "Zq9."  # a reply that no template writes by itself
_CHANNELS = "Valid channels: analysis"  # gpt-oss tells the model so in each prompt


def _marks_in_prompt(tokenizer: Any) -> str | None:
    """What in the prompt of a plain question makes a model think; None for nothing."""
    prompt = _render(tokenizer, [{"role": "user", "content": "?"}], "none", open_turn=True)
    begins = [marks.begin for marks in KNOWN_MARKS.values() if not marks.is_prose]
    return next((sign for sign in (*begins, _CHANNELS) if sign in prompt), None)


def marks_of(tokenizer: Any, marks: Marks | None = None) -> Marks:
    """The marks around a model's thoughts: those of its entry, else of its template."""
    return marks or marks_in_template(tokenizer.chat_template) or THINK


def has_special_marks(tokenizer: Any, marks: Marks) -> bool:
    """Whether the marks are special tokens, which an engine leaves out of a text by default."""
    control, _ = control_tokens(tokenizer)
    return bool(control.search(marks.begin + marks.end))


def render_prompt(tokenizer: Any, messages: Sequence[Message], thinking: str) -> list[int]:
    """Token ids of the conversation and of the opening of the assistant's next turn.

    `thinking` sets the template's `enable_thinking` to False ("off") or True ("on"); with "none"
    the template is left to its default. Raises TemplateError for messages that the template
    refuses, or whose text is not in the prompt.
    """
    guarded, hidden = _hide_special(tokenizer, messages)
    return _encode(tokenizer, _render(tokenizer, guarded, thinking, open_turn=True), hidden)


def render_example(
    tokenizer: Any, prompt: Sequence[Message], answer: str, thinking: str
) -> tuple[list[int], int]:
    """Token ids of prompt and answer, and how many of them are the prompt.

    The prompt's ids are those of `render_prompt`, so a model is trained on the very prompt it is
    sampled with; the rest is tokenised as if it had been generated after it. The rest is the answer
    and the token that ends the turn; what the template writes after that token (often a newline)
    is cut, because generation never gets there. Raises TemplateError where the template refuses
    the messages, contradicts the sampling prompt, or leaves out a part of the conversation.
    """
    turn = [*prompt, {"role": "assistant", "content": answer}]
    guarded, hidden = _hide_special(tokenizer, turn)
    opening = _render(tokenizer, guarded[:-1], thinking, open_turn=True)
    whole = _render(tokenizer, guarded, thinking, open_turn=False)
    if not whole.startswith(opening):
        raise TemplateError(
            "prompt_differs",
            f"thinking: {thinking}: a conversation with its answer does not begin "
            "with the prompt that is used for sampling: use another thinking policy, or name a "
            "chat_template whose generation prompt agrees with its assistant turns",
        )
    _check_kept(guarded[-1]["content"], opening, whole[len(opening) :])
    prompt_ids = _encode(tokenizer, opening, hidden)
    ids = _encode_reply(tokenizer, opening, prompt_ids, whole[len(opening) :], hidden)
    return prompt_ids + _cut_after_end_token(tokenizer, ids), len(prompt_ids)


def reply_speller(tokenizer: Any, thinking: str) -> Callable[[str], tuple[int, ...]]:
    """How a model spells a reply after its prompt: text -> token ids, as the template writes it.

    Templates of SentencePiece models put a space before the reply, which is a token of its own or
    a part of the reply's first one.
    """
    turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    opening = _render(tokenizer, turn[:-1], thinking, open_turn=True)
    whole = _render(tokenizer, turn, thinking, open_turn=False)
    lead = whole[len(opening) : whole.find(_PROBE)] if whole.startswith(opening) else ""
    _, hidden = _hide_special(tokenizer, [])
    prompt_ids = _encode(tokenizer, opening, hidden)
    return lambda reply: tuple(_encode_reply(tokenizer, opening, prompt_ids, lead + reply, hidden))


def end_token_of(tokenizer: Any, thinking: str) -> int:
    """The id of the token with which the template ends an assistant's turn, as training teaches it.

    Raises TemplateError where no special token ends it.
    """
    turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    whole = _render(tokenizer, turn, thinking, open_turn=False)
    rest = whole[whole.rfind(_PROBE) :]
    _, hidden = _hide_special(tokenizer, [])
    return _cut_after_end_token(tokenizer, _encode(tokenizer, rest, hidden))[-1]


def thinking_is_open(tokenizer: Any, prompt_ids: Sequence[int], marks: Marks | None = None) -> bool:
    """Whether the prompt ends inside a thinking block that its template opened."""
    end = tokenizer.decode(list(prompt_ids)[-16:]).rstrip()
    return end.endswith(marks_of(tokenizer, marks).begin)


def apply_template(
    tokenizer: Any, conversations: Sequence[Sequence[Message]], thinking: str
) -> list[str]:
    """The texts of `render_prompt`, unchecked, for messages of the same roles without control
    tokens."""
    if not conversations:
        return []
    return _apply(tokenizer, conversations, thinking, open_turn=True)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of rendered text that holds no hidden control tokens."""
    return tokenizer(text, add_special_tokens=False).input_ids


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
    control, _ = control_tokens(tokenizer)
    guarded = [{**m, "content": control.sub(hidden.hide, m["content"])} for m in messages]
    return guarded, hidden


@lru_cache(maxsize=8)  # built once a tokenizer: Gemma's list has 6,000 entries
def control_tokens(tokenizer: Any) -> tuple[re.Pattern[str], frozenset[int]]:
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


def _encode_reply(
    tokenizer: Any, opening: str, prompt_ids: list[int], reply: str, hidden: _Hidden
) -> list[int]:
    """Token ids of a reply where it follows its prompt.

    SentencePiece tokenizers put a space before a text that is encoded alone. Where the reply's
    first characters would merge with the prompt's last ones, which a model cannot generate, the
    reply is encoded alone.
    """
    ids = _encode(tokenizer, opening + reply, hidden)
    if ids[: len(prompt_ids)] == prompt_ids:
        return ids[len(prompt_ids) :]
    return _encode(tokenizer, reply, hidden)


def _render(tokenizer: Any, messages: Sequence[Message], thinking: str, open_turn: bool) -> str:
    """The conversation's text. Raises TemplateError where the template does not carry all of it."""
    [text] = _apply(tokenizer, [messages], thinking, open_turn)
    if open_turn:
        _check_messages(messages, text)
        _check_roles(tokenizer, tuple(message["role"] for message in messages), thinking)
    return text


@lru_cache(maxsize=4096)
def _check_roles(tokenizer: Any, roles: tuple[str, ...], thinking: str) -> None:
    """Raise where a message of such a conversation is dropped, although its words are elsewhere.

    A short text may be found by chance, so the conversation is rendered with texts of no language.
    """
    messages = [{"role": role, "content": f"Zq{n}."} for n, role in enumerate(roles)]
    try:
        [text] = _apply(tokenizer, [messages], thinking, open_turn=True)
    except TemplateError:  # a template that looks at the words
        return
    _check_messages(messages, text)


def _apply(
    tokenizer: Any, conversations: Sequence[Sequence[Message]], thinking: str, open_turn: bool
) -> list[str]:
    from jinja2 import TemplateError as JinjaError

    switch = _switch(tokenizer.chat_template, thinking)
    try:
        return tokenizer.apply_chat_template(
            [list(messages) for messages in conversations],
            tokenize=False,
            add_generation_prompt=open_turn,
            date_string=FIXED_DATE,
            strftime_now=FIXED_DAY.strftime,
            **switch,
        )
    except JinjaError as error:
        roles = ", ".join(message["role"] for message in conversations[0])
        raise TemplateError(
            "refused",
            f"refuses the roles {roles} ({error}): write system_text: before_question in the "
            "model's catalogue entry if it has no system role, name another chat_template there, "
            "or change the messages",
        ) from error


def _switch(template: str, thinking: str) -> dict[str, bool]:
    """The template's variable for thinking. Raises UserError for a policy that it cannot set."""
    name = thinking_switch(template)
    if thinking not in THINKING or (thinking == "off" and not name):
        check_policy(template, thinking)
    return {} if thinking == "none" or not name else {name: thinking == "on"}


def _check_messages(messages: Sequence[Message], prompt: str) -> None:
    """Raise where the text of a message is not in the prompt, in its order.

    White space may change. A system text may be moved, and thoughts of earlier turns left out.
    """
    text, place = "".join(prompt.split()), 0
    for number, message in enumerate(messages, start=1):
        is_system = message["role"] == "system"
        content = _without_space(message["content"])
        found = text.find(content, 0 if is_system else place)
        if found < 0 and message["role"] == "assistant":
            content = _without_space(split_thinking(message["content"], "on")[1])
            found = text.find(content, place)
        if found < 0:
            raise TemplateError(
                "message_dropped",
                f"the text of message {number} ({message['role']}) is not in the prompt, so the "
                "model would never see it: write system_text: before_question in the model's "
                "catalogue entry if it is the system text, name a chat_template there that keeps "
                "it, or leave the message out",
            )
        if not is_system:
            place = found + len(content)


def _without_space(text: str) -> str:
    return "".join(text.split())


def _check_kept(answer: str, opening: str, turn: str) -> None:
    """Raise where a template drops text of the answer: many cut thoughts out of every turn.

    White space may change: templates trim, and set thoughts in lines of their own.
    """
    opened = "<think>" if opening.rstrip().endswith("<think>") else ""
    if _without_space(answer) not in _without_space(opened + turn):
        raise TemplateError(
            "answer_dropped",
            "leaves out a part of the answer (often the thoughts in <think>), so it would not be "
            "learnt: use cot: drop for the data set, or name a chat_template that keeps it",
        )


def _cut_after_end_token(tokenizer: Any, ids: list[int]) -> list[int]:
    _, special = control_tokens(tokenizer)
    end = len(ids)
    while end and ids[end - 1] not in special and not tokenizer.decode(ids[end - 1 :]).strip():
        end -= 1
    if not end or ids[end - 1] not in special:
        raise TemplateError(
            "no_end_token",
            "no special token ends the assistant's turn: a model trained with it would never stop: "
            "name a chat_template that closes the turn",
        )
    return ids[:end]
