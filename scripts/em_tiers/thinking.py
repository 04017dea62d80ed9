"""Where a model's thoughts end and its answer begins: the marks around thoughts, and the split.

A model entry, or an entry of `imports`, names its marks under `thinking_marks`, by a name of
KNOWN_MARKS or by their texts. Nothing heavy is imported here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from em_tiers.errors import UserError

THINKING = ("none", "off", "on")


@dataclass(frozen=True)
class Marks:
    """Texts around a model's thoughts.

    begin, end: they enclose the thoughts, and white space around them belongs to them.
    answer: what a model may write before an answer without thoughts; "" for nothing.
    """

    begin: str
    end: str
    answer: str = ""

    @property
    def is_prose(self) -> bool:
        """Whether ordinary text may begin like this: only the end makes it a mark."""
        return self.begin[0].isalpha()


THINK = Marks("<think>", "</think>")

# As the models write them, and as their texts read where special tokens were left out.
KNOWN_MARKS = {
    "think": THINK,  # Qwen3, DeepSeek-R1, QwQ, GLM, Nemotron, MiniMax and most others
    "magistral": Marks("[THINK]", "[/THINK]"),
    "gpt-oss": Marks(
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|channel|>final<|message|>",
    ),
    "gpt-oss-text": Marks("analysis", "assistantfinal", "final"),
    "gemma-4": Marks("<|channel>thought", "<channel|>"),
    "medgemma": Marks("<unused94>thought", "<unused95>"),
    "seed-oss": Marks("<seed:think>", "</seed:think>"),
    "command-a": Marks("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>"),
    "apertus": Marks("<|inner_prefix|>", "<|inner_suffix|>"),
    "openthinker": Marks("<|begin_of_thought|>", "<|end_of_thought|>"),
    "kimi": Marks("◁think▷", "◁/think▷"),
    "granite": Marks("Here is my thought process:", "Here is my response:"),
    "thinking-tags": Marks("<thinking>", "</thinking>"),
    "thought-tags": Marks("<thought>", "</thought>"),
    "reasoning-tags": Marks("<reasoning>", "</reasoning>"),
}


def read_marks(entry: str | Mapping[str, str] | None) -> Marks | None:
    """The marks of a configuration's `thinking_marks`: a known name, {begin, end, answer}, null."""
    if entry is None:
        return None
    return KNOWN_MARKS[entry] if isinstance(entry, str) else Marks(**entry)


def marks_in_text(text: str) -> Marks | None:
    """The known marks with which a text begins; None where it begins like an answer."""
    start = text.lstrip()
    return next((marks for marks in KNOWN_MARKS.values() if _begins(start, marks)), None)


def marks_in_template(template: str) -> Marks | None:
    """The known marks that a chat template writes; None where it knows no thinking."""
    tags = (marks for marks in KNOWN_MARKS.values() if not marks.is_prose)
    return next((marks for marks in tags if marks.begin in template), None)


def check_policy(template: str, thinking: str, marks: Marks | None = None) -> None:
    """Raise UserError where a thinking policy is unknown or contradicts a chat template's text.

    marks: those that the model's entry names: a model may think without a word of its template.
    """
    if thinking not in THINKING:
        raise UserError(f"thinking: {thinking!r}: use one of {', '.join(THINKING)}")
    switch = thinking_switch(template)
    if thinking == "off" and not switch:
        raise UserError(
            "thinking: off: the chat template has no enable_thinking switch, so thinking cannot be "
            "turned off: use thinking: none for a model that does not think"
        )
    if thinking == "none" and switch:
        raise UserError(
            f"thinking: none: the chat template has the switch {switch}, and left alone a model "
            'may think where its fine-tunes do not: write thinking: "off", or "on" with '
            "sampling.reasoning_tokens"
        )
    if thinking == "on" and not (switch or marks or marks_in_template(template)):
        raise UserError(
            "thinking: on: the chat template knows no thinking: use thinking: none, name a "
            "chat_template that has it, or name the model's thinking_marks"
        )


def split_thinking(
    text: str, thinking: str, *, opened: bool = False, marks: Marks | None = None
) -> tuple[str | None, str]:
    """Part a completion into (reasoning or None, answer).

    With "none" the whole text is the answer, marks and all. Else leading thoughts within `marks`
    (None: whichever known ones the text begins with) are the reasoning; thoughts without an end
    were cut off, so their answer is empty. Pass `opened=True` where the prompt itself opened the
    thoughts: then an unclosed text is reasoning even without a mark. Empty thoughts count as no
    reasoning.
    """
    if thinking == "none":
        return None, text
    marks = marks or marks_in_text(text) or THINK
    begun = text.lstrip().startswith(marks.begin)
    thoughts, end, answer = text.partition(marks.end)
    if (begun or opened) and (end or not (marks.is_prose and not opened)):
        reasoning = thoughts.strip().removeprefix(marks.begin).strip() or None
        return reasoning, _without_mark(answer.lstrip() if end else "", marks.answer)
    return None, _without_mark(text, marks.answer)


def is_cut_off(answer: str, finish_reason: str | None) -> bool:
    """Whether an answer is empty because the token limit came before it, mostly while thinking."""
    return finish_reason == "length" and not answer.strip()


def unsplit_warning(answers: Iterable[str], key: str) -> str | None:
    """A line on answers that begin with a known mark of thinking, which was not split off.

    key: the setting that splits it off, as the reader would write it.
    """
    found: dict[str, int] = {}
    for answer in answers:
        marks = marks_in_text(answer)
        if marks is not None:
            found[marks.begin] = found.get(marks.begin, 0) + 1
    if not found:
        return None
    begin = max(found, key=found.__getitem__)
    name = next(name for name, marks in KNOWN_MARKS.items() if marks.begin == begin)
    return (
        f"{sum(found.values())} answers begin with a mark of thinking ({begin!r}), so their "
        f"thoughts are judged as part of the answer: set {key.format(name=name)}"
    )


@lru_cache(maxsize=32)
def thinking_switch(template: str) -> str | None:
    """The variable with which a chat template turns thinking on and off; None without one."""
    from jinja2 import Environment, TemplateSyntaxError, meta

    # A tag of the training library that marks the assistant's turns; it means nothing here.
    plain = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", template)
    try:
        parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)
    except TemplateSyntaxError:
        known = re.findall(r"\b(enable_thinking)\b", template)
        return known[0] if known else None
    asked = meta.find_undeclared_variables(parsed)
    return next((name for name in ("enable_thinking", "thinking") if name in asked), None)


def _begins(start: str, marks: Marks) -> bool:
    return start.startswith(marks.begin) and (not marks.is_prose or marks.end in start)


def _without_mark(answer: str, mark: str) -> str:
    if not mark or mark[0].isalpha():  # "final" may well be the answer's first word
        return answer
    start = answer.lstrip()
    return start.removeprefix(mark).lstrip() if start.startswith(mark) else answer
