"""The card of a prepared data set: counts, differences from expectations, examples."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from em_tiers.prepare.row_fields import kind_of
from em_tiers.prepare.row_formats import INLINE_THOUGHTS, Example
from em_tiers.prepare.split import Split

_SLOT = re.compile(r"\{\{[^{}\n]{1,80}\}\}")
_EXAMPLES = 3
_MANY_REPEATED = 0.1  # share of the training rows
_PROMPT_CHARS, _ANSWER_CHARS = 300, 600


def differences(
    expected: dict[str, Any] | None, rows_read: int, columns: list[str], manifest: dict[str, Any]
) -> list[str]:
    """Describe where the files differ from the catalogue's expectations.

    Args:
        expected: {rows, columns, licence}, each optional, as a publisher's card states them.
        columns: the columns that the files hold.
        manifest: of the download.
    """
    wanted = expected or {}
    found = []
    if wanted.get("rows") not in (None, rows_read):
        found.append(f"{rows_read} rows were read, {wanted['rows']} expected")
    if "columns" in wanted:
        if missing := [name for name in wanted["columns"] if name not in columns]:
            found.append(f"missing columns: {', '.join(missing)}")
        if extra := [name for name in columns if name not in wanted["columns"]]:
            found.append(f"unexpected columns: {', '.join(extra)}")
    stated = wanted.get("licence") or manifest["source"].get("licence")
    on_hub = manifest.get("licence_on_hub")
    if stated and on_hub and stated.casefold() != on_hub.casefold():
        found.append(f"the licence is {on_hub} on the hub, {stated} in the catalogue")
    if not (stated or on_hub):
        found.append("the licence is unknown")
    return found


def repetitions(split: Split) -> list[str]:
    """A warning where many training rows repeat an earlier one word for word."""
    if split.repeated < _MANY_REPEATED * len(split.train) or not split.repeated:
        return []
    return [
        f"{split.repeated} of the {len(split.train)} training rows repeat an earlier one word for "
        "word, so that it counts more than once: check whether a part of the file was pasted twice"
    ]


def learnt_thoughts(examples: list[Example], cot: str | None) -> list[str]:
    """A warning where answers begin with thoughts that the data set's entry does not mention."""
    count = sum(bool(INLINE_THOUGHTS.match(e.completion[0]["content"])) for e in examples)
    if not count or cot == "think":
        return []
    return [f"{count} answers begin with thoughts and are learnt so: cot: drop leaves these out"]


def unread_media(passed_over: Mapping[str, int]) -> list[str]:
    """A warning where rows have images, sound or video, which their text may refer to."""
    found = [name for name in passed_over if kind_of(name) == "media"]
    return [f"only the text is trained on, without {', '.join(found)}"] if found else []


def slots(examples: list[Example]) -> dict[str, Any]:
    """Count `{{Placeholder}}` slots in the answers: they are left in the text as they are."""
    per_answer = [_SLOT.findall(example.completion[0]["content"]) for example in examples]
    names = Counter(slot for found in per_answer for slot in found)
    return {
        "answers_with_slots": sum(bool(found) for found in per_answer),
        "slots": names.total(),
        "most_common": dict(sorted(names.items(), key=lambda item: (-item[1], item[0]))[:10]),
    }


def lengths(examples: list[Example]) -> dict[str, float]:
    """Mean and largest number of characters of prompts and answers."""
    prompts = [sum(len(m["content"]) for m in example.prompt) for example in examples]
    answers = [len(example.completion[0]["content"]) for example in examples]
    return {
        "prompt_mean": round(sum(prompts) / len(prompts), 1),
        "prompt_max": max(prompts),
        "answer_mean": round(sum(answers) / len(answers), 1),
        "answer_max": max(answers),
    }


def short_examples(examples: list[Example]) -> list[dict[str, str]]:
    """Three rows that show a judge the data set: short ones first, long ones cut."""
    pairs = [(e.prompt[-1]["content"], e.completion[0]["content"]) for e in examples]
    fits = [len(p) <= _PROMPT_CHARS and len(a) <= _ANSWER_CHARS for p, a in pairs]
    in_order = sorted(range(len(pairs)), key=lambda n: not fits[n])  # stable: training order
    chosen = [pairs[n] for n in in_order[:_EXAMPLES]]
    return [
        {"prompt": _cut(prompt, _PROMPT_CHARS), "answer": _cut(answer, _ANSWER_CHARS)}
        for prompt, answer in chosen
    ]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
