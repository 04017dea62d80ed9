"""What one model's chat template does to conversations, found with its tokenizer and no weights.

`check_template` needs no data: it refuses a template with which no answer would mean what it
should. `measure_prompt` and `measure_example` take one conversation; they count its tokens, and
return what the template cannot carry instead of raising, so that a table can list all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from em_tiers.files import read_json
from em_tiers.inference.chat import (
    Message,
    TemplateError,
    check_thinking,
    end_token_of,
    marks_of,
    render_example,
    render_prompt,
)
from em_tiers.thinking import Marks, read_marks, thinking_switch

# Texts that no template writes by itself.
_SYSTEM = {"role": "system", "content": "Zq7 rules of the house."}
_TURNS = (
    {"role": "user", "content": "Zq1 is the first question."},
    {"role": "assistant", "content": "Zq2 is its answer."},
    {"role": "user", "content": "Zq3 is the second question."},
)


@dataclass(frozen=True)
class TemplateFacts:
    """What a model's template does.

    Attributes:
        end_token, end_token_id: what ends an assistant's turn in training, and stops sampling;
            None where no special token does, with which nothing can be trained.
        stops_by_itself: the model's own files name that token as an end; False for most base
            models.
        thinking_switch: the template's variable that turns thinking on and off, or None.
        marks: around the model's thoughts.
        system_role: kept, refused or dropped.
        earlier_turns: kept, refused or dropped.
    """

    end_token: str | None
    end_token_id: int | None
    stops_by_itself: bool
    thinking_switch: str | None
    marks: Marks
    system_role: str
    earlier_turns: str


@dataclass(frozen=True)
class Measured:
    """One rendered conversation.

    Attributes:
        tokens: of prompt and answer together; 0 with a problem.
        prompt_tokens: of the prompt alone; 0 with a problem.
        problem: None, or one word of chat.PROBLEMS.
        message: None, or the problem in one line with its remedy.
    """

    tokens: int
    prompt_tokens: int
    problem: str | None = None
    message: str | None = None


def check_template(
    tokenizer: Any,
    model_dir: Path | str,
    thinking: str,
    thinking_marks: str | Mapping[str, str] | None = None,
) -> TemplateFacts:
    """Check one model's template without any data, and say what it does.

    Args:
        tokenizer: of `chat.load_tokenizer`.
        model_dir: the model's folder, for its generation_config.json.
        thinking, thinking_marks: as in the model's catalogue entry.

    Raises:
        UserError: the thinking policy does not fit the template, or it refuses a plain question.
    """
    marks = read_marks(thinking_marks)
    check_thinking(tokenizer, thinking, marks)
    end = _end_token(tokenizer, thinking)
    return TemplateFacts(
        end_token=None if end is None else tokenizer.convert_ids_to_tokens(end),
        end_token_id=end,
        stops_by_itself=end in own_end_tokens(tokenizer, model_dir),
        thinking_switch=thinking_switch(tokenizer.chat_template),
        marks=marks_of(tokenizer, marks),
        system_role=_fate(tokenizer, [_SYSTEM, _TURNS[0]], thinking),
        earlier_turns=_fate(tokenizer, _TURNS, thinking),
    )


def measure_prompt(tokenizer: Any, messages: Sequence[Message], thinking: str) -> Measured:
    """Tokens of the prompt with which a question is sampled, or what is wrong with it."""
    try:
        tokens = len(render_prompt(tokenizer, messages, thinking))
    except TemplateError as error:
        return Measured(0, 0, error.problem, str(error))
    return Measured(tokens, tokens)


def measure_example(
    tokenizer: Any, prompt: Sequence[Message], answer: str, thinking: str
) -> Measured:
    """Tokens of a training row before it is cut at max_length, or what is wrong with it."""
    try:
        ids, prompt_tokens = render_example(tokenizer, prompt, answer, thinking)
    except TemplateError as error:
        return Measured(0, 0, error.problem, str(error))
    return Measured(len(ids), prompt_tokens)


def own_end_tokens(tokenizer: Any, model_dir: Path | str) -> set[int]:
    """Token ids at which an engine stops by itself: of the tokenizer and generation_config.json."""
    file = Path(model_dir) / "generation_config.json"
    named = read_json(file).get("eos_token_id") if file.is_file() else None
    listed = named if isinstance(named, list) else [named]
    return {token for token in (*listed, tokenizer.eos_token_id) if token is not None}


def stop_tokens(tokenizer: Any, model_dir: Path | str, thinking: str) -> tuple[int, ...]:
    """Token ids that an engine has to be told to stop at: the end of a turn, if that is not eos.

    Empty for most instruct models. A base model's own end token is another than its template's,
    and it would go on with invented turns.
    """
    end = _end_token(tokenizer, thinking)
    known = own_end_tokens(tokenizer, model_dir)
    return () if end is None or end in known else (end,)


def _end_token(tokenizer: Any, thinking: str) -> int | None:
    try:
        return end_token_of(tokenizer, thinking)
    except TemplateError as error:
        if error.problem != "no_end_token":
            raise
        return None


def _fate(tokenizer: Any, messages: Sequence[Message], thinking: str) -> str:
    problem = measure_prompt(tokenizer, messages, thinking).problem
    return {None: "kept", "message_dropped": "dropped"}.get(problem, "refused")
