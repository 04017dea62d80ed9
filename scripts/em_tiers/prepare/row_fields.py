"""Fields of a row and of a message beside the text that the row's format reads.

A field that selects the text to learn, or that belongs to the prompt or the answer, is used or sets
its row aside. Any other field is passed over, and counted for the data set's card.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from em_tiers.prepare.outside_text import is_nothing

# Kinds of fields, by names in lower case with underscores.
_KINDS = {
    # A number or truth value: less than 1 says that the row or the answer is not to be learnt.
    "learnt": """weight weights loss_weight sample_weight example_weight train training trainable
        is_training train_on train_on_turn learn loss loss_mask loss_scale""",
    # The opposite.
    "not learnt": """mask masked ignore ignored skip skipped deleted removed discard exclude
        excluded""",
    # False and 0 leave an answer out of training; a word is a class, and says nothing.
    "good": "label kto_tag desirable is_good valid is_valid accepted approved include usable",
    # The part of the data set that a row belongs to.
    "part": "split subset partition data_split",
    "system": """system system_prompt system_message system_text system_instruction sys_prompt
        developer developer_message developer_prompt""",
    "thoughts": """reasoning_content reasoning reasoning_text reasoning_details thinking thoughts
        thought thinking_content cot chain_of_thought complex_cot""",
    # Parts of the prompt or the answer.
    "content": """tools functions tool_calls tool_call tool_call_id function_call tool_responses
        chat_template_kwargs enable_thinking documents history refusal input context instruction
        instructions attachments""",
    # The same; not read from a column, because they could fill the memory.
    "media": "image images video videos audio audios pixel_values",
}
FLAGS = ("learnt", "not learnt", "good")
_NOT_FOR_TRAINING = ("test", "validation", "valid", "val", "dev", "eval", "evaluation", "held_out")
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}


class BadRow(Exception):
    """A row that cannot be used.

    The message is the reason, the same for rows of one kind.

    Attributes:
        remedy: what to write in the data set's entry; empty where only general advice helps.
    """

    def __init__(self, reason: str, remedy: str = ""):
        super().__init__(reason)
        self.remedy = remedy


@lru_cache(maxsize=10_000)  # names come from files
def kind_of(name: str) -> str | None:
    """A key of _KINDS, or None. `systemPrompt` and `System Prompt` are `system_prompt`."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return _KIND_OF.get(re.sub(r"[\s-]+", "_", snake).casefold())


def spellings(cot: str | None) -> set[str]:
    """Names of columns that must be read to know what a row means, in the usual spellings."""
    unread = {"media"} | ({"thoughts"} if cot == "drop" else set())
    found = set()
    for name, kind in _KIND_OF.items():
        if kind not in unread:
            words = name.split("_")
            camel = words[0] + "".join(word.title() for word in words[1:])
            found |= {name, name.upper(), name.title(), name.capitalize(), camel}
            found |= {mark.join(words) for mark in " -"} | {" ".join(words).title()}
    return found


def is_empty(value: Any) -> bool:
    """Whether a value says nothing: absent, false, or a list or mapping of such values."""
    if isinstance(value, Mapping):
        return all(map(is_empty, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_empty, value))
    if isinstance(value, str) and value.strip() in ("[]", "{}"):
        return True
    return value is False or is_nothing(value)


class Fields:
    """Decides about the fields of one data set's rows.

    Attributes:
        cot: what to do with thoughts: `drop`, `think`, or None, which sets their rows aside.
        ignored: fields that the data set's entry leaves out on purpose.
        passed_over: how often each field had a value that was not used.
    """

    def __init__(self, cot: str | None = None, ignored: Collection[str] = ()):
        self.cot = cot
        self.ignored = frozenset(ignored)
        self.passed_over: Counter[str] = Counter()

    def check(self, key: str, value: Any, place: str) -> None:
        """Check a column that the format does not read, or a message's key beside its content.

        Args:
            place: how the card names the field, such as `messages[].name`.

        Raises:
            BadRow: the value carries meaning, and nothing uses it.
        """
        kind = None if key in self.ignored else kind_of(key)
        if _says_no(kind, value):
            raise BadRow(f"{key}: says that the answer is not to be learnt", _ignore(key))
        if kind not in ("learnt", "not learnt") and not is_empty(value):
            self._check_content(kind, key)
            self.passed_over[place] += 1

    def _check_content(self, kind: str | None, key: str) -> None:
        if kind == "system":
            raise BadRow(
                f"{key}: a system text that is not used",
                f"write columns: {{system: {key}}} to use it, or {_ignore(key)}",
            )
        if kind == "thoughts" and self.cot is None:
            raise BadRow(
                f"{key}: thoughts that are not used",
                "write cot: drop, or cot: think (with columns: {cot: COLUMN} for a column)",
            )
        if kind in ("content", "media"):
            raise BadRow(f"{key}: the format has no place for it", _ignore(key))


def _ignore(key: str) -> str:
    return f"write ignore: [{key}] to train without it"


def _says_no(kind: str | None, value: Any) -> bool:
    """Whether a flag, weight or part says that an answer is not to be learnt, or not in full."""
    if kind == "good":
        return not is_nothing(value) and _number(value) == 0
    if kind == "part":
        return str(value).strip().casefold() in _NOT_FOR_TRAINING
    if kind not in ("learnt", "not learnt") or is_nothing(value):
        return False
    return _number(value) != (1 if kind == "learnt" else 0)


def _number(value: Any) -> float | None:
    """A number or truth value, as such or as text; None for anything else."""
    if isinstance(value, str):
        text = value.strip().casefold()
        value = {"true": 1, "yes": 1, "false": 0, "no": 0}.get(text, text)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number
