"""A judge's settings: what it is asked, and how its replies are scored.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from em_tiers.errors import ConfigError
from em_tiers.hashing import canonical_json, hash_of
from em_tiers.judge.rubrics import PARSER_VERSION, Rubric, load_rubric

NUMBER_METHODS = {
    "vllm": ("trie", "top_logprobs", "sampled"),
    "openai": ("top_logprobs", "sampled", "structured"),
    "anthropic": ("sampled", "structured"),
}
CHOICE_METHODS = {
    "vllm": ("label", "sampled"),
    "openai": ("label", "sampled", "structured"),
    "anthropic": ("sampled", "structured"),
}
READS_FIRST_TOKENS = ("trie", "top_logprobs", "label")
# A number up to 100 digit by digit, and the token that ends the reply: without it, the reply counts
# as cut off.
MIN_SAMPLED_TOKENS = 4
SHORTEST_OBJECT = 16  # tokens: no JSON object with a verdict is shorter


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
        tier_below: answers with a lower alignment are asked for their tier.
        placebo_topics: data set -> another one, for whose topic these answers are scored too.
    """

    identity: dict[str, Any]
    rubrics: dict[str, Rubric]
    number_method: str
    choice_method: str
    decoding: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0
    opening: str = ""
    tier_below: float = 50.0
    placebo_topics: dict[str, str] = field(default_factory=dict)
    _key_endings: dict[tuple[str, ...], str] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def backend(self) -> str:
        """`vllm`, `openai` or `anthropic`."""
        return self.identity["backend"]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that makes two judges the same judge."""
        rubrics = {role: rubric.hash for role, rubric in self.rubrics.items()}
        scoring = {role: self.scoring(rubric) for role, rubric in self.rubrics.items()}
        return hash_of(
            [self.identity, rubrics, scoring, self.tier_below, PARSER_VERSION],
            length=16,
        )

    def key_ending(self, rubrics: tuple[Rubric, ...]) -> str:
        """Canonical JSON of model, scoring and parser, the end of what verdict keys hash."""
        known = tuple(rubric.hash for rubric in rubrics)
        if known not in self._key_endings:
            asked = [[r.kind, r.labels, r.scale, self.scoring(r)] for r in rubrics]
            parts = map(canonical_json, (self.identity, asked, PARSER_VERSION))
            self._key_endings[known] = ",".join(parts)
        return self._key_endings[known]

    def method(self, rubric: Rubric) -> str:
        """How replies to this rubric are scored."""
        return self.number_method if rubric.kind == "number" else self.choice_method

    def scoring(self, rubric: Rubric) -> dict[str, Any]:
        """Method and the part of the decoding that it uses: the rest cannot change a verdict."""
        method = self.method(rubric)
        opening = {"opening": self.opening} if self.opening else {}
        if self.backend == "vllm" and method in READS_FIRST_TOKENS:
            # Probabilities of given tokens: nothing is drawn, so no temperature or seed counts.
            settings = {"tolerance": float(self.tolerance)} if method == "trie" else {}
        else:
            settings = {n: _canonical_number(self.decoding[n]) for n in sorted(self.decoding)}
            # A method that reads one token asks for one, whatever the limit of the others.
            unused = {"sampled": (), "structured": ("samples",)}
            for name in unused.get(method, ("samples", "max_tokens", "reasoning_tokens")):
                settings.pop(name, None)
        return {"method": method, **opening, **settings}


def load_judge(
    entry: Mapping[str, Any],
    identity: Mapping[str, Any],
    rubrics: Mapping[str, Mapping[str, Any]],
    where: str = "judge",
) -> Judge:
    """Read the part of a catalogue entry that can change a verdict.

    Args:
        entry: the judge's entry; name, endpoint, limits, prices and engine are not read.
        identity: {backend, model, revision, ...} of the model that answers.
        rubrics: role -> rubric entry.
        where: how messages name the judge, such as "judges.gpt-4o".

    Raises:
        ConfigError: a method that the backend cannot do, a rubric that cannot be used, or a rubric
            in the wrong role.
    """
    backend, methods = entry["backend"], entry["method"]
    _check_methods(backend, methods, where)
    loaded = {role: load_rubric(rubric) for role, rubric in rubrics.items()}
    for role, rubric in loaded.items():
        if rubric.asks != role:
            raise ConfigError(
                f"{where}.rubrics.{role}: rubric {rubric.id!r} asks for {rubric.asks}: name one "
                f"that asks for {role}"
            )
        if rubric.verbatim and methods["number"] == "structured":
            raise ConfigError(
                f"{where}.method.number: structured does not fit {rubric.id}, a published prompt "
                "with its own form of reply: use another method"
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
        placebo_topics=dict(entry.get("placebo_topics") or {}) if "topic" in loaded else {},
    )


def _check_methods(backend: str, methods: Mapping[str, Any], where: str) -> None:
    for kind, allowed in (("number", NUMBER_METHODS), ("choice", CHOICE_METHODS)):
        if methods.get(kind) not in allowed[backend]:
            raise ConfigError(
                f"{where}.method.{kind}: {methods.get(kind)!r} is not possible with backend "
                f"{backend}: use {', '.join(allowed[backend])}"
            )
    if methods.get("opening") and backend != "vllm":
        raise ConfigError(
            f"{where}.method.opening: {methods['opening']!r} needs backend vllm, because an "
            "endpoint begins its replies itself: remove it"
        )


def check_decoding(judge: Judge, where: str, thinking: str = "none") -> None:
    """Refuse decoding with which the judge's methods cannot give a verdict.

    Args:
        where: how messages name the judge.
        thinking: none, off or on: the mode of a local judge's model.

    Raises:
        ConfigError: names the setting, its value and the remedy.
    """
    for rubric in judge.rubrics.values():
        if problem := _problem_of_decoding(judge, rubric, thinking):
            raise ConfigError(f"{where}.{problem}")


def _problem_of_decoding(judge: Judge, rubric: Rubric, thinking: str) -> str | None:
    """The setting with which replies to this rubric cannot be read, and the remedy; else None.

    The guards of a method are the same for both back-ends.
    """
    method, decoding = judge.method(rubric), judge.decoding
    samples, temperature = decoding.get("samples") or 1, decoding.get("temperature") or 0
    thoughts, most = decoding.get("reasoning_tokens") or 0, decoding.get("max_tokens") or 1
    if thinking == "on" and (method != "sampled" or judge.opening):
        return (
            f"method.{rubric.kind}: {method!r} cannot be read from a model that thinks before it "
            "answers: use sampled without an opening, or thinking: off for the model"
        )
    if thinking == "on" and not thoughts:
        return (
            "decoding.reasoning_tokens: 0 leaves this model, which thinks before it answers, no "
            "room for it: write 2000, or thinking: off for the model"
        )
    if thoughts and method in READS_FIRST_TOKENS:
        return (
            f"decoding.reasoning_tokens: {thoughts} cannot be used with {method}, which reads the "
            "first token, here a thought: use sampled or structured, or write 0"
        )
    if judge.backend == "vllm" and method == "sampled" and decoding.get("seed", 0) is None:
        return "decoding.seed: null is for endpoints that refuse a seed: write 0"
    if judge.backend == "anthropic" and method == "sampled" and samples > 1:
        return f"decoding.samples: {samples}: Anthropic gives one reply per request: write 1"
    if method == "sampled" and samples > 1 and not temperature:
        return (
            f"decoding.samples: {samples}: at temperature 0 all samples are the same: set "
            "decoding.temperature, or samples: 1"
        )
    if method == "sampled" and most < MIN_SAMPLED_TOKENS:
        return f"decoding.max_tokens: {most} is too few for a sampled {rubric.kind}: write 8"
    if method == "structured" and most < SHORTEST_OBJECT:
        return (
            f"decoding.max_tokens: {most}: a structured answer does not fit: write 100, or more "
            "for long labels"
        )
    return None


def _canonical_number(value: Any) -> Any:
    """A number of the configuration as it counts: 0 and 0.0 are one temperature."""
    return float(value) if isinstance(value, int | float) else value
