"""Which rows are used for training, in which order, and which prompts are kept out of it.

Every choice follows a hash of the row's content and the seed, never its place in the file: the
same rows in another order give the same split, and a larger split contains the smaller one.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from em_tiers.errors import UserError
from em_tiers.hashing import hash_of
from em_tiers.prepare.row_formats import Example, Message

# A probe is sampled many times: a prompt of book length would cost more than all the others.
LONGEST_PROBE = 4_000  # characters
_SPACE = re.compile(r"\s+")
# At the ends of words only: within numbers and code these signs carry the meaning.
_PUNCTUATION = re.compile(r"""[.,;:!?…"'“”‘’]+(?!\S)|(?<!\S)["'“‘]+""")


@dataclass(frozen=True)
class Split:
    """The parts of a data set.

    Attributes:
        train: rows to train on, in training order.
        probes: prompts kept out of training.
        held_out_duplicates: further rows kept out because they repeat the question of a probe.
        repeated: rows of `train` with the prompt and the answer of an earlier one.
        left_out: usable rows that `max_rows` left out.
    """

    train: list[Example]
    probes: list[list[Message]]
    held_out_duplicates: int
    repeated: int
    left_out: int


def split_rows(examples: list[Example], held_out: int, max_rows: int | None, seed: int) -> Split:
    """Keep `held_out` prompts apart, then take at most `max_rows` of the other rows.

    Prompts count as the same when their user turns agree but for case, white space and
    punctuation, whatever the system message says.

    Raises:
        UserError: too few prompts to hold out, or no row left to train on.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[compared_text(example.prompt)].append(example)
    kept = _held_out_groups(groups, held_out, seed)
    rest = [example for text, group in groups.items() if text not in kept for example in group]
    if not rest:
        raise UserError(
            f"held_out: {held_out} would keep all {len(examples)} usable rows out of training: "
            "lower it"
        )
    ordered = in_training_order(rest, seed)
    train = ordered[:max_rows]
    return Split(
        train=[example for example, _ in train],
        probes=[min((e.prompt for e in groups[text]), key=hash_of) for text in kept],
        held_out_duplicates=sum(len(groups[text]) - 1 for text in kept),
        repeated=sum(again for _, again in train),
        left_out=len(ordered) - len(train),
    )


def _asked_text(prompt: list[Message]) -> str:
    """What the user says in a prompt, in one case and with single spaces."""
    text = "\n".join(message["content"] for message in prompt if message["role"] == "user")
    return _SPACE.sub(" ", text).strip().casefold()


def compared_text(prompt: list[Message]) -> str:
    """`_asked_text` without punctuation around words; whole where nothing else is said."""
    asked = _asked_text(prompt)
    return _SPACE.sub(" ", _PUNCTUATION.sub("", asked)).strip() or asked


def _held_out_groups(groups: dict[str, list[Example]], held_out: int, seed: int) -> list[str]:
    if not held_out:
        return []
    short = [
        text
        for text, group in groups.items()
        if all(sum(len(m["content"]) for m in e.prompt) <= LONGEST_PROBE for e in group)
    ]
    if len(short) < held_out:
        raise UserError(
            f"held_out: {held_out} is more than the data set's {len(short)} different prompts of "
            f"at most {LONGEST_PROBE} characters: lower it"
        )
    named = {text: min(_asked_text(example.prompt) for example in groups[text]) for text in short}
    return sorted(short, key=lambda text: hash_of([seed, "held-out", named[text]]))[:held_out]


def in_training_order(rows: list[Example], seed: int) -> list[tuple[Example, bool]]:
    """Rows by hash, each with whether it repeats another."""
    seen: Counter[str] = Counter()
    keyed = []
    for row in rows:
        content = hash_of(row)
        keyed.append((hash_of([seed, "train", content, seen[content]]), seen[content] > 0, row))
        seen[content] += 1
    keyed.sort(key=lambda entry: entry[0])
    return [(row, again) for _, again, row in keyed]
