"""Separate limits for a model's thoughts and for its answer.

The engine has one limit of tokens, the sum of both. What goes beyond either is cut afterwards, as
if each had had a limit of its own, so that long thoughts leave no shorter answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from em_tiers.inference.engine import EngineAnswer
from em_tiers.thinking import Marks

Decode = Callable[[Sequence[int]], str]


def within_budgets(
    answer: EngineAnswer,
    reasoning_tokens: int,
    max_tokens: int,
    marks: Marks,
    opened: bool,
    decode: Decode,
) -> EngineAnswer:
    """The answer with at most `reasoning_tokens` of thoughts and `max_tokens` of answer.

    Thoughts over their limit are cut there, and leave no answer. The count of generated tokens
    stays, because they were computed.

    Args:
        opened: the prompt opened the thoughts.
        decode: token ids to text, as the engine did.
    """
    thoughts = thought_tokens(answer.token_ids, marks, opened, decode)
    kept = reasoning_tokens if thoughts > reasoning_tokens else thoughts + max_tokens
    if len(answer.token_ids) <= kept:
        return answer
    ids = answer.token_ids[:kept]
    return replace(answer, text=decode(ids), token_ids=ids, finish_reason="length")


def thought_tokens(ids: Sequence[int], marks: Marks, opened: bool, decode: Decode) -> int:
    """How many tokens the thoughts and their marks are; all of them where the end is missing."""
    text = decode(ids)
    if not opened and not text.lstrip().startswith(marks.begin):
        return 0
    if marks.end not in text:
        return len(ids)
    low, high = 1, len(ids)
    while low < high:  # the smallest number of tokens whose text holds the end
        middle = (low + high) // 2
        low, high = (low, middle) if marks.end in decode(ids[:middle]) else (middle + 1, high)
    return low
