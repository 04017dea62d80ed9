"""A judge's settings: what it is asked, and how its replies are scored.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from em_tiers.errors import ConfigError
from em_tiers.hashing import hash_of
from em_tiers.judge.rubrics import PARSER_VERSION, Rubric, load_rubric

NUMBER_METHODS = {
    "vllm": ("trie", "top_logprobs", "sampled"),
    "openai": ("top_logprobs", "sampled", "structured"),
}
CHOICE_METHODS = {
    "vllm": ("label", "sampled"),
    "openai": ("label", "sampled", "structured"),
}
MIN_SAMPLED_TOKENS = 4  # a number up to 100, and white space or a mark around it
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
    if judge.backend == "vllm":
        _check_local_decoding(judge, where, thinking)
    else:
        _check_api_decoding(judge, where)


def _check_local_decoding(judge: Judge, where: str, thinking: str) -> None:
    tokens = judge.decoding.get("max_tokens") or 1
    for rubric in judge.rubrics.values():
        method = judge.method(rubric)
        if thinking == "on" and (method != "sampled" or judge.opening):
            raise ConfigError(
                f"{where}.method.{rubric.kind}: {method!r} cannot be read from a model that thinks "
                "before it answers: use sampled without an opening, or thinking: off for the model"
            )
        if method == "sampled" and rubric.kind == "number" and tokens < MIN_SAMPLED_TOKENS:
            raise ConfigError(
                f"{where}.decoding.max_tokens: {tokens} is too few for a sampled number: write 8"
            )


def _check_api_decoding(judge: Judge, where: str) -> None:
    methods = {judge.method(rubric) for rubric in judge.rubrics.values()}
    decoding = judge.decoding
    samples, temperature = decoding.get("samples") or 1, decoding.get("temperature") or 0
    thinking, most = decoding.get("reasoning_tokens") or 0, decoding.get("max_tokens") or 1
    if thinking and (by_token := methods & {"top_logprobs", "label"}):
        raise ConfigError(
            f"{where}.decoding.reasoning_tokens: {thinking} cannot be used with "
            f"{' and '.join(sorted(by_token))}, which read the first token, here a thought: use "
            "sampled or structured"
        )
    if "sampled" in methods and samples > 1 and not temperature:
        raise ConfigError(
            f"{where}.decoding.samples: {samples}: at temperature 0 all samples are the same: set "
            "decoding.temperature, or samples: 1"
        )
    if "structured" in methods and most < SHORTEST_OBJECT:
        raise ConfigError(
            f"{where}.decoding.max_tokens: {most}: a structured answer does not fit: write 100, or "
            "more for long labels"
        )


def _canonical_number(value: Any) -> Any:
    """A number of the configuration as it counts: 0 and 0.0 are one temperature."""
    return float(value) if isinstance(value, int | float) else value
