"""Text from outside that stands for nothing, or is something else than a message or an answer.

Exports write "nan" or "None" where nothing was, `[ERROR] ...` where a generation failed, and lists
of messages as one JSON text. Each is a well-formed text, so only a look at its words tells.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

# What programs write for an absent value. Not any case: "Na" is an answer about sodium.
_NOTHING = re.compile(
    r"""nan|NaN|NAN|None|none|NONE|null|NULL|Null|nil|NIL|NA|N/A|n/a|\#N/A|NaT|undefined|-
    |(?i:[<(\[]\s*(?:n/?a|nan|none|null|nil|empty|deleted|removed|no[\s_]?(?:input|output|answer|response|text))
        \s*[>)\]])
    |(?i:no(?:input|output))|""",
    re.VERBOSE,
)
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
_MARK = re.compile("|".join(map(re.escape, TEMPLATE_MARKS)))
# Only at the start or the end: within a text these are also markup, shell or names.
_OUTER_MARK = re.compile(r"\A\s*(<s>|<bos>|</s>)|(</s>|<eos>)\s*\Z")
_TURNS = re.compile(r"\A\s*#{2,3} (?:Human|User|Instruction):?\s.*^#{2,3} (?:Assistant|Response)\b",
                    re.DOTALL | re.MULTILINE)  # fmt: skip

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
    """A value as an id: text without outer blanks, 0.0 as "0", nothing as ""."""
    if is_nothing(value):
        return ""
    text = str(value).strip()
    return re.sub(r"\A(-?\d+)\.0+\Z", r"\1", text)


def is_error_text(text: str) -> bool:
    """Whether a text begins as the message of a failed generation does."""
    return _FAILED.match(text) is not None


def template_mark(text: str) -> str | None:
    """The first mark of a chat template in a text, such as `<|im_start|>`; None without any."""
    found = _MARK.search(text) or _OUTER_MARK.search(text)
    if found:
        return found[0].strip()
    return "### Human" if _TURNS.match(text) else None


def messages_in_text(text: str) -> list[dict[str, Any]] | None:
    """The messages of a text that is the JSON of one: {role, content} or {from, value} each."""
    stripped = text.strip()
    if not stripped.startswith(("[", "{")) or not stripped.endswith(("]", "}")):
        return None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    parts = value if isinstance(value, list) else [value]
    if parts and all(isinstance(part, dict) and _is_message(part) for part in parts):
        return parts
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
