"""A judge's prompts against its model, before any GPU: roles, lengths, spelling of its replies."""

from collections.abc import Mapping, Sequence
from typing import Any

from em_tiers.errors import UserError
from em_tiers.inference.chat import Message
from em_tiers.inference.prompt_lengths import Lengths
from em_tiers.inference.template_checks import measure_prompt
from em_tiers.judge.candidates import candidates_of
from em_tiers.judge.rubrics import render_messages
from em_tiers.judge.settings import Judge

QUESTION: Message = {"role": "user", "content": "?"}  # where no question is known yet


def spelling_problems(tokenizer: Any, judge: Judge, name: str, thinking: str) -> list[str]:
    """Why the replies that a judge may give cannot be read off its tokens; each in one line."""
    problems = []
    for rubric in judge.rubrics.values():
        try:
            candidates_of(tokenizer, judge, rubric, thinking, name)
        except UserError as error:
            problems.append(f"judges.{name}: {error}")
    return list(dict.fromkeys(problems))


def measure_judge(
    tokenizer: Any,
    judge: Judge,
    role: str,
    questions: Sequence[Sequence[Message]],
    cards: Mapping[str, Mapping[str, Any]],
    thinking: str,
) -> Lengths:
    """Lengths of a rubric's prompts about an empty answer to each question.

    Args:
        cards: data set -> its card, for rubrics about a data set.
    """
    rubric = judge.rubrics[role]
    contexts = list(cards.values()) if rubric.needs_dataset else [None]
    return Lengths.of(
        measure_prompt(tokenizer, render_messages(rubric, question, "", context), thinking)
        for context in contexts
        for question in (questions or [[QUESTION]])
    )
