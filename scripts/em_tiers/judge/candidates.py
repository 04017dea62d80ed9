"""What a judge's model may say to a rubric, as its tokenizer spells it."""

from typing import Any

from em_tiers.errors import UserError
from em_tiers.inference.chat import reply_speller
from em_tiers.judge.number_trie import NUMBERS, Trie, build_trie, first_token_trie
from em_tiers.judge.rubrics import Rubric
from em_tiers.judge.settings import Judge


def candidates_of(
    tokenizer: Any, judge: Judge, rubric: Rubric, thinking: str, served_model: str
) -> Trie | None:
    """The candidates of a rubric's replies; None when they are sampled.

    Raises:
        UserError: the tokenizer spells two candidates alike, or numbers with several tokens where
            one is read.
    """
    method = judge.method(rubric)
    if method == "sampled":
        return None
    spell = reply_speller(tokenizer, thinking)
    if method == "trie":
        return build_trie(spell, [*NUMBERS, *rubric.labels], judge.opening)
    numbers = NUMBERS if method == "top_logprobs" else ()
    whole = build_trie(spell, [*numbers, *rubric.labels], judge.opening)
    spelt = {text: len(tokens) for tokens, text in whole.terminal.items()}
    long = next((number for number in numbers if spelt[number] > 1), None)
    if long is not None:
        raise UserError(
            f"method.number: top_logprobs: the tokenizer of {served_model} has no single token "
            f"for {long}, so its first token is not a score: use trie"
        )
    return first_token_trie(spell, [*numbers, *rubric.labels], judge.opening)
