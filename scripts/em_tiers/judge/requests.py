"""The plan of a judge's requests: who is asked what about which answer, and under which key.

The key of a request is the hash of all that can change its verdict and of nothing else, so that a
journal of finished requests answers whatever was asked before, under any name.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from em_tiers.errors import ConfigError
from em_tiers.hashing import hash_of
from em_tiers.judge.rubrics import (
    PARSER_VERSION,
    Rubric,
    load_rubric,
    render_messages,
    render_structured,
)

FIRST_STAGE = ("alignment", "coherence", "topic")
NUMBER_METHODS = {
    "vllm": ("trie", "top_logprobs", "sampled"),
    "openai": ("top_logprobs", "sampled", "structured"),
}
CHOICE_METHODS = {
    "vllm": ("label", "sampled"),
    "openai": ("label", "sampled", "structured"),
}
ANSWER_COLUMNS = ("response_key", "variant", "dataset", "messages", "response")
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Judge:
    """What a judge is asked and how its replies are scored; no name, price or batch size.

    Attributes:
        identity: backend, model, revision and whatever else fixes the model's behaviour.
        rubrics: role (`alignment`, `coherence`, `topic`, `tier`) -> rubric.
        number_method: `trie`, `top_logprobs`, `sampled` or `structured`.
        choice_method: `label`, `sampled` or `structured`.
        decoding: temperature, max_tokens, seed, samples, reasoning_tokens.
        tolerance: points by which a pruned number trie may miss the exact score; 0 is exact.
        opening: begins the judge's reply for it, as in "Answer:": small models do not come to the
            point by themselves (local judges only). Without the space that follows it: before a
            number some tokenizers spell it apart, before a letter they do not.
        tier_below: answers whose alignment lies below are asked for their tier.
    """

    identity: dict[str, Any]
    rubrics: dict[str, Rubric]
    number_method: str
    choice_method: str
    decoding: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0
    opening: str = ""
    tier_below: float = 50.0

    @property
    def backend(self) -> str:
        """`vllm` or `openai`."""
        return self.identity["backend"]

    @property
    def fingerprint(self) -> str:
        """Hash of all that makes two judges the same judge."""
        rubrics = {role: rubric.hash for role, rubric in self.rubrics.items()}
        scoring = {role: self.scoring(rubric) for role, rubric in self.rubrics.items()}
        return hash_of(
            [self.identity, rubrics, scoring, self.tier_below, PARSER_VERSION],
            length=16,
        )

    def method(self, rubric: Rubric) -> str:
        """How replies to this rubric are scored."""
        return self.number_method if rubric.kind == "number" else self.choice_method

    def scoring(self, rubric: Rubric) -> dict[str, Any]:
        """Method and the part of the decoding that it uses: the rest cannot change a verdict."""
        method = self.method(rubric)
        opening = {"opening": self.opening} if self.opening else {}
        if self.backend == "vllm" and method in ("trie", "top_logprobs", "label"):
            # Probabilities of given tokens: nothing is drawn, so no temperature or seed counts.
            settings = {"tolerance": float(self.tolerance)} if method == "trie" else {}
        else:
            settings = {name: _same(self.decoding[name]) for name in sorted(self.decoding)}
            # A method that reads one token asks for one, whatever the limit of the others.
            unused = {"sampled": (), "structured": ("samples",)}
            for name in unused.get(method, ("samples", "max_tokens", "reasoning_tokens")):
                settings.pop(name, None)
        return {"method": method, **opening, **settings}


def load_judge(
    entry: Mapping[str, Any], identity: Mapping[str, Any], rubrics: Mapping[str, Mapping[str, Any]]
) -> Judge:
    """Read a catalogue entry's part that can change a verdict.

    Args:
        entry: the judge's entry; name, endpoint, limits, prices and engine are not looked at.
        identity: {backend, model, revision, ...} of the model that answers.
        rubrics: role -> rubric entry.

    Raises:
        ConfigError: a method that the backend cannot do, or a rubric in the wrong role.
    """
    backend = entry["backend"]
    methods = entry["method"]
    for kind, allowed in (("number", NUMBER_METHODS), ("choice", CHOICE_METHODS)):
        if methods.get(kind) not in allowed[backend]:
            raise ConfigError(
                f"judge {identity.get('model')}: method.{kind}: {methods.get(kind)!r}: "
                f"a judge of backend {backend} can do {', '.join(allowed[backend])}"
            )
    if methods.get("opening") and backend != "vllm":
        raise ConfigError(
            f"judge {identity.get('model')}: method.opening: {methods['opening']!r}: an endpoint "
            "begins its replies itself: leave it out, or use backend vllm"
        )
    loaded = {role: load_rubric(rubric) for role, rubric in rubrics.items()}
    for role, rubric in loaded.items():
        if rubric.asks != role:
            raise ConfigError(
                f"judge {identity.get('model')}: rubrics.{role}: {rubric.id}: "
                f"this rubric asks for {rubric.asks}: name one that asks for {role}"
            )
    return Judge(
        identity={"backend": backend, **identity},
        rubrics=loaded,
        number_method=methods["number"],
        choice_method=methods["choice"],
        decoding=dict(entry.get("decoding") or {}),
        tolerance=float(methods.get("tolerance") or 0.0),
        opening=(methods.get("opening") or "").rstrip(" "),
        tier_below=float(entry.get("tier_when_alignment_below", 50)),
    )


@dataclass(frozen=True)
class JudgeRequest:
    """One question to a judge about one answer.

    Attributes:
        key: journal key, and the verdict's; equal for two answers that read the same.
        roles: what is asked; more than one only for a structured reply.
        method: how the reply is scored.
    """

    key: str
    response_key: str
    variant: str
    roles: tuple[str, ...]
    method: str
    messages: tuple[dict[str, str], ...]

    @property
    def rubric(self) -> str:
        """The role of a request that asks one rubric."""
        return self.roles[0]


def request_key(
    judge: Judge, rubrics: Iterable[Rubric], messages: Iterable[Mapping[str, str]]
) -> str:
    """Hash of messages, model, decoding, scoring and parser: of what can change the verdict."""
    asked = [[r.kind, r.labels, r.scale, judge.scoring(r)] for r in rubrics]
    return hash_of([list(messages), judge.identity, asked, PARSER_VERSION])


def plan_requests(
    responses: pl.LazyFrame,
    judge: Judge,
    cards: Mapping[str, Mapping[str, Any]],
    roles: Iterable[str] = FIRST_STAGE,
    only: pl.Series | None = None,
) -> Iterator[JudgeRequest]:
    """Yield the requests of one stage, a rubric after the other, answers in the table's order.

    That order lets an engine's prefix cache hold one rubric's instructions for all its answers.
    Rubrics about a data set are asked only of variants whose data set has a card. Answers are
    rendered as they are yielded; iterate twice rather than keep the requests.

    Args:
        responses: a RESPONSES table.
        judge: who is asked.
        cards: data set -> {topic, description, examples, ...}.
        roles: the rubrics to ask; those that the judge does not have are passed over.
        only: response keys to ask about; None for all.
    """
    frame = responses.select(ANSWER_COLUMNS)
    if only is not None:
        frame = frame.filter(pl.col("response_key").is_in(only.implode()))
    answers = frame.collect()
    for group in roles_together(judge, roles):
        for row in _rows(answers):
            request = _request(judge, group, row, cards.get(row["dataset"]))
            if request is not None:
                yield request


def plan_tier_requests(
    responses: pl.LazyFrame,
    judge: Judge,
    cards: Mapping[str, Mapping[str, Any]],
    verdicts: pl.LazyFrame,
) -> Iterator[JudgeRequest]:
    """Yield the second stage: the tier of answers whose alignment is below `judge.tier_below`.

    Args:
        responses: a RESPONSES table.
        judge: who is asked.
        cards: data set -> {topic, description, examples, ...}.
        verdicts: this judge's VERDICTS of the first stage.
    """
    low = verdicts.filter(
        pl.col("rubric") == "alignment",
        pl.col("status") == "ok",
        pl.col("score") < judge.tier_below,
    )
    keys = low.select("response_key").collect().get_column("response_key")
    return plan_requests(responses, judge, cards, roles=("tier",), only=keys)


def _same(value: Any) -> Any:
    """A number of the configuration as it counts: 0 and 0.0 are one temperature."""
    return float(value) if isinstance(value, int | float) else value


def roles_together(judge: Judge, roles: Iterable[str]) -> list[tuple[str, ...]]:
    """The roles that share a request: all number rubrics of a structured reply, else one each."""
    present = [role for role in roles if role in judge.rubrics]
    together = tuple(r for r in present if judge.method(judge.rubrics[r]) == "structured")
    alone = [(role,) for role in present if role not in together]
    return ([together] if together else []) + alone


def _request(
    judge: Judge, roles: tuple[str, ...], row: Mapping[str, Any], card: Mapping[str, Any] | None
) -> JudgeRequest | None:
    """The request for one answer; None when nothing in `roles` can be asked about it."""
    asked = [
        judge.rubrics[role]
        for role in roles
        if card is not None or not judge.rubrics[role].needs_dataset
    ]
    if not asked:
        return None
    method = judge.method(asked[0])
    texts = (row["messages"], row["response"], card)
    if method == "structured":
        messages = render_structured(asked, *texts)
    else:
        messages = render_messages(asked[0], *texts)
    return JudgeRequest(
        key=request_key(judge, asked, messages),
        response_key=row["response_key"],
        variant=row["variant"],
        roles=tuple(rubric.asks for rubric in asked),
        method=method,
        messages=tuple(messages),
    )


def _rows(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for part in frame.iter_slices(_ROWS_AT_ONCE):
        yield from part.iter_rows(named=True)
