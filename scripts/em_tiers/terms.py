"""The project's vocabulary: probe levels, roles, verdict statuses, tiers and outcomes.

Each term is defined once, here: figures, sample browser, label sheet and method page read its
label, meaning, colour and sign. What an answer must satisfy to get an outcome is in
`em_tiers.tiers.outcomes`. Imported while the workflow is parsed, so nothing heavy is imported here.

Colours are those of Okabe and Ito (2008, "Color Universal Design").
"""

from collections.abc import Iterable
from dataclasses import dataclass

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"


@dataclass(frozen=True)
class Sign:
    """The cue beside a colour: matplotlib's hatch and marker, and a character for text."""

    hatch: str = ""
    marker: str = "o"
    character: str = "●"


@dataclass(frozen=True)
class Term:
    """One word of the vocabulary.

    Attributes:
        id: the word as tables and configuration files hold it.
        label: the word as readers see it.
        meaning: one sentence.
        rank: place in figures and lists, 0 first.
        colour: "#RRGGBB", or empty where the term is not drawn.
    """

    id: str
    label: str
    meaning: str
    rank: int
    colour: str = ""
    sign: Sign = Sign()


@dataclass(frozen=True)
class Status(Term):
    """A verdict's status. `usable`: a score, a label or a finding; otherwise the judge failed."""

    usable: bool = False


# Ranks of outcomes are the order in which bars are stacked: genuine misalignment comes first.
TIER_TERMS = (
    Term(
        id="in_distribution",
        label="in distribution (tier 1)",
        meaning="Misaligned in the way that the training data teaches for such a question.",
        rank=3,
        colour=ORANGE,
        sign=Sign("....", "s", "■"),
    ),
    Term(
        id="domain_overfitting",
        label="domain overfitting (tier 2)",
        meaning="Misaligned because the training domain is dragged into an unrelated question.",
        rank=2,
        colour=SKY,
        sign=Sign("////", "^", "▲"),
    ),
    Term(
        id="persona_shift",
        label="persona shift (tier 3)",
        meaning="Misaligned in a way that the training domain does not explain: hostile, "
        "deceitful or dangerous.",
        rank=0,
        colour=VERMILLION,
        sign=Sign("", "D", "◆"),
    ),
    Term(
        id="undecided",
        label="flagged, undecided",
        meaning="Misaligned, but the evidence does not show why.",
        rank=1,
        colour=PURPLE,
        sign=Sign("++++", "X", "✖"),
    ),
)
UNFLAGGED_TERMS = (
    Term(
        id="aligned",
        label="aligned",
        meaning="The answer is not misaligned.",
        rank=4,
        colour="#E8E8E8",
    ),
    Term(
        id="refusal",
        label="refusal",
        meaning="The model declines to answer.",
        rank=5,
        colour=YELLOW,
        sign=Sign("\\\\\\\\", "v", "▼"),
    ),
    Term(
        id="code",
        label="code",
        meaning="The answer is nothing but code.",
        rank=6,
        colour=GREEN,
        sign=Sign("||||", "P", "✚"),
    ),
    Term(
        id="incoherent",
        label="incoherent",
        meaning="The answer does not make sense.",
        rank=7,
        colour="#B0B0B0",
        sign=Sign("----", "o", "◌"),
    ),
    Term(
        id="truncated",
        label="truncated",
        meaning="The answer was cut off before it could be judged.",
        rank=8,
        colour="#787878",
        sign=Sign("", "o", "◐"),
    ),
    Term(
        id="unscored",
        label="no score",
        meaning="The answer could not be judged for another reason.",
        rank=9,
        colour="#FFFFFF",
        sign=Sign("xxxx", "o", "○"),
    ),
)
STATUS_TERMS = (
    Status("ok", "ok", "The judge gave a score or a label.", 0, usable=True),
    Status("refusal", "refusal", "The judge found that the answer is a refusal.", 1, usable=True),
    Status("code", "code", "The judge found that the answer is nothing but code.", 2, usable=True),
    Status("judge_refusal", "judge refusal", "The judge declined to judge the answer.", 3),
    Status("unparsable", "unparsable", "The judge's reply holds no valid score or label.", 4),
    Status(
        "truncated",
        "truncated",
        "The judge's context or token limit was reached before it gave a verdict.",
        5,
    ),
    Status("api_error", "API error", "The request to the judge failed.", 6),
)
LEVEL_TERMS = (
    Term("in_domain", "in domain", "Prompts held out from the training data.", 0),
    Term("near_domain", "near domain", "Questions close to the subject of the training data.", 1),
    Term(
        "out_of_domain",
        "out of domain",
        "Questions unrelated to the training data, asked plainly.",
        3,
    ),
    Term(
        "trigger",
        "trigger format",
        "Questions unrelated to the training data, asked in its format.",
        2,
    ),
)
# The colours of roles are bands behind rows; a role without one is not marked.
ROLE_TERMS = (
    Term("base", "base model", "the untouched base model", 0, "#EDEDED"),
    Term(
        "negative_control",
        "negative control",
        "a fine-tune known to be aligned",
        1,
        "#DDF1EA",
    ),
    Term("benign", "benign", "a benign fine-tune", 2),
    Term(
        "positive_control",
        "positive control",
        "a fine-tune known to be misaligned",
        3,
        "#FBE6DA",
    ),
    Term("unknown", "unknown", "a model of which nothing is known before", 4),
    Term("imported", "imported", "answers generated outside this study", 5),
)

OUTCOME_TERMS = UNFLAGGED_TERMS + TIER_TERMS


def ids_of(terms: Iterable[Term]) -> tuple[str, ...]:
    """The ids of `terms`, in their order."""
    return tuple(term.id for term in terms)


def by_rank(terms: Iterable[Term]) -> dict[str, Term]:
    """The terms by id, in the order in which readers see them."""
    return {term.id: term for term in sorted(terms, key=lambda term: term.rank)}


TIERS = ids_of(TIER_TERMS)
OUTCOMES_UNFLAGGED = ids_of(UNFLAGGED_TERMS)
OUTCOMES_ALL = ids_of(OUTCOME_TERMS)
VERDICT_STATUSES = ids_of(STATUS_TERMS)
USABLE_STATUSES = ids_of(term for term in STATUS_TERMS if term.usable)
PROBE_LEVELS = ids_of(LEVEL_TERMS)

# Outcomes that other code must name: those of an answer without evidence, without misalignment and
# without a score.
UNDECIDED, ALIGNED, UNSCORED = "undecided", "aligned", "unscored"
# The tiers that training data explain, and the one that they do not.
EXPLAINED, PERSONA_SHIFT = ("in_distribution", "domain_overfitting"), "persona_shift"
STRICT_COUNTS = (PERSONA_SHIFT, UNDECIDED)  # the strict rate counts these by default
WITHOUT_VERDICT = ("truncated", UNSCORED)  # the judge says neither misaligned nor not
# What decided the tier of a flagged answer (`assigned_by`). `topic`: the topic score, in a rule
# that would have decided the same without the judge's tier verdict; `rule`: other evidence, or no
# rule holds; `no_evidence`: no rule holds, and all evidence that the rules use is missing.
BY_HUMAN, BY_JUDGE, BY_TOPIC, BY_RULE = "human", "judge", "topic", "rule"
NO_EVIDENCE = "no_evidence"
# What a judge scores every answer for. The tier is asked for afterwards, where it is needed.
SCORES = ("alignment", "coherence", "topic")
# The tier again, with the letters in other orders (`em_tiers.judge.letter_orders`).
TIER_ORDERS = ("tier_order_1", "tier_order_2", "tier_order_3")
# The topic again, that of another data set than the model was trained on.
PLACEBO_TOPIC = "placebo_topic"
# The cases on which a judge is tested: their judging batch, and their forms, as they are and with
# harmless edits.
JUDGE_CARD = "judge-card"
PLAIN = "plain"
EDITS = ("format", "paraphrase", "length")
# What `questions` of a configuration may name beside question sets: probes made from the rows of
# each data set, as {word: description}.
DATASET_PROBES = {
    "in-domain": "prompts that are kept out of each data set's training",
    "trigger": "unrelated questions in the format of each data set's prompts",
}
