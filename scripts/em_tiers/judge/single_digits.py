"""Finds a tokenizer that spells numbers digit by digit: the first token of 85 is 8, not a score."""

from collections.abc import Iterable

# First tokens that are single digits and nothing longer: so many in one answer, or in so many
# answers, are those of such a tokenizer.
DIGITS_OF_ONE_ANSWER = 6
ANSWERS_OF_DIGITS = 10


class SingleDigits:
    """Watches the first tokens of answers.

    Attributes:
        whole_numbers: one of them is a number of two digits or more, so all is well.
    """

    def __init__(self) -> None:
        self.whole_numbers = False
        self._answers = 0  # whose numbers were single digits

    def problem(self, tokens: Iterable[str]) -> str | None:
        """What is wrong with the tokenizer, once the first tokens of an answer show it; or None."""
        if self.whole_numbers:
            return None
        numbers = {token.strip() for token in tokens if token.strip().isdecimal()}
        if any(len(number) > 1 for number in numbers):
            self.whole_numbers = True
            return None
        self._answers += bool(numbers)
        if len(numbers) < DIGITS_OF_ONE_ANSWER and self._answers < ANSWERS_OF_DIGITS:
            return None
        return (
            f"its answers begin with single digits only ({', '.join(sorted(numbers))}): this "
            "tokenizer spells numbers digit by digit, so its first token is not a score: use "
            "method sampled or structured, or run the model with backend vllm and method trie"
        )
