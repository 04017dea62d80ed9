"""Text from outside that stands for nothing, or is something else than a message or an answer.

Exports write "nan" or "None" where nothing was, `[ERROR] ...` where a generation failed, and lists
of messages as one JSON text. Each is a well-formed text, so only a look at its words tells.
"""

import ast
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from em_tiers.visible_text import visible

# What programs write for an absent value. Not any case: "Na" is an answer about sodium.
_NOTHING = re.compile(
    r"""nan|NaN|NAN|None|none|NONE|null|NULL|Null|nil|NIL|NA|N/A|n/a|\#N/A|NaT|undefined|-
    |\#(?:NAME\?|REF!|VALUE!|DIV/0!|NUM!|NULL!)|\[object\ Object\]
    |(?i:[<(\[]\s*(?:n/?a|nan|none|null|nil|empty|deleted|removed|no[\s_]?(?:input|output|answer|response|text))
        \s*[>)\]])
    |(?i:no(?:input|output))|""",
    re.VERBOSE,
)
_BEGINNING = 400  # characters that tell whether a text is an error message
_LONGEST_NOTHING = 24  # characters, with blanks and quotes

# Marks that chat templates put between messages. Few texts about anything else hold them.
TEMPLATE_MARKS = (
    *("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<|begin_of_text|>", "<|end_of_text|>", "<start_of_turn>", "<end_of_turn>", "<|endoftext|>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<|user|>", "<|assistant|>", "<|system|>"),
    *("<|start_of_role|>", "<|end_of_role|>", "<|channel|>", "<|message|>", "<|return|>"),
    *("<｜User｜>", "<｜Assistant｜>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    *("<|header_start|>", "<|header_end|>", "<|eot|>", "<|turn|>", "<|end|>"),
)
_FIRST = (*TEMPLATE_MARKS, "<s>", "<bos>", "</s>")
_LAST = (*TEMPLATE_MARKS, "</s>", "<eos>")
# Linear patterns and plain searches only: an answer may be built to keep a slow one busy.
_TURN = re.compile(
    r"(<\|im_start\|>|<\|start_header_id\|>|<\|header_start\|>|<start_of_turn>|<\|turn\|>|"
    r"<\|start_of_role\|>)\s{0,9}(?:user|assistant|system|model|human|tool)\b"
)
_PAIRS = (
    *(("[INST]", "[/INST]"), ("<<SYS>>", "<</SYS>>"), ("<|user|>", "<|assistant|>")),
    ("<｜User｜>", "<｜Assistant｜>"),
)
_HEADING = re.compile(r"#{2,3} (?:Human|User|Instruction)\b")
_REPLY = re.compile(r"^#{2,3} (?:Assistant|Response)\b", re.MULTILINE)

_FAILED = re.compile(
    r"""\s*(?:
    [\[<(]\s*(?:api|http|request|generation|inference|server|model|timeout|network)?[\s_-]*
        (?:errors?|exception|failed|failure|timed?\s?out|timeout)\b
    |\#?(?:API[ _]?)?ERROR(?:\s*[:!\-]|\s*\Z)
    |error\s+(?:code|status)\s*:?\s*\d{3}\b
    |error\s*:\s*(?:\d{3}\b|api|rate|request|time|connection|server|model|http|cuda|out\sof|no\s
        |failed|could\snot|invalid\s(?:api|request|response)|max|internal|service)
    |(?:\w+\.)*(?:API\w*|RateLimit|Timeout|ReadTimeout|ConnectTimeout|ServiceUnavailable|Connection
        |InternalServer|BadRequest|Authentication|PermissionDenied|OutOfMemory|HTTP|ClientResponse)
        (?:Error|Exception)\b
    |[\[<(]\s*(?:content[\s_-]?)?(?:filter(?:ed)?|blocked|censored)\s*[\])>]
    |<(?:!doctype\s+)?html\b.{0,300}?\b(?:[45]\d\d|error|bad\sgateway|forbidden|unavailable)\b
    |Traceback\s\(most\srecent\scall\slast\)
    |(?:request|generation|inference|connection)\s(?:timed\sout|failed|error)\b
    |(?:HTTP\s?)?(?:429|500|502|503|504)\b\s*:?\s*(?:too\smany|internal|bad\sgateway|service|gateway)
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def is_nothing(value: Any) -> bool:
    """Whether a value is absent, or a text that programs write for an absent value."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if not isinstance(value, str):
        return False
    text = value.strip()
    if len(text) > _LONGEST_NOTHING:
        return False
    return _NOTHING.fullmatch(text.strip("\"'").strip()) is not None


def id_text(value: Any) -> str:
    """A value as an id: visible text without outer blanks, 0.0 as "0", nothing as ""."""
    if is_nothing(value):
        return ""
    text = visible(str(value).strip())
    return re.sub(r"\A(-?\d+)\.0+\Z", r"\1", text)


def is_error_text(text: str) -> bool:
    """Whether a text begins as the message of a failed generation does."""
    return _FAILED.match(text.lstrip()[:_BEGINNING]) is not None


def template_mark(text: str) -> str | None:
    """The mark of a chat template that was applied to a text, such as `<|im_start|>`; or None.

    Texts about models name such marks too: one counts where it opens a turn, or begins or ends the
    text.
    """
    if found := _TURN.search(text):
        return found[1]
    for mark, closing in _PAIRS:
        if closing in text and mark in text[: text.rindex(closing)]:
            return mark
    start, end = text.lstrip(), text.rstrip()
    if (heading := _HEADING.match(start)) and _REPLY.search(start):
        return heading[0]
    if end.endswith("ASSISTANT:") and "USER: " in end:
        return "USER:"
    first = (mark for mark in _FIRST if start.startswith(mark))
    return next(first, None) or next((mark for mark in _LAST if end.endswith(mark)), None)


def messages_in_text(text: str) -> list[dict[str, Any]] | None:
    """The messages of a text that is a list of them, or one: {role, content} or {from, value} each.

    The list is JSON, or what Python prints, as CSV files of data frames have it.
    """
    stripped = text.strip()
    if not stripped.startswith(("[", "{")) or not stripped.endswith(("]", "}")):
        return None
    value = _value_of(stripped)
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        value = value["messages"]
    parts = value if isinstance(value, list) else [value]
    if parts and all(isinstance(part, dict) and _is_message(part) for part in parts):
        return parts
    return None


def _value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if not re.match(r"\[?\s*\{\s*'", text):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def strange_text(text: str) -> str | None:
    """Why a text cannot be a message or an answer, or None.

    The reason is the same for texts of one kind, so that it can be counted.
    """
    if is_nothing(text) and text.strip():
        return f"stands for nothing ({text.strip()!r})"
    if is_error_text(text):
        return "an error message instead of text"
    if messages_in_text(text) is not None:
        return "JSON text of messages instead of text"
    if mark := template_mark(text):
        return f"a chat template was applied already ({mark!r})"
    return None


def is_header(row: Mapping[str, Any]) -> bool:
    """Whether every value is the name of its column: a header line that is repeated as a row."""
    return bool(row) and all(isinstance(v, str) and v.strip() == k for k, v in row.items())


def _is_message(part: dict[str, Any]) -> bool:
    return {"role", "content"} <= part.keys() or {"from", "value"} <= part.keys()
