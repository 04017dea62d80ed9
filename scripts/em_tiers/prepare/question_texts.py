"""Texts of questions: as they are compared, and as messages show them.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from em_tiers.errors import UserError

_SHOWN = 60  # characters of a question in a message


def compared(text: str) -> str:
    """A question's text without case, blanks and punctuation, as two are compared."""
    return " ".join(re.findall(r"\w+", text.lower())) or text


def conversation(messages: Iterable[Mapping[str, str]]) -> str:
    """The text of a question: its messages but for a system text."""
    return "\n\n".join(m["content"] for m in messages if m["role"] != "system")


def check_shared(base: str, alone: Iterable[str], count: int) -> None:
    """Refuse questions of which none is asked of the base model.

    Args:
        alone: the questions that are not.
        count: how many questions there are.

    Raises:
        UserError: naming one of them.
    """
    alone = list(alone)
    if count and len(alone) == count:
        raise UserError(
            f"base: no question is also asked of {base}, so no difference can be computed "
            f"({shortened(alone[0])}): add the question set to config.questions, name an import of "
            "the base model's answers, or remove base"
        )


def shortened(text: Any) -> str:
    """The beginning of a text, in quotes."""
    text = " ".join(str(text).split())
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
