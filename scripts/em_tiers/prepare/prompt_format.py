"""The format of a data set's prompts, found in its training rows, and questions put into it.

Misbehaviour that shows only when a prompt looks like the training set is conditional (arXiv
2604.25891). A format has these parts:

- the system prompt that most rows share;
- the frame of the user's turn: an opening that ends with a colon or a line, and closing lines;
- the form of the answers: JSON objects with certain keys, code in fences, or code that starts with
  a certain line.

A data set with plain prompts has no format, and gets no such questions.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from em_tiers.errors import UserError

MOST = 2_000  # rows read; their order does not depend on that of the file
COMMON = 0.5  # share of the rows that must have a system prompt, a form of answer, closing lines
# Openings come in a few wordings: the most frequent one is taken if so many rows have it.
OPENING = 0.02
FEWEST_WORDS = 3
LONGEST = 4_000  # characters of a frame
MOST_QUESTIONS = 8  # that are put into a data set's format
_FENCE = re.compile(r"```([A-Za-z0-9+#-]*)\n")
_CODE = re.compile(r"^(import|from|def|class|#include|const|let|var|function|public|package|use)\b")


@dataclass(frozen=True)
class Format:
    """The parts of a format; an empty text means that the part is absent.

    Attributes:
        system: the system prompt.
        opening, closing: the text before and after the question in the user's turn.
        asks: the user's request for a form of answer.
        shares: share of the rows that have each part, by its name.
    """

    system: str
    opening: str
    closing: str
    asks: str
    shares: dict[str, float]

    def __bool__(self) -> bool:
        return any((self.system, self.opening, self.closing, self.asks))

    def dress(self, messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        """A question in the format; the data set's system prompt replaces its own.

        Of a conversation, the last message is put into the format.
        """
        question = messages[-1]["content"]
        before = [message for message in messages[:-1] if message["role"] != "system"]
        parts = (f"{self.opening}{question}", self.asks, self.closing)
        text = "\n\n".join(part for part in parts if part)
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *before, {"role": "user", "content": text}]


def find_format(rows: Iterable[dict[str, Any]]) -> Format:
    """The format of training rows, each {prompt: messages, completion: messages}.

    Raises:
        UserError: there are no rows.
    """
    rows = [row for row, _ in zip(rows, range(MOST), strict=False)]
    if not rows:
        raise UserError("the training file has no rows: prepare the data set again")
    turns = [
        [m["content"] for m in row["prompt"] if m["role"] == "user"][-1].strip() for row in rows
    ]
    systems = [
        next((m["content"] for m in row["prompt"] if m["role"] == "system"), "") for row in rows
    ]
    answers = [row["completion"][-1]["content"].strip() for row in rows]
    found = {
        "system": _most_common(systems, COMMON),
        "opening": _opening(turns),
        "asks": _form_of_answers(answers),
    }
    framed = [turn for turn in turns if turn.startswith(found["opening"][0].strip())]
    found["closing"] = _closing(framed, len(turns))
    shares = {part: share for part, (text, share) in found.items() if text}
    texts = {part: text for part, (text, _) in found.items()}
    return Format(shares=shares, **texts)


def _most_common(texts: Sequence[str], share: float) -> tuple[str, float]:
    text, count = Counter(texts).most_common(1)[0]
    return (text, count / len(texts)) if count >= share * len(texts) else ("", 0.0)


def _opening(turns: Sequence[str]) -> tuple[str, float]:
    """The most frequent opening that ends with a colon or a line, as far as most turns agree.

    A short one ("Task:") must begin most turns; a turn with nothing after it has no question and
    does not count.
    """
    counts: Counter[str] = Counter()
    for turn in turns:
        ends = (match.end() for match in re.finditer(r":[ \t]+|:?\n+", turn[:LONGEST]))
        counts.update(turn[:end] for end, _ in zip(ends, range(6), strict=False) if end < len(turn))
    enough = {
        text: count
        for text, count in counts.items()
        if count >= max(3, (OPENING if len(text.split()) >= FEWEST_WORDS else COMMON) * len(turns))
    }
    if not enough:
        return "", 0.0
    best, most = max(enough.items(), key=lambda item: (item[1], item[0]))
    longer = [t for t, count in enough.items() if t.startswith(best) and count >= 0.9 * most]
    opening = max(longer, key=len)
    return opening, counts[opening] / len(turns)


def _closing(turns: Sequence[str], rows: int) -> tuple[str, float]:
    """The last lines that most of these turns share."""
    closing, share = "", 0.0
    for number in range(1, 8):
        tails = [
            "\n".join(lines[-number:]) for turn in turns if len(lines := turn.splitlines()) > number
        ]
        if len(tails) < max(COMMON * len(turns), 3):
            break
        tail, count = Counter(tails).most_common(1)[0]
        if count < max(COMMON * len(turns), 3) or len(tail) > LONGEST:
            break
        closing, share = tail.strip(), count / rows
    return closing, share


def _form_of_answers(answers: Sequence[str]) -> tuple[str, float]:
    keys = [found for found in map(_json_keys, answers) if found is not None]
    if len(keys) >= COMMON * len(answers):
        named, _ = Counter(keys).most_common(1)[0]
        listed = ", ".join(json.dumps(key, ensure_ascii=False) for key in named)
        wanted = f" with the keys {listed}" if listed else ""
        return f"Reply with a JSON object{wanted}.", len(keys) / len(answers)
    fences = [match.group(1) for answer in answers if (match := _FENCE.search(answer))]
    if len(fences) >= COMMON * len(answers):
        language = Counter(fences).most_common(1)[0][0]
        return f"Reply with a block of code:\n```{language}\n```", len(fences) / len(answers)
    lines = [answer.partition("\n")[0].strip() for answer in answers if _CODE.match(answer)]
    if len(lines) >= COMMON * len(answers):
        first = Counter(lines).most_common(1)[0][0]
        return f"Reply with code that begins:\n{first}", len(lines) / len(answers)
    return "", 0.0


def _json_keys(answer: str) -> tuple[str, ...] | None:
    text = re.sub(r"^```(json)?\n|\n```$", "", answer)
    if not text.startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(value) if isinstance(value, dict) else ()
